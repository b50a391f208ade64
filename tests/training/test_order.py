import numpy as np

from raysq.data.batches import epoch_batches
from raysq.data.shards import Corpus
from raysq.training.collective import Collective
from raysq.training.order import Order


def order_of(corpus: Corpus, collective: Collective, gradient_accumulation: int) -> Order:
    return Order(corpus.splits["train"], 9, 3, collective, gradient_accumulation)


def test_every_update_has_the_batch_of_its_epoch_in_whatever_order_it_is_asked(small_corpus: Corpus) -> None:
    split, order = small_corpus.splits["train"], order_of(small_corpus, Collective(), 1)
    assert order.batches_per_epoch == 5
    assert order.place(12) == (2, 2)
    for update in (12, 0, 4, 5, 3, 9):
        expected = epoch_batches(split.source_lengths, split.target_lengths, 9, 3, update // 5)[update % 5]
        assert np.array_equal(order.example_ids(update), expected)


def test_learners_and_their_parts_make_up_the_batch(small_corpus: Corpus) -> None:
    whole = order_of(small_corpus, Collective(), 1).example_ids(7).tolist()
    parts = [
        part.example_ids.tolist()
        for rank in range(2)
        for part in order_of(small_corpus, Collective(rank, 2), 2).parts(7)
    ]
    assert len(parts) == 4
    assert [example for part in parts for example in part] == whole


def test_there_are_no_more_parts_than_examples(small_corpus: Corpus) -> None:
    parts = order_of(small_corpus, Collective(1, 2), 100).parts(0)
    assert [len(part.example_ids) for part in parts] == [1, 1, 1, 1]
