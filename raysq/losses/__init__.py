"""Losses: pure functions of rows, one equation each, and the executor that applies them in chunks.

A *row* is one position of one sequence. A row loss takes logits [rows, V] (and whatever else it needs by
row) and returns its values and its gradient with respect to the logits in closed form, so that nothing of
size [tokens, V] is ever stored.
"""

from raysq.losses.actor_critic import actor_critic, state_value
from raysq.losses.cross_entropy import cross_entropy, negative_log_likelihoods
from raysq.losses.distillation import distillation
from raysq.losses.erpo import erpo_log_target, erpo_objective
from raysq.losses.policy_gradient import policy_gradient
from raysq.losses.soft_q import residual_soft_q_loss, soft_value_residual
from raysq.losses.temporal_difference import chosen_q, q_variance, squared_td_error, td_targets
from raysq.losses.vocabulary import Head, RowLoss, vocabulary_loss, vocabulary_values

__all__ = [
    "Head",
    "RowLoss",
    "actor_critic",
    "chosen_q",
    "cross_entropy",
    "distillation",
    "erpo_log_target",
    "erpo_objective",
    "negative_log_likelihoods",
    "policy_gradient",
    "q_variance",
    "residual_soft_q_loss",
    "soft_value_residual",
    "squared_td_error",
    "state_value",
    "td_targets",
    "vocabulary_loss",
    "vocabulary_values",
]
