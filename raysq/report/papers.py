"""The published numbers, each with its place: what stands beside ours, marked as theirs.

Typed from the papers' texts. Where a text and its table differ, the table counts (appendix D of Tan et al.
speaks of gains of 1.42 and 0.64; its Table 1 gives 1.38 and 0.60).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["translation", "captioning", "headline"]
"""What a task is about."""


@dataclass(frozen=True, slots=True)
class Published:
    """One score of a paper, in the unit of its table."""

    mean: float
    deviation: float | None = None
    lowest: float | None = None
    highest: float | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class PaperColumn:
    """One score that a table has of its rows."""

    title: str
    data: str
    """Data set, and what else its numbers depend on."""
    kind: Kind = "translation"
    """Tasks that it may stand beside."""
    input_feeding: bool | None = None
    """Whether the paper's decoder reads its last attention vector; None: not said, it stands beside both."""
    split: str = "test"
    metric: str = "bleu"
    """Our score that is the same."""


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One system of a table."""

    label: str
    """As printed; what a paper calls "ours" has its name and the paper's."""
    arm: str | None
    """Our arm of the same algorithm; None: quoted by the paper, and not in raysq."""
    numbers: tuple[Published | None, ...]
    """One a column; None: the paper gives none."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What it sets, by the last part of the dotted key."""


@dataclass(frozen=True, slots=True)
class PaperTable:
    """A table of a paper."""

    key: str
    paper: str
    place: str
    title: str
    split: str
    """Which of our scores belongs beside it: test or dev."""
    columns: tuple[PaperColumn, ...]
    rows: tuple[PaperRow, ...]
    remark: str = ""
    metric: str = "bleu"
    """Ours that it shows."""

    def column(self, task: str, settings: Mapping[str, str], split: str, metric: str) -> int | None:
        """The place of the column that belongs beside a score of ours; None where no column does.

        Args:
            task: on which ours was trained.
            settings: of ours as typed, by the last part of the dotted key; what is absent is the default.
            split: of our score.
            metric: of our score.
        """
        feeding = settings.get("input_feeding", "false") == "true"
        for place, c in enumerate(self.columns):
            ours = (kind_of(task), c.input_feeding is None or c.input_feeding == feeding, split, metric)
            if ours == (c.kind, True, c.split, c.metric):
                return place
        return None


def kind_of(task: str) -> Kind:
    """What a task of ours is about: all are translation but those named otherwise."""
    kinds: dict[str, Kind] = {"captioning": "captioning", "headline": "headline"}
    return kinds.get(task.removeprefix("demo-"), "translation")


_DAI = "Dai et al. 2018"
_TAN = "Tan et al. 2019"
_KOYAMADA = "Koyamada et al. 2017"
_IWSLT = "IWSLT 2014 de-en"


def _dai(label: str, *numbers: tuple[float, float, float, float]) -> PaperRow:
    """A row of mean, standard deviation, least and greatest."""
    return PaperRow(label, label, tuple(Published(*number) for number in numbers))


def _plain(*means: float | None) -> tuple[Published | None, ...]:
    return tuple(None if mean is None else Published(mean) for mean in means)


_DAI_TABLE_1 = PaperTable(
    "dai2018-table1",
    _DAI,
    "Table 1",
    "ERAC and VAML beside their direct baselines, 9 runs each",
    "test",
    (
        PaperColumn("without input feeding", f"{_IWSLT}, test BLEU", input_feeding=False),
        PaperColumn("with input feeding", f"{_IWSLT}, test BLEU", input_feeding=True),
        PaperColumn("captioning", "MSCOCO, test BLEU-4", "captioning"),
    ),
    (
        _dai("MLE", (27.01, 0.20, 26.72, 27.27), (28.06, 0.15, 27.84, 28.22), (29.54, 0.21, 29.27, 29.89)),
        _dai("RAML", (27.74, 0.15, 27.47, 27.93), (28.56, 0.15, 28.35, 28.80), (29.84, 0.21, 29.50, 30.17)),
        _dai("VAML", (28.16, 0.11, 28.00, 28.26), (28.84, 0.10, 28.62, 28.94), (29.93, 0.22, 29.51, 30.24)),
        _dai("AC", (28.04, 0.05, 27.97, 28.10), (29.05, 0.06, 28.95, 29.16), (30.90, 0.20, 30.49, 31.16)),
        _dai("ERAC", (28.30, 0.06, 28.25, 28.42), (29.31, 0.04, 29.26, 29.36), (31.44, 0.22, 31.07, 31.82)),
    ),
)

