import pytest
from pydantic import ValidationError

from raysq.config import flatten
from raysq.proposals import BoundedHamming, EditProposal, HammingReplacement, NgramReplacement
from raysq.proposals.settings import ProposalSettings


def test_the_default_is_that_of_dai_et_al() -> None:
    assert ProposalSettings().make() == NgramReplacement(max_ngram=4, length="uniform", protect_last=False)


@pytest.mark.parametrize(
    ("name", "section", "proposal"),
    [
        ("ngram", {"max_ngram": 2}, NgramReplacement(max_ngram=2, protect_last=False)),
        ("hamming", {"rate": 0.3}, HammingReplacement(rate=0.3)),
        ("edit", {"temperature": 0.7}, EditProposal(temperature=0.7)),
        ("bounded_hamming", {"max_share": 0.5}, BoundedHamming(max_share=0.5)),
    ],
)
def test_each_by_its_name(name: str, section: dict[str, object], proposal: object) -> None:
    settings = {"name": name, name: {**getattr(ProposalSettings(), name).model_dump(), **section}}
    assert ProposalSettings.model_validate(settings).make() == proposal


@pytest.mark.parametrize("name", ["ngram", "edit", "bounded_hamming"])
def test_a_setting_of_another_proposal_is_a_mistake(name: str) -> None:
    hamming = HammingReplacement(protect_last=True)
    message = "`hamming.protect_last` has no effect unless `name` is hamming: leave it at false"
    with pytest.raises(ValidationError, match=message):
        ProposalSettings.model_validate({"name": name, "hamming": hamming})
    assert ProposalSettings(name="hamming", hamming=hamming).make() is hamming


def test_its_keys() -> None:
    assert list(flatten(ProposalSettings())) == [
        "name",
        "ngram.max_ngram",
        "ngram.length",
        "ngram.max_len",
        "ngram.protect_last",
        "hamming.temperature",
        "hamming.rescaled",
        "hamming.rate",
        "hamming.protect_last",
        "edit.temperature",
        "edit.rescaled",
        "bounded_hamming.max_share",
    ]
