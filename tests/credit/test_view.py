"""Every number of the view beside its textbook form: one prefix at a time, loops over words."""

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from raysq.algorithms import ActorCritic, Mle, Raml, Vaml
from raysq.algorithms.base import critic_input
from raysq.algorithms.moment import Moment
from raysq.data.batches import collate
from raysq.rewards import prefix_bleu
from raysq.types import BOS, EOS, FIRST_ACTION

ERAC = ActorCritic(tau=0.3)
VAML = Vaml(tau=0.4, temperature=0.7, num_samples=6)


def tables(view, split, position, tokens):
    """pi and Q over all words at every prefix of a sequence, each read by itself; pad and bos left out."""
    batch = collate(split, torch.tensor([position]).numpy())
    networks, found = view.networks, []
    for t in range(len(tokens)):
        prefix = torch.tensor([[BOS, *tokens[:t]]])
        policy, critic = networks.policy, networks.critic
        with torch.no_grad():
            last = policy.features(policy.encode(batch.source, batch.source_mask), prefix)[0, -1]
            logits = (policy.output.weight @ last + policy.output.bias).tolist()[FIRST_ACTION:]
            q = None
            if critic is not None:
                last = critic.features(critic.encode(*critic_input(batch)), prefix)[0, -1]
                q = (critic.output.weight @ last + critic.output.bias).tolist()[FIRST_ACTION:]
        total = sum(map(math.exp, logits))
        found.append(([math.exp(logit) / total for logit in logits], q))
    return found


def ids(view, sequence):
    words = [token.word.token for token in sequence.tokens]
    return [view.vocabulary.words.index(word) for word in words]


def places(view, split, position):
    """Every token of a sentence that was chosen, with pi, Q and the place of its own word in them."""
    for sequence in view.sentence(split, position).sequences:
        tokens = ids(view, sequence)
        for t, (pi, q) in enumerate(tables(view, split, position, tokens), start=1):
            if t < view.decoding.max_length:  # there eos was forced
                yield sequence.tokens[t - 1], tokens[t - 1] - FIRST_ACTION, pi, q


def surprise(p):
    return -sum(x * math.log(x) for x in p)


def soft(q, tau):
    total = sum(math.exp(x / tau) for x in q)
    return [math.exp(x / tau) / total for x in q]


@pytest.mark.parametrize(
    "reward",
    [{}, {"scale_by_length": False}, {"name": "edit_distance"}, {"name": "rouge", "rouge": "rouge_l"}],
    ids=str,
)
def test_rewards_add_up_to_what_the_sequence_is_worth(make_view, small_corpus, reward):
    view, split = make_view(Mle(), **reward), small_corpus.splits["dev"]
    for position in (0, 3, 7):
        sentence = view.sentence(split, position)
        words = len(split.target(position))
        assert sentence.scale == (1 if "scale_by_length" in reward else words)
        assert sentence.empty_payoff == (-words if reward.get("name") == "edit_distance" else 0)
        for sequence in sentence.sequences:
            gain = sentence.scale * (sequence.payoff - sentence.empty_payoff)
            assert sequence.reward_sum == pytest.approx(gain, abs=1e-12)
            assert sum(token.reward for token in sequence.tokens) == pytest.approx(gain, abs=1e-12)
            later = [token.reward for token in sequence.tokens]
            for t, token in enumerate(sequence.tokens):
                assert token.to_go == pytest.approx(sum(later[t:]), abs=1e-12)


def test_payoffs_are_the_sentences_bleu(make_view, small_corpus):
    split = small_corpus.splits["dev"]
    view = make_view(Mle())
    sentence = view.sentence(split, 5)
    reference = split.target(5)
    for sequence in sentence.sequences:
        words = ids(view, sequence)[:-1]
        scores = [0.0, *prefix_bleu([[*words, 0]], [[reference]])[0][: len(words)]]
        assert sequence.payoff == pytest.approx(scores[-1])
        rewards = [len(reference) * (b - a) for a, b in pairwise(scores)]
        assert [token.reward for token in sequence.tokens] == pytest.approx([*rewards, 0.0])


