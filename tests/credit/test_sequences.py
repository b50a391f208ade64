import torch

from raysq.algorithms.moment import Moment
from raysq.config import DecodingConfig
from raysq.credit.sequences import Shown, as_samples, merged, of_policy, of_samples
from raysq.data.batches import collate
from raysq.decoding import beam_search
from raysq.types import BOS, EOS, PAD


def test_equal_sequences_are_shown_once_under_all_their_labels():
    found = [
        Shown(("reference",), (4, 5, EOS)),
        Shown(("beam search",), (4, EOS)),
        Shown(("greedy",), (4, 5, EOS)),
        Shown(("sample 1",), (4, 5, EOS), forced=True),
        Shown(("sample 2",), (4, EOS)),
    ]
    assert merged(found) == [
        Shown(("reference", "greedy"), (4, 5, EOS)),
        Shown(("beam search", "sample 2"), (4, EOS)),
        Shown(("sample 1",), (4, 5, EOS), forced=True),
    ]


def test_as_samples_and_back():
    shown = [Shown(("a 1",), (4, 5, EOS), forced=True), Shown(("a 2",), (6, EOS))]
    samples = as_samples(shown, "cpu")
    assert samples.targets.tolist() == [[4, 5, EOS], [6, EOS, PAD]]
    assert samples.inputs.tolist() == [[BOS, 4, 5], [BOS, 6, PAD]]
    assert samples.forced_eos.tolist() == [[False, False, True], [False, False, False]]
    assert samples.num_per_example == 2
    assert list(of_samples("a", samples)) == shown


def test_draws_depend_on_the_moment(make_policy, small_corpus):
    policy, decoding = make_policy(), DecodingConfig(max_length=7)
    batch = collate(small_corpus.splits["dev"], torch.tensor([3]).numpy())

    def found(seed, num):
        return list(of_policy(policy, batch, decoding, num, Moment(seed, "credit", 3)))

    _, greedy, *samples = found(1, 5)
    assert greedy.labels == ("greedy",)
    assert [one.labels for one in samples] == [(f"sample {k}",) for k in range(1, 6)]
    assert found(1, 5)[2:] == samples
    assert found(2, 5)[2:] != samples
    assert len(found(1, 0)) == 2


def test_the_best_hypothesis_is_decoded_as_the_run_decodes(make_policy, small_corpus):
    policy, best = make_policy(), {}
    policy.output.bias.data[EOS] += 1.0
    for size, exponent in ((4, 2.0), (4, 0.0), (1, 2.0)):
        decoding = DecodingConfig(beam_size=size, max_length=7, length_normalisation=exponent)
        for position in range(40):
            batch = collate(small_corpus.splits["dev"], torch.tensor([position]).numpy())
            memory = policy.encode(batch.source, batch.source_mask)
            found = beam_search(policy, memory, beam_size=size, max_length=7, length_exponent=exponent)
            tokens = found[0][0].tokens
            expected = Shown(("beam search",), (*tokens, EOS), forced=len(tokens) == 6)
            assert next(of_policy(policy, batch, decoding, 0, Moment(1, "credit", 0))) == expected
            best[size, exponent, position] = tokens
    for other in ((4, 0.0), (1, 2.0)):
        assert any(best[*other, position] != best[4, 2.0, position] for position in range(40))


def test_a_hypothesis_as_long_as_is_allowed_was_forced_to_end(make_policy, small_corpus):
    policy = make_policy()
    policy.output.bias.data[EOS] = -50.0
    batch = collate(small_corpus.splits["dev"], torch.tensor([0]).numpy())
    for one in of_policy(policy, batch, DecodingConfig(max_length=4), 2, Moment(1, "credit", 0)):
        assert (len(one.tokens), one.tokens[-1], one.forced) == (4, EOS, True)