_FEEDING = {"input_feeding": "true"}

_DAI_TABLE_2 = PaperTable(
    "dai2018-table2",
    _DAI,
    "Table 2",
    "Comparison with earlier work, with input feeding",
    "test",
    (PaperColumn("BLEU", f"{_IWSLT}, test; VAML and ERAC: the best run", input_feeding=True),),
    (
        PaperRow("MIXER (Ranzato et al. 2015)", "MIXER", _plain(20.73), _FEEDING),
        PaperRow("BSO (Wiseman and Rush 2016)", None, _plain(27.9)),
        PaperRow("Q(BLEU) (Li et al. 2017)", None, _plain(28.3)),
        PaperRow("AC (Bahdanau et al. 2016)", "AC", _plain(28.53), _FEEDING),
        PaperRow("RAML (Ma et al. 2017)", "RAML", _plain(28.77), _FEEDING),
        PaperRow("VAML", "VAML", _plain(28.94), _FEEDING),
        PaperRow("ERAC", "ERAC", _plain(29.36), _FEEDING),
    ),
    "The rows above VAML are quoted by the paper from others, who used other networks.",
)

_SMOOTHING = {
    "0": (27.91, 26.27, 28.88, 27.38),
    "0.001": (29.41, 29.26, 29.32, 27.44),
}
_RATES = ("0.001", "0.01", "0.1", "1")

_DAI_TABLE_3 = PaperTable(
    "dai2018-table3",
    _DAI,
    "Table 3",
    "ERAC by smoothing (lambda_var) and update rate of the target critic, without input feeding",
    "dev",
    (PaperColumn("BLEU", f"{_IWSLT}, mean dev BLEU", input_feeding=False, split="dev"),),
    tuple(
        PaperRow(
            f"ERAC, lambda_var {smoothing}, target rate {rate}",
            "ERAC",
            (Published(mean, remark="† diverged runs excluded" if mean in (26.27, 27.38) else ""),),
            {"lambda_var": smoothing, "target_rate": rate},
        )
        for smoothing, means in _SMOOTHING.items()
        for rate, mean in zip(_RATES, means, strict=True)
    ),
    "Without smoothing training often diverged at rates 0.01 and 1; such runs are left out of their means.",
)

_DAI_TABLE_4 = PaperTable(
    "dai2018-table4",
    _DAI,
    "Table 4",
    "Whether the critic counts the entropy of future steps, 9 runs each, without input feeding",
    "test",
    (PaperColumn("BLEU", f"{_IWSLT}, test", input_feeding=False),),
    (
        PaperRow("ERAC", "ERAC", (Published(28.30, 0.06, highest=28.42),)),
        PaperRow(
            "ERAC w/o Future Ent.", "ERAC without future entropy", (Published(28.06, 0.05, highest=28.11),)
        ),
        PaperRow("AC", "AC", (Published(28.04, 0.05, highest=28.10),)),
    ),
)

_DAI_FIGURE_1 = PaperTable(
    "dai2018-figure1",
    _DAI,
    "Figure 1",
    "ERAC by the weight of the entropy, tau",
    "test",
    (),
    (),
    "The paper shows a figure and no numbers: one best tau, from where BLEU falls steadily towards AC as tau "
    "goes to 0, and divergence where tau is too large.",
)


_ERPO_SYSTEMS = {
    "MLE": "MLE",
    "RAML (Norouzi et al. 2016)": "RAML",
    "SPG (Ding and Soricut 2017)": "SPG",
    "MIXER (Ranzato et al. 2016)": "MIXER",
    "Scheduled Sampling (Bengio et al. 2015)": "scheduled sampling",
    f"interpolation ({_TAN})": "interpolation",
}
"""Labels, and our arm."""


def _erpo(*columns: Sequence[tuple[float, float]], dropout: str = "") -> tuple[PaperRow, ...]:
    """Their six systems, given the columns of a table from top to bottom."""
    settings = {"dropout": dropout} if dropout else {}
    said = f", dropout {dropout}" if dropout else ""
    return tuple(
        PaperRow(
            label + said, arm, tuple(Published(mean, deviation) for mean, deviation in numbers), settings
        )
        for (label, arm), numbers in zip(_ERPO_SYSTEMS.items(), zip(*columns, strict=True), strict=True)
    )