def test_which_sequences_are_shown(make_view, small_corpus):
    split, view = small_corpus.splits["dev"], make_view(Mle())
    sentence = view.sentence(split, 3)
    assert (sentence.source, sentence.reference) == ("a q b", "u q v w")
    labels = [label for sequence in sentence.sequences for label in sequence.labels]
    assert sorted(labels) == ["beam search", "greedy", "reference", "sample 1", "sample 2", "sample 3"]
    assert [token.word.token for token in sentence.sequences[0].tokens] == ["u", "<unk>", "v", "w", "<eos>"]
    texts = [tuple(token.word.token for token in sequence.tokens) for sequence in sentence.sequences]
    assert len(set(texts)) == len(texts)


def test_the_greedy_sequence_takes_the_likeliest_word_everywhere(make_view, small_corpus):
    sentence = make_view(Mle()).sentence(small_corpus.splits["dev"], 1)
    greedy = next(sequence for sequence in sentence.sequences if "greedy" in sequence.labels)
    for token in greedy.tokens:
        assert token.word.token == token.by_policy[0].token


def test_a_sentence_depends_on_the_seed_and_not_on_the_others(make_view, small_corpus):
    split, view = small_corpus.splits["dev"], make_view(ERAC)
    alone = view.sentence(split, 4)
    view.sentence(split, 2)
    assert view.sentence(split, 4) == alone
    assert replace(view, seed=2).sentence(split, 4) != alone


@pytest.mark.parametrize(("tau", "future"), [(0.3, True), (0.3, False), (0.0, True)])
def test_policy_and_critic_beside_loops_over_words(make_view, small_corpus, tau, future):
    view, split = make_view(ActorCritic(tau=tau, future_entropy=future)), small_corpus.splits["dev"]
    count = 0
    for token, word, pi, q in places(view, split, 3):
        inside = tau if future else 0.0
        value = sum(p * (x - inside * math.log(p)) for p, x in zip(pi, q, strict=True))
        best = [float(x == max(q)) for x in q]
        target = soft(q, tau) if tau else best
        assert token.word.pi == pytest.approx(pi[word])
        assert token.entropy == pytest.approx(surprise(pi))
        assert token.word.q == pytest.approx(q[word])
        assert token.value == pytest.approx(value)
        assert token.advantage == pytest.approx(q[word] - value)
        assert token.word.target == pytest.approx(target[word])
        assert token.target_entropy == pytest.approx(surprise(target) if tau else 0.0)
        count += 1
    assert count > 15


def test_the_oracle_beside_loops_over_words(make_view, small_corpus):
    view, split = make_view(VAML), small_corpus.splits["dev"]
    for token, word, pi, q in places(view, split, 2):
        target = soft(q, 0.4)
        assert token.value == pytest.approx(0.4 * math.log(sum(math.exp(x / 0.4) for x in q)))
        assert token.advantage == pytest.approx(0.4 * math.log(target[word]))
        assert token.word.target == pytest.approx(target[word])
        assert token.word.pi == pytest.approx(pi[word])
        assert token.target_entropy == pytest.approx(surprise(target))


@pytest.mark.parametrize("tau", [0.3, 0.0])
def test_the_words_beside_a_token_are_the_best_ones_best_first(make_view, small_corpus, tau):
    view, split = make_view(ActorCritic(tau=tau)), small_corpus.splits["dev"]
    names = view.vocabulary.words[FIRST_ACTION:]
    for token, _, pi, q in places(view, split, 3):
        target = soft(q, tau) if tau else [float(x == max(q)) for x in q]
        for shown, scores in ((token.by_policy, pi), (token.by_q, q)):
            order = sorted(range(len(names)), key=lambda w: -scores[w])[:4]
            assert [word.token for word in shown] == [names[w] for w in order]
            assert [word.pi for word in shown] == pytest.approx([pi[w] for w in order])
            assert [word.q for word in shown] == pytest.approx([q[w] for w in order])
            assert [word.target for word in shown] == pytest.approx([target[w] for w in order])


