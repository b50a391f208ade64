"""credit.html: the credit of some sentences as one page that needs nothing else, no network and no script."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from html import escape

import numpy as np

from raysq.credit.records import (
    CreditRecord,
    SentenceCredit,
    SequenceCredit,
    TokenCredit,
    Weights,
    WordCredit,
)
from raysq.credit.style import STYLE
from raysq.webpage import webpage

CLIPPED = 97.0
"""Percentile of |what colours a token| from which colour is strongest: a few extremes would pale the rest."""
STRONGEST = 0.72
"""Opacity of the strongest colour: text stays readable on it."""
REWARD, POLICY, TARGET = "r<sub>t</sub>", "π", "P<sub>Q</sub>"


def page(record: CreditRecord) -> str:
    """The page of a record, as HTML; every text of the data is escaped."""
    tokens = [token for s in record.sentences for sequence in s.sequences for token in sequence.tokens]
    limit = float(np.percentile(np.abs([_shade(token) for token in tokens]), CLIPPED)) or 1.0
    title = f"Credit by token: {record.stage}"
    body = "\n".join([_head(record, title, limit), *(_sentence(s, limit) for s in record.sentences)])
    return webpage(title, STYLE, f"\n{body}\n")


def _shade(token: TokenCredit) -> float:
    """What colours a token: its advantage, without a critic its reward."""
    return token.reward if token.advantage is None else token.advantage


# -- what the page is about


def _head(record: CreditRecord, title: str, limit: float) -> str:
    facts = (
        record.algorithm,
        f"best checkpoint, update {record.best_update:,}",
        f"{record.split} of data {record.data[:12]}",
        f"reward {_reward_name(record)}",
        f"seed {record.seed}",
    )
    shaded = f"reward {REWARD}" if record.critic is None else "advantage Q − V"
    terms = "".join(f"<dt>{name}</dt><dd>{meaning}</dd>" for name, meaning in _terms(record))
    return (
        f'<header><h1>{escape(title)}</h1><div class="facts">{escape(" · ".join(facts))}</div>'
        f'<div class="legend"><span>Colour: {shaded}</span><span class="scale"><i></i>'
        f"<span>{_signed(-limit)}</span><span>0</span><span>{_signed(limit)}</span></span></div>"
        f"<p>Below each word stands the reward {REWARD} that it earned. "
        '<span class="hint">Point at a word, or tab to it, for its numbers and for the words that could have '
        "stood there.</span></p>"
        '<details open><summary>What the numbers are</summary><dl class="terms">'
        f"{terms}</dl></details></header>"
    )


def _reward_name(record: CreditRecord) -> str:
    names = {
        "bleu": f"sentence BLEU, {record.reward['bleu']}",
        "rouge": f"ROUGE, {record.reward['rouge']}",
        "edit_distance": "minus the edit distance",
        "hamming": "minus the Hamming distance",
    }
    return names[str(record.reward["name"])]


def _terms(record: CreditRecord) -> Iterator[tuple[str, str]]:
    """The numbers, and what they are."""
    scale = "T*, the words of the reference" if record.reward["scale_by_length"] else "1"
    yield (
        REWARD,
        "scale × (R(y<sub>1..t</sub>) − R(y<sub>1..t−1</sub>)): what the word adds to the payoff R, "
        f"{escape(_reward_name(record))}; scale is {scale}. Those of a sequence add up to "
        "scale × (R(y) − R(∅)). “To go” is the sum from the word on.",
    )
    yield f"{POLICY}, H({POLICY})", "The policy's probability of the word, and its entropy there in nats."
    if record.critic is not None:
        yield "Q", f"What the {escape(record.critic)}, which reads the reference, expects from the word on."
    tau = escape(str(record.settings.get("tau")))
    if record.critic == "critic":
        inside = tau if record.settings.get("future_entropy", True) else "0"
        yield (
            "V",
            "What it expects before the word is chosen: "
            f"Σ<sub>w</sub> π(w) [Q(w) − τ log π(w)], τ = {inside}.",
        )
        yield "Q − V", "The advantage: a blue word is worth more than what the policy does on average."
        yield TARGET, f"softmax(Q / τ), τ = {tau}: where the policy's return would be highest."
    if record.critic == "oracle":
        yield "V", f"What it expects before: τ log Σ<sub>w</sub> exp(Q(w) / τ), τ = {tau}."
        yield "Q − V", f"The advantage, τ log {TARGET} of the word: 0 at most."
        yield TARGET, "softmax(Q / τ): what the student learns of the next word."
    if any(sequence.weights for s in record.sentences for sequence in s.sequences):
        yield from _weight_terms(record)


def _weight_terms(record: CreditRecord) -> Iterator[tuple[str, str]]:
    """The shares of what was drawn around the reference, and what they are."""
    temperature = escape(str(record.settings.get("temperature")))
    yield (
        "trained",
        "Share of a sequence among the draws around the reference, by which RAML weighs it as a whole: "
        f"exp(R / temperature) unless set otherwise, temperature = {temperature}.",
    )
    if record.critic == "oracle":
        yield "exact", "The same at the oracle's τ: exp(scale × R / τ), what the oracle is to learn."
        yield "oracle", f"The same as the oracle has it: the product of {TARGET} over the sequence."


# -- sentences, sequences, tokens


def _sentence(sentence: SentenceCredit, limit: float) -> str:
    pair = (("source", sentence.source), ("reference", sentence.reference))
    texts = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in pair)
    sequences = "\n".join(_sequence(sequence, limit) for sequence in sentence.sequences)
    return (
        f"<section><h2>Sentence {sentence.position}</h2>"
        f'<div class="facts">Σ {REWARD} = {sentence.scale:g} × (R(y) − R(∅)), '
        f'R(∅) = {_number(sentence.empty_payoff)}</div><dl class="pair">{texts}</dl>\n{sequences}</section>'
    )


def _sequence(sequence: SequenceCredit, limit: float) -> str:
    sums = [("R(y)", f"{sequence.payoff:.3f}"), (f"Σ {REWARD}", f"{sequence.reward_sum:.3f}")]
    if sequence.weights is not None:
        sums += _shares(sequence.weights)
    tokens = "".join(_token(token, limit) for token in sequence.tokens)
    return (
        f'<div class="sequence"><div class="label">{escape(", ".join(sequence.labels))}</div>'
        f"<div>{tokens}</div>{_list('sums', sums)}{_table(sequence)}</div>"
    )


def _shares(weights: Weights) -> list[tuple[str, str]]:
    shares = {"trained": weights.trained, "exact": weights.exact, "oracle": weights.oracle}
    return [(name, f"{share:.1%}") for name, share in shares.items() if share is not None]


def _token(token: TokenCredit, limit: float) -> str:
    """A word in its colour with its reward below, and the card that appears when it is pointed at."""
    shade = _shade(token)
    opacity = STRONGEST * min(1.0, abs(shade) / limit)
    side = "high" if shade > 0 else "low"
    return (
        f'<div class="token {side}" style="--a:{opacity:.2f}" tabindex="0">{escape(token.word.token)}'
        f"<small>{_number(token.reward)}</small>{_card(token)}</div>"
    )


def _card(token: TokenCredit) -> str:
    facts = [
        (REWARD, _number(token.reward)),
        ("to go", _number(token.to_go)),
        (POLICY, _probability(token.word.pi)),
        (f"H({POLICY})", _number(token.entropy)),
    ]
    if token.word.q is not None:
        facts += _critic_facts(token)
    tables = _words(f"likeliest by {POLICY}", token.by_policy, token)
    if token.by_q:
        tables += _words("highest by Q", token.by_q, token)
    return f'<div class="card"><div><b>{escape(token.word.token)}</b>{_list("", facts)}</div>{tables}</div>'


def _critic_facts(token: TokenCredit) -> list[tuple[str, str]]:
    return [
        ("Q", _number(token.word.q)),
        ("V", _number(token.value)),
        ("Q − V", _signed(token.advantage)),
        (TARGET, _probability(token.word.target)),
        (f"H({TARGET})", _number(token.target_entropy)),
    ]


def _words(caption: str, words: Iterable[WordCredit], token: TokenCredit) -> str:
    """A table of words that could stand in a token's place."""
    critic = token.word.q is not None
    heads = ["", POLICY, *(("Q", TARGET) if critic else ())]
    rows = "".join(
        f"<tr{' class=chosen' if word.token == token.word.token else ''}>"
        f'<td class="word">{escape(word.token)}</td>{_share(word.pi)}'
        + (f"<td>{_number(word.q)}</td>{_share(word.target)}" if critic else "")
        + "</tr>"
        for word in words
    )
    return f"<table><caption>{caption}</caption>{_row('th', heads)}{rows}</table>"


