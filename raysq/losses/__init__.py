"""Losses: pure functions of rows, one equation each, and the executor that applies them in chunks.

A *row* is one position of one sequence. A row loss takes logits [rows, V] (and whatever else it needs by
row) and returns its values and its gradient with respect to the logits in closed form, so that nothing of
size [tokens, V] is ever stored.
"""

from raysq.losses.actor_critic import actor_critic, state_value
from raysq.losses.cross_entropy import cross_entropy
from raysq.losses.temporal_difference import chosen_q, q_variance, squared_td_error, td_targets
from raysq.losses.vocabulary import Head, RowLoss, vocabulary_loss, vocabulary_values

__all__ = [
    "Head",
    "RowLoss",
    "actor_critic",
    "chosen_q",
    "cross_entropy",
    "q_variance",
    "squared_td_error",
    "state_value",
    "td_targets",
    "vocabulary_loss",
    "vocabulary_values",
]
