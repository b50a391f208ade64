"""A policy's encoder and step as files that need no raysq: torch.export's programs, and ONNX.

What goes in and comes out of both, and in which order, is `raysq.models.portable`'s; ONNX has it by name too.
"""

from __future__ import annotations

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch

from raysq.config import UserError
from raysq.models import EncoderDecoder
from raysq.models.portable import portable, traced

NEXT = "next_"
"""Before the name of a part of the memory: that part after a step. In ONNX every name is given once."""
TORCH_USE = """\
import json

import torch

record = json.load(open("policy.json"))
encoder, step = (torch.export.load(f"{name}.pt2").module() for name in ("encoder", "step"))
READ
memory, token, output = encoder(torch.tensor(source)), torch.tensor([1]), []  # 1 is bos
for _ in range(record["decoding"]["max_length"] - 1):
    log_probs, *state = step(token, *memory)
    memory = [*memory[: len(memory) - len(state)], *state]  # its last parts are the decoder's state
    token = log_probs.argmax(1)
    if token[0] == 2:  # eos
        break
    output.append(record["target_words"][token[0]])
print(" ".join(output))
"""
"""Greedy decoding by torch alone."""
ONNX_USE = """\
import json

import numpy as np
import onnxruntime

record = json.load(open("policy.json"))
encoder, step = (onnxruntime.InferenceSession(f"{name}.onnx") for name in ("encoder", "step"))
READ
outputs = [output.name for output in encoder.get_outputs()]
memory = dict(zip(outputs, encoder.run(None, {"source": np.array(source, TYPE)})))
memory["token"], output = np.array([1]), []  # 1 is bos
for _ in range(record["decoding"]["max_length"] - 1):
    read = {given.name: memory[given.name] for given in step.get_inputs()}
    log_probs, *state = step.run(None, read)
    memory |= {new.name.removeprefix("next_"): part for new, part in zip(step.get_outputs()[1:], state)}
    memory["token"] = log_probs.argmax(1)
    if memory["token"][0] == 2:  # eos
        break
    output.append(record["target_words"][memory["token"][0]])
print(" ".join(output))
"""
"""Greedy decoding by onnxruntime alone."""
_READ_TEXT = """\
ids = {word: i for i, word in enumerate(record["source_words"]) if i > 3}
source = [[*(ids.get(word, 3) for word in input().split()), 2]]  # a line of words; 3 is unk, 2 eos"""
_READ_FEATURES = """\
source = [[float(number) for number in input().split()]]  # features of an image"""


def write_torch(policy: EncoderDecoder, folder: Path) -> None:
    """Write encoder.pt2 and step.pt2, which ``torch.export.load`` reads, of a policy on the CPU."""
    for name, program in traced(policy).items():
        torch.export.save(program, folder / f"{name}.pt2")


def write_onnx(policy: EncoderDecoder, folder: Path) -> None:
    """Write encoder.onnx and step.onnx of a policy on the CPU; torch needs what `require_onnx` asks for."""
    form, programs = portable(policy), traced(policy)
    memory = list(form.memory)
    names = {
        "encoder": (["source"], memory),
        "step": (["token", *memory], ["log_probs", *(NEXT + part for part in form.state)]),
    }
    # of operators of packages that are not there, and of torch's own trees
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    for name, program in programs.items():
        inputs, outputs = names[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            made = torch.onnx.export(
                program, input_names=inputs, output_names=outputs, dynamo=True, verbose=False
            )
        assert made is not None
        made.save(folder / f"{name}.onnx")


def require_onnx() -> None:
    """Raises UserError where what torch needs to write ONNX is not installed."""
    lacking = [package for package in ("onnx", "onnxscript") if find_spec(package) is None]
    if lacking:
        raise UserError(f"--format onnx needs {' and '.join(lacking)}: python -m pip install 'raysq[onnx]'")


def use(template: str, *, of_images: bool) -> str:
    """A program for people: ``TORCH_USE`` or ``ONNX_USE``, for text or for features of images."""
    read, kind = (_READ_FEATURES, "np.float32") if of_images else (_READ_TEXT, "np.int64")
    return template.replace("READ", read).replace("TYPE", kind)