def _table(sequence: SequenceCredit) -> str:
    """The numbers of all tokens of a sequence, folded away."""
    critic = sequence.tokens[0].word.q is not None
    heads = ["t", "y<sub>t</sub>", REWARD, "to go", POLICY, f"H({POLICY})"]
    heads += ["Q", "V", "Q − V", TARGET, f"H({TARGET})"] if critic else []
    texts = {1, *range(len(heads), len(heads) + 2)}
    heads += [f"likeliest, {POLICY}", *(("highest, Q",) if critic else ())]
    rows = "".join(_row("td", _cells(t, token), texts) for t, token in enumerate(sequence.tokens, start=1))
    return (
        "<details><summary>all numbers</summary><div><table>"
        f"<thead>{_row('th', heads, texts)}</thead><tbody>{rows}</tbody></table></div></details>"
    )


def _cells(t: int, token: TokenCredit) -> list[str]:
    word = token.word
    cells = [str(t), escape(word.token), _number(token.reward), _number(token.to_go)]
    cells += [_probability(word.pi), _number(token.entropy)]
    if word.q is not None:
        cells += [value for _, value in _critic_facts(token)]
    cells.append(" · ".join(f"{escape(w.token)} {_probability(w.pi)}" for w in token.by_policy))
    if token.by_q:
        cells.append(" · ".join(f"{escape(w.token)} {_number(w.q)}" for w in token.by_q))
    return cells