def test_more_words_than_there_are_shows_all_that_can_be_chosen(make_view, small_corpus):
    view = replace(make_view(ERAC), num_alternatives=99)
    token = view.sentence(small_corpus.splits["dev"], 0).sequences[0].tokens[0]
    assert {word.token for word in token.by_policy} == {"<eos>", "<unk>", *"uvwxyz"}


def test_without_a_critic_there_is_what_there_is(make_view, small_corpus):
    for algorithm in (Mle(), Raml()):
        for sequence in make_view(algorithm).sentence(small_corpus.splits["dev"], 0).sequences:
            for token in sequence.tokens:
                assert (token.word.q, token.word.target, token.value, token.advantage) == (None,) * 4
                assert (token.target_entropy, token.by_q) == (None, ())
                assert token.word.pi > 0


def test_where_eos_was_forced_it_is_the_only_word(make_view, small_corpus):
    split = small_corpus.splits["dev"]
    for algorithm in (ERAC, VAML):
        view = make_view(algorithm, max_length=2)
        view.networks.policy.output.bias.data[EOS] = -30.0  # it would go on for ever
        greedy = next(s for s in view.sentence(split, 0).sequences if "greedy" in s.labels)
        free, end = greedy.tokens
        assert (free.entropy > 0.1, end.word.token, end.word.pi, end.entropy) == (True, "<eos>", 1.0, 0.0)
        assert (end.value, end.advantage, end.word.target) == (end.word.q, 0.0, 1.0)
    view = make_view(ActorCritic(tau=0.3, forced_eos="unrestricted"), max_length=2)
    view.networks.policy.output.bias.data[EOS] = -30.0
    greedy = next(s for s in view.sentence(split, 0).sequences if "greedy" in s.labels)
    assert greedy.tokens[1].word.pi < 1e-6


@pytest.mark.parametrize("algorithm", [VAML, Raml(temperature=0.7, num_samples=6)])
def test_weights_of_what_is_drawn_around_the_reference(make_view, small_corpus, algorithm):
    split, view, position = small_corpus.splits["dev"], make_view(algorithm), 10
    batch = collate(split, torch.tensor([position]).numpy())
    drawn = algorithm.draw(batch, view.networks, view.scorer.reward_function, Moment(1, "credit", position))
    counts = Counter(tuple(row[mask].tolist()) for row, mask in zip(drawn.targets, drawn.mask, strict=True))
    assert len(counts) > 2
    assert max(counts.values()) > 1
    sentence = view.sentence(split, position)
    weighed = {tuple(ids(view, s)): s for s in sentence.sequences if s.weights is not None}
    assert weighed.keys() == counts.keys()
    assert sum(label.startswith("draw") for s in weighed.values() for label in s.labels) == 6

    def shares(score):
        masses = {key: counts[key] * math.exp(score(s)) for key, s in weighed.items()}
        return {key: mass / sum(masses.values()) for key, mass in masses.items()}

    def of(kind):
        return {key: getattr(s.weights, kind) for key, s in weighed.items()}

    assert of("trained") == pytest.approx(shares(lambda s: s.payoff / 0.7), rel=1e-5)
    if algorithm is VAML:
        exact = shares(lambda s: sentence.scale * s.payoff / 0.4)
        own = shares(lambda s: sum(math.log(token.word.target) for token in s.tokens))
        assert of("exact") == pytest.approx(exact, rel=1e-5)
        assert of("oracle") == pytest.approx(own, rel=1e-5)
        assert [sum(of(kind).values()) for kind in ("exact", "oracle")] == pytest.approx([1, 1])
    else:
        assert set(of("exact").values()) == set(of("oracle").values()) == {None}
    assert sum(of("trained").values()) == pytest.approx(1)


def test_only_stages_that_draw_around_the_reference_have_weights(make_view, small_corpus):
    for algorithm in (Mle(), ERAC):
        for sequence in make_view(algorithm).sentence(small_corpus.splits["dev"], 1).sequences:
            assert sequence.weights is None
