"""The kernel: who gets how much of the cores, and in which order things happen."""

import pytest

from tests.benchmarks.capacity.events import Clock, Event, Host, Line, Worker


def ends(clock: Clock, events: list[Event]) -> list[float]:
    """When each happened."""
    found = {}
    for i, event in enumerate(events):
        event.then(lambda i=i: found.setdefault(i, clock.now))
    clock.run(clock.all_of(events))
    return [found[i] for i in range(len(events))]


@pytest.mark.parametrize(
    ("cores", "when_full", "works", "expected"),
    [
        (1, 1.0, [1.0], [1.0]),
        (1, 1.0, [1.0, 1.0], [2.0, 2.0]),
        (2, 1.0, [1.0, 1.0], [1.0, 1.0]),
        (2, 1.5, [1.0, 1.0], [1.5, 1.5]),
        (2, 1.5, [1.0, 1.0, 1.0, 1.0], [3.0] * 4),
        (1, 1.0, [1.0, 2.0], [2.0, 3.0]),  # the second goes on alone
    ],
)
def test_processes_share_cores(cores, when_full, works, expected):
    clock = Clock()
    host = Host(clock, cores, when_full)
    assert ends(clock, [host.work(seconds) for seconds in works]) == pytest.approx(expected)


def test_who_comes_later_slows_down_who_is_there():
    clock = Clock()
    host, late = Host(clock, 1), Event()
    first = host.work(2.0)
    second = Event()
    clock.at(1.0, lambda: host.work(0.5).then(second.happen))
    assert ends(clock, [first, second]) == pytest.approx([2.5, 2.0])
    assert not late.happened


def test_a_line_serves_in_order():
    clock = Clock()
    line = Line(clock)
    assert ends(clock, [line.serve(1.0), line.serve(0.5)]) == [1.0, 1.5]
    line.serve(8.0)
    clock.run(clock.after(2.0))
    assert line.busy == 3.5  # of the last service two seconds


def test_a_worker_answers_calls_in_order_and_waits_for_what_they_need():
    clock = Clock()
    worker = Worker(clock, Host(clock, 4))
    calls = [worker.call(1.0, clock.after(0.5)), worker.call(1.0), worker.call(0.0, clock.after(9.0))]
    assert ends(clock, calls) == [1.5, 2.5, 9.0]


def test_all_of_nothing_has_happened_and_a_deadlock_is_said():
    clock = Clock()
    assert clock.all_of([]).happened
    with pytest.raises(RuntimeError, match="stands still"):
        clock.run(Event())


def test_thousands_of_events_that_have_happened_need_no_deep_stack():
    clock = Clock()

    def passes():
        for _ in range(5000):
            yield clock.all_of([])
        yield clock.after(1.0)

    clock.run(clock.start(passes()))
    assert clock.now == 1.0
