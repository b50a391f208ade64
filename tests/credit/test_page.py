import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from raysq.config import flatten
from raysq.credit.page import STRONGEST, page
from raysq.credit.records import (
    CreditRecord,
    SentenceCredit,
    SequenceCredit,
    TokenCredit,
    Weights,
    WordCredit,
)
from raysq.rewards.settings import RewardSettings

STRANGE = ["<unk>", "&lt;", '"quoted"', "<script>alert(1)</script>", "'it's", "<b>"]
VOID = {"meta"}


def token(word="walks", advantage=0.5, reward=0.25, critic=True):
    def made(text, pi, q):
        return WordCredit(text, pi, q if critic else None, 0.125 if critic else None)

    chosen = made(word, 0.75, 2.5)
    others = (chosen, made("<other>", 0.0001, -1.25))
    numbers = (2.0, advantage, 0.625) if critic else (None, None, None)
    return TokenCredit(chosen, reward, 1.75, 0.375, *numbers, others, others[::-1] if critic else ())


def record(*tokens, critic="critic", weights=None, **settings):
    sequence = SequenceCredit(("reference", "<draw> 1"), 0.4375, 5.25, weights, tokens)
    sentence = SentenceCredit(12, "ein <Hund>", "a <dog>", 12.0, 0.0, (sequence,))
    reward = flatten(RewardSettings())
    return CreditRecord(
        "erac",
        "ActorCritic",
        critic,
        {"tau": 0.045} | settings,
        reward,
        3480,
        "dev",
        "abc" * 9,
        1,
        (sentence,),
    )


class Reader(HTMLParser):
    """Elements with their texts; every tag must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def of_class(self, name):
        return [a for _, a in self.seen if name in a.get("class", "").split()]


def test_every_text_of_the_data_is_escaped():
    text = page(record(*(token(word) for word in STRANGE)))
    reader = Reader(text)
    for word in [*STRANGE, "<other>", "ein <Hund>", "a <dog>"]:
        assert any(word in data for data in reader.texts), word
    assert "reference, <draw> 1" in reader.texts
    assert {tag for tag, _ in reader.seen}.isdisjoint({"script", "unk", "b>", "other", "dog", "hund", "draw"})
    assert "<unk>" not in text
    assert "<other>" not in text


def test_nothing_is_fetched_and_nothing_runs():
    text = page(record(token()))
    assert not re.search(r"https?:|//|url\(|@import|\bsrc=|\bhref=|<script|<link|\bon\w+=", text)
    assert {name for _, attributes in Reader(text).seen for name in attributes} == {
        *("class", "style", "tabindex", "lang", "charset", "name", "content", "open", "http-equiv")
    }


def test_light_and_dark_and_paper():
    text = page(record(token()))
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_colour_is_the_advantage_on_one_scale():
    advantages = [1.0, -0.5, 0.25, -1.0, 0.0]
    shown = Reader(page(record(*(token(advantage=a) for a in advantages)))).of_class("token")
    sides = [attributes["class"].split()[1] for attributes in shown]
    assert [side for side, a in zip(sides, advantages, strict=True) if a] == ["high", "low", "high", "low"]
    strength = [float(attributes["style"].removeprefix("--a:")) for attributes in shown]
    assert strength == pytest.approx([STRONGEST, STRONGEST / 2, STRONGEST / 4, STRONGEST, 0.0], abs=0.006)


def test_a_few_extremes_do_not_pale_the_rest():
    tokens = [token(advantage=a) for a in [*[1.0] * 99, 100.0]]
    shown = Reader(page(record(*tokens))).of_class("token")
    assert {attributes["style"] for attributes in shown} == {f"--a:{STRONGEST}"}


def test_the_numbers_are_written_out_and_add_up_beside_the_payoff():
    texts = Reader(page(record(token(advantage=-0.5, reward=-0.25)))).texts
    for number in (
        "0.438",
        "5.250",
        "−0.25",
        "1.75",
        "0.750",
        "0.38",
        "2.50",
        "2.00",
        "−0.50",
        "0.125",
        "0.62",
    ):
        assert number in texts, number
    assert "<.001" in texts
    assert any("walks 0.750 · <other> <.001" in data for data in texts)
    assert any("<other> −1.25 · walks 2.50" in data for data in texts)
    assert any(" = 12 × (R(y) − R(∅)), R(∅) = 0.00" in data for data in texts)


def test_without_a_critic_colour_is_the_reward_and_there_is_no_q():
    tokens = (token(reward=-2.0, critic=False), token(reward=1.0, critic=False))
    text = page(replace(record(*tokens, critic=None), settings={}))
    shown = Reader(text).of_class("token")
    assert [a["class"] for a in shown] == ["token low", "token high"]
    assert "Q" not in "".join(Reader(text).texts)
    assert "None" not in text


def test_shares_are_shown_where_there_are_any():
    weights = Weights(0.2, 0.61, 0.555)
    texts = Reader(page(record(token(), critic="oracle", weights=weights, temperature=1.0))).texts
    for name in ("trained", "20.0%", "exact", "61.0%", "oracle", "55.5%"):
        assert name in texts
    texts = Reader(
        page(record(token(critic=False), critic=None, weights=Weights(0.2, None, None), temperature=0.7))
    ).texts
    assert "20.0%" in texts
    assert "exact" not in texts
    assert "temperature = 0.7" in "".join(texts)
    assert "trained" not in Reader(page(record(token()))).texts


def test_tau_of_value_and_target():
    text = "".join(Reader(page(record(token(), future_entropy=False))).texts)
    assert "τ log π(w)], τ = 0." in text
    assert "softmax(Q / τ), τ = 0.045" in text
    assert "τ log π(w)], τ = 0.045" in "".join(Reader(page(record(token()))).texts)
