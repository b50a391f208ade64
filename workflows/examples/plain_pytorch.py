"""The prefix-BLEU kernel and the losses from plain PyTorch: no Ray, no workflow, no files.

python workflows/examples/plain_pytorch.py

A policy without input, one distribution over words for each position, learns a sentence from its BLEU alone,
by REINFORCE with the mean over the samples as baseline.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from raysq.losses import Head, policy_gradient, vocabulary_loss
from raysq.rewards import prefix_bleu

WORDS = 20
"""V; the first four ids are pad, bos, eos and unk."""
REFERENCE, SAMPLES = [7, 4, 9, 12, 5, 17], 64


def learn(updates: int, seed: int = 1) -> list[float]:
    """Mean sentence BLEU of the samples at every update."""
    generator = torch.Generator().manual_seed(seed)
    T = len(REFERENCE)
    features = nn.Parameter(torch.eye(T))  # [T, H]: a network would compute these from what it has read
    output = nn.Linear(T, WORDS)
    nn.init.zeros_(output.weight)
    optimizer = torch.optim.Adam([features, *output.parameters()], 0.05)
    scores = []
    for _ in range(updates):
        tokens = _draw(output(features), generator)
        bleu = prefix_bleu(tokens.numpy(), [[REFERENCE]] * SAMPLES, [T] * SAMPLES)  # [N, T]
        earned = np.diff(bleu, axis=1, prepend=0.0)  # r_t = R(y_1..t) - R(y_1..t-1)
        to_go = torch.from_numpy(np.flip(np.flip(earned, 1).cumsum(1), 1).copy()).float()
        advantages = to_go - to_go.mean(0)
        rows = (tokens.flatten(), advantages.flatten(), torch.zeros(SAMPLES * T, dtype=torch.bool))
        head = Head(features.repeat(SAMPLES, 1), output.weight, output.bias)
        total, _ = vocabulary_loss(partial(policy_gradient, entropy_coefficient=0.005), head, rows=rows)
        optimizer.zero_grad()
        (total / SAMPLES).backward()
        optimizer.step()
        scores.append(float(bleu[:, -1].mean()))
    return scores


@torch.no_grad()
def _draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    """[N, T] words, no specials."""
    logits = logits.clone()
    logits[:, :4] = -torch.inf
    return torch.multinomial(logits.softmax(1), SAMPLES, replacement=True, generator=generator).T.contiguous()


if __name__ == "__main__":
    found = learn(300)
    print(f"mean sentence BLEU of the samples: {found[0]:.3f} at first, {found[-1]:.3f} after 300 updates")
