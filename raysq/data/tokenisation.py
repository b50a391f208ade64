"""From lines to words: the tokeniser of prepared data, and many lines tokenised at once.

Workers are processes, since tokenising is plain Python. They get pairs of lines in parts and give back words.
Parts come out in order and only a few are under way: the text may be of any size, and whether workers did it
or this process does not show.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, islice
from typing import Literal

from raysq.config import UserError
from raysq.data.corpus import Tokenise, moses_tokeniser, split_words
from raysq.data.settings import TextSettings

FEW = 5000
"""A text of fewer pairs of lines is not worth the start of a worker."""
PART = 1000
"""Pairs of lines that a worker gets at once; an interruption waits for those it has."""
AHEAD = 2
"""Parts under way for each worker: one that it works on, one that lies ready."""
Pairs = list[tuple[str, str]]
"""Source and target of several lines."""


def line_tokeniser(settings: TextSettings, side: Literal["source", "target"]) -> Tokenise:
    """Lines of a side to their words, exactly as the data was made: tokenised, then lower-cased if it was.

    Raises:
        UserError: Moses knows nothing of the language.
    """
    if side == "source" and settings.of_images:
        return lambda name: [name]
    language = settings.source_language if side == "source" else settings.target_language
    moses = settings.tokeniser == "moses"
    tokenise = moses_tokeniser(language, settings.normalise_punctuation) if moses else split_words
    if not settings.lower_case:
        return tokenise
    return lambda line: [word.lower() for word in tokenise(line)]


def tokenised(
    lines: Iterator[tuple[str, str]], settings: TextSettings, num_workers: int
) -> Generator[tuple[Pairs, Pairs], None, None]:
    """Pairs of lines and their words with single spaces, part by part, in order.

    Args:
        lines: source and target, read as they are needed.
        settings: of the tokeniser.
        num_workers: processes that do it; this one does it with 0, a short text or words that are only split.

    Raises:
        UserError: as ``lines`` and `line_tokeniser` do, or a worker was killed.
    """
    start = list(islice(lines, FEW))
    rest = chain(start, lines)
    parts = iter(lambda: list(islice(rest, PART)), [])
    if num_workers == 0 or len(start) < FEW or settings.tokeniser == "none":
        for part in parts:
            yield part, _words(settings, part)
        return
    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), _start_worker)
    waiting: deque[tuple[Pairs, Future[Pairs]]] = deque()
    try:
        for part in parts:
            waiting.append((part, _submitted(pool, settings, part)))
            if len(waiting) == AHEAD * num_workers:
                oldest, words = waiting.popleft()
                yield oldest, words.result()
        for oldest, words in waiting:
            yield oldest, words.result()
    except BrokenProcessPool as error:
        raise UserError(
            "a process that tokenises was killed, perhaps for want of memory: give fewer with --num-workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _submitted(pool: ProcessPoolExecutor, settings: TextSettings, part: Pairs) -> Future[Pairs]:
    """A part on its way to a worker, which may be started for it."""
    with _uninterrupted():
        return pool.submit(_words, settings, part)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """SIGINT and SIGTERM wait for the end of the block: a worker started by halves dies of a traceback.

    A worker inherits that they are blocked; blocking alone does not do here, as other threads take them.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    waiting: list[int] = []
    handlers = [signal.signal(number, lambda number, frame: waiting.append(number)) for number in numbers]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if waiting:
            signal.raise_signal(waiting[0])


def _words(settings: TextSettings, lines: Pairs) -> Pairs:
    source, target = _tokenisers(settings)
    return [(" ".join(source(left)), " ".join(target(right))) for left, right in lines]


@lru_cache(maxsize=1)
def _tokenisers(settings: TextSettings) -> tuple[Tokenise, Tokenise]:
    """Of both sides; Moses takes half a second to load."""
    return line_tokeniser(settings, "source"), line_tokeniser(settings, "target")


def _start_worker() -> None:
    """A worker ends when the process that started it has ended."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A killed parent cannot end its workers, and they would wait for work for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
