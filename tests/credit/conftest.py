from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from raysq.algorithms import Algorithm, Networks
from raysq.config import DecodingConfig, NetworkConfig
from raysq.credit.view import CreditView
from raysq.data.shards import Corpus
from raysq.models import Seq2Seq
from raysq.rewards.scoring import LocalScorer
from raysq.rewards.settings import RewardSettings
from raysq.training.state import build_critic, build_policy

NETWORK = NetworkConfig(embedding_size=6, hidden_size=8, dropout=0.5, oracle_dropout=0.5)


@pytest.fixture
def make_policy(small_corpus: Corpus, float64: None) -> Callable[[], Seq2Seq]:
    """Untrained policies with opinions, all the same."""

    def make() -> Seq2Seq:
        policy = build_policy(small_corpus, NETWORK)
        policy.initialise(torch.Generator().manual_seed(1), 0.9)
        return policy

    return make


@pytest.fixture
def make_view(small_corpus: Corpus, make_policy: Callable[[], Seq2Seq]) -> Callable[..., CreditView]:
    """A view of such a policy, and of such a critic where the algorithm has one."""

    def make(algorithm: Algorithm, max_length: int = 12, **reward: object) -> CreditView:
        networks = Networks(make_policy())
        if algorithm.critic_form is not None:
            critic = build_critic(small_corpus, NETWORK, algorithm.critic_form)
            critic.initialise(torch.Generator().manual_seed(2), 0.9)
            networks = replace(networks, critic=critic)
        settings = RewardSettings.model_validate(reward)
        return CreditView(
            networks,
            algorithm,
            LocalScorer(settings.function(), settings.scale_by_length),
            DecodingConfig(beam_size=3, max_length=max_length),
            small_corpus.target_vocabulary,
            num_samples=3,
            num_alternatives=4,
        )

    return make