# -- pieces


def _list(kind: str, entries: Iterable[tuple[str, str]]) -> str:
    return f'<dl class="{kind}">' + "".join(f"<dt>{n}</dt><dd>{value}</dd>" for n, value in entries) + "</dl>"


def _row(tag: str, cells: Iterable[str], texts: Container[int] = ()) -> str:
    """A row of a table; ``texts`` are the columns that hold no numbers."""
    made = (f"<{tag}{' class=word' if i in texts else ''}>{cell}</{tag}>" for i, cell in enumerate(cells))
    return f"<tr>{''.join(made)}</tr>"


def _share(probability: float | None) -> str:
    """A cell with a probability as number and bar."""
    return f'<td class="share" style="--p:{probability or 0:.1%}">{_probability(probability)}</td>'


def _number(value: float | None) -> str:
    """Two decimals, a minus as wide as a plus, none before zero; nothing for None."""
    if value is None:
        return ""
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", "−")


def _signed(value: float | None) -> str:
    """``+0.42``, ``−0.42``, ``0.00``."""
    text = _number(value)
    return text if text.startswith("−") or text in ("", "0.00") else f"+{text}"


def _probability(value: float | None) -> str:
    """Three decimals, or ``<.001``; nothing for None."""
    if value is None:
        return ""
    return "&lt;.001" if 0 < value < 0.0005 else f"{value:.3f}"
