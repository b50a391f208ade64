"""Which proposal corrupts the references, as settings."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from raysq.config import Config
from raysq.proposals.base import Proposal
from raysq.proposals.edit import EditProposal
from raysq.proposals.hamming import BoundedHamming, HammingReplacement
from raysq.proposals.ngram import NgramReplacement


class ProposalSettings(Config):
    """The proposal of Dai et al. 2018, unless told otherwise; each has its own section.

    No setting means the same in two of them: a temperature is tied to its proposal.
    """

    name: Literal["ngram", "hamming", "edit", "bounded_hamming"] = "ngram"
    """A span of uniform words; words replaced one by one; words substituted, inserted and deleted; or a
    bounded share of the words replaced."""
    ngram: NgramReplacement = NgramReplacement(protect_last=False)
    """One span of words is replaced by uniform words (Ma et al. 2017; Dai et al. 2018)."""
    hamming: HammingReplacement = HammingReplacement()
    """Draws from exp(-Hamming distance / temperature) (Norouzi et al. 2016)."""
    edit: EditProposal = EditProposal()
    """Draws from about exp(-edit distance / temperature) (Norouzi et al. 2016)."""
    bounded_hamming: BoundedHamming = BoundedHamming()
    """A uniform number of words, up to a share, is replaced (Koyamada et al. 2017)."""

    @model_validator(mode="after")
    def _settings_of_the_chosen_alone(self) -> Self:
        for section in type(self).model_fields:
            if section not in ("name", self.name):
                self.refuse_change(section, f"unless `name` is {section}")
        return self

    def make(self) -> Proposal:
        """The proposal that ``name`` chooses."""
        proposals: dict[str, Proposal] = {
            "ngram": self.ngram,
            "hamming": self.hamming,
            "edit": self.edit,
            "bounded_hamming": self.bounded_hamming,
        }
        return proposals[self.name]