_DROPOUT_2 = [(26.44, 0.18), (27.22, 0.14), (26.62, 0.05), (26.53, 0.11), (26.76, 0.17), (27.82, 0.11)]
_DROPOUT_3 = [(26.63, 0.11), (27.64, 0.09), (26.89, 0.06), (27.00, 0.13), (27.03, 0.15), (28.13, 0.12)]

_ERPO_TABLE_1 = PaperTable(
    "erpo-table1",
    _TAN,
    "Table 1",
    "The algorithms of one framework, dropout 0.2",
    "test",
    (PaperColumn("BLEU", f"{_IWSLT}, test"),),
    _erpo(_DROPOUT_2),
)

_GIGAWORD = "English Gigaword, 200,000 pairs, test"

_ERPO_TABLE_2 = PaperTable(
    "erpo-table2",
    _TAN,
    "Table 2",
    "Summarisation",
    "test",
    tuple(
        PaperColumn(title, _GIGAWORD, "headline", metric=metric)
        for title, metric in (("ROUGE-L", "rougeL"), ("ROUGE-1", "rouge1"), ("ROUGE-2", "rouge2"))
    ),
    _erpo(
        [(32.32, 0.19), (32.49, 0.17), (32.79, 0.26), (32.57, 0.15), (32.77, 0.17), (32.95, 0.33)],
        [(36.11, 0.21), (36.30, 0.04), (36.48, 0.24), (36.34, 0.23), (36.59, 0.12), (36.72, 0.29)],
        [(16.39, 0.16), (16.69, 0.20), (16.84, 0.26), (16.61, 0.25), (16.79, 0.22), (16.99, 0.17)],
    ),
    metric="rougeL",
)

_ERPO_TABLE_3 = PaperTable(
    "erpo-table3",
    _TAN,
    "Tables 1 and 3",
    "The algorithms of one framework by dropout",
    "test",
    (PaperColumn("BLEU", f"{_IWSLT}, test"),),
    _erpo(_DROPOUT_2, dropout="0.2") + _erpo(_DROPOUT_3, dropout="0.3"),
)


def _alpha_dimt(alpha: str, *means: float) -> PaperRow:
    label = f"alpha-DiMT, alpha {alpha} ({_KOYAMADA})"
    return PaperRow(label, "alpha-DiMT", _plain(*means), {"alpha": alpha})


_ALPHA_DIMT_TABLE_1 = PaperTable(
    "alpha-dimt-table1",
    _KOYAMADA,
    "Table 1",
    "alpha-DiMT by alpha, best run of each",
    "test",
    (
        PaperColumn("beam 10", f"{_IWSLT}, test BLEU, beam 10"),
        PaperColumn("greedy", f"{_IWSLT}, test BLEU, greedy", metric="greedy_bleu"),
        PaperColumn("dev, greedy", f"{_IWSLT}, dev BLEU, greedy", split="dev", metric="greedy_bleu"),
    ),
    (
        PaperRow("ML (Bahdanau et al. 2017)", None, _plain(27.56, 25.82, None)),
        PaperRow("AC + LL (Bahdanau et al. 2017)", "AC", _plain(28.53, 27.49, None)),
        PaperRow("RF-C + LL (Bahdanau et al. 2017)", "REINFORCE with critic", _plain(28.3, 27.7, None)),
        PaperRow("ML", "MLE", _plain(28.26, 27.96, 29.83)),
        PaperRow("RAML", "RAML", _plain(28.35, 27.50, 29.65)),
        _alpha_dimt("0.3", 28.29, 27.73, 29.90),
        _alpha_dimt("0.5", 28.49, 28.02, 29.91),
        _alpha_dimt("0.7", 28.25, 27.81, 29.72),
    ),
    "The rows of Bahdanau et al. 2017 are quoted by the paper.",
)

TABLES: Mapping[str, PaperTable] = {
    table.key: table
    for table in (
        _DAI_TABLE_1,
        _DAI_TABLE_2,
        _DAI_TABLE_3,
        _DAI_TABLE_4,
        _DAI_FIGURE_1,
        _ERPO_TABLE_1,
        _ERPO_TABLE_2,
        _ERPO_TABLE_3,
        _ALPHA_DIMT_TABLE_1,
    )
}
"""By key, which a tune space names."""
