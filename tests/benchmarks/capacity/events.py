"""A small discrete-event kernel: processes are generators that yield the events they wait for."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterable
from typing import TypeAlias

from tests.benchmarks.capacity.formulas import slowdown


class Event:
    """Something that happens once."""

    __slots__ = ("_waiting", "happened")

    def __init__(self) -> None:
        self.happened = False
        self._waiting: list[Callable[[], None]] = []

    def then(self, call: Callable[[], None]) -> None:
        """Call when it happens; at once if it has."""
        if self.happened:
            call()
        else:
            self._waiting.append(call)

    def happen(self) -> None:
        """It happens now."""
        self.happened = True
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()


Process: TypeAlias = Generator[Event, None, None]


class Clock:
    """Simulated time, and what is to come. Simultaneous things come in the order in which they were set."""

    def __init__(self) -> None:
        self.now = 0.0
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._set = 0

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call at a time, not before now."""
        self._set += 1
        heapq.heappush(self._coming, (max(when, self.now), self._set, call))

    def after(self, seconds: float) -> Event:
        """An event in so many seconds."""
        event = Event()
        self.at(self.now + seconds, event.happen)
        return event

    def start(self, process: Process) -> Event:
        """Run a process; the event is its end."""
        end = Event()

        def go_on() -> None:
            try:
                while (event := next(process)).happened:
                    pass
                event.then(go_on)
            except StopIteration:
                end.happen()

        go_on()
        return end

    def all_of(self, events: Iterable[Event]) -> Event:
        """When the last of them has happened."""
        together, left = Event(), 1

        def one_less() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                together.happen()

        for event in events:
            left += 1
            event.then(one_less)
        one_less()
        return together

    def run(self, until: Event) -> None:
        """Let time pass until an event has happened.

        Raises:
            RuntimeError: nothing is to come any more and it has not happened: processes wait for each other.
        """
        while not until.happened:
            if not self._coming:
                raise RuntimeError("the simulation stands still")
            self.now, _, call = heapq.heappop(self._coming)
            call()


class Line:
    """Serves one after another, in the order of their coming: a link, a thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._free_at = self._given = 0.0

    @property
    def busy(self) -> float:
        """Time for which it has served until now [s]."""
        return self._given - max(0.0, self._free_at - self._clock.now)

    def serve(self, seconds: float) -> Event:
        """An event at the end of the service."""
        self._free_at = max(self._free_at, self._clock.now) + seconds
        self._given += seconds
        event = Event()
        self._clock.at(self._free_at, event.happen)
        return event


class Host:
    """Cores that the processes of a machine share evenly (processor sharing, ``formulas.slowdown``)."""

    def __init__(self, clock: Clock, cores: int, when_full: float = 1.0) -> None:
        self._clock, self._cores, self._when_full = clock, cores, when_full
        self._done = 0.0  # work that each of those present has got since the beginning
        self._since = 0.0
        self._working: list[tuple[float, int, Event]] = []
        self._came = self._plan = 0

    def work(self, seconds: float) -> Event:
        """An event when this much work, as long as it takes alone, is done."""
        self._advance()
        event = Event()
        self._came += 1
        heapq.heappush(self._working, (self._done + seconds, self._came, event))
        self._replan()
        return event

    def _rate(self) -> float:
        return 1 / slowdown(len(self._working), self._cores, self._when_full)

    def _advance(self) -> None:
        if self._working:
            self._done += (self._clock.now - self._since) * self._rate()
        self._since = self._clock.now

    def _replan(self) -> None:
        self._plan += 1
        if not self._working:
            return
        plan, left = self._plan, max(0.0, self._working[0][0] - self._done)
        self._clock.at(self._clock.now + left / self._rate(), lambda: self._finish(plan))

    def _finish(self, plan: int) -> None:
        if plan != self._plan:
            return  # somebody has come since
        self._advance()
        self._done = max(self._done, self._working[0][0])
        finished = []
        while self._working and self._working[0][0] <= self._done:
            finished.append(heapq.heappop(self._working)[2])
        self._replan()
        for event in finished:
            event.happen()


class Worker:
    """A process that answers calls one after another, on the cores of a host."""

    def __init__(self, clock: Clock, host: Host) -> None:
        self._clock, self._host = clock, host
        self._last: Event | None = None
        self.busy = 0.0
        """Work that it has been given [s]."""

    def call(self, seconds: float, after: Event | None = None) -> Event:
        """An event when the call, which may have to wait for ``after``, is done."""
        self.busy += seconds
        self._last = self._clock.start(self._answer(self._last, after, seconds))
        return self._last

    def _answer(self, before: Event | None, after: Event | None, seconds: float) -> Process:
        if before is not None:
            yield before
        if after is not None:
            yield after
        yield self._host.work(seconds)
