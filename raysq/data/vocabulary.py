"""Words and their ids."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from raysq.config import UserError
from raysq.files import regular, write_lines
from raysq.types import SPECIALS, UNK


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words by id: pad, bos, eos, unk, then the words of the training text by falling count.

    A special is reached by its id only: text that happens to contain ``<eos>`` means unk.

    Raises:
        ValueError: the specials are not the first four, or a word is repeated, empty or holds white space.
    """

    words: tuple[str, ...]
    """[V] the specials first."""
    _ids: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.words[: len(SPECIALS)] != SPECIALS:
            raise ValueError(f"a vocabulary starts with {' '.join(SPECIALS)}")
        ordinary = self.words[len(SPECIALS) :]
        malformed = [word for word in ordinary if word.split() != [word]]
        if malformed:
            raise ValueError(f"{malformed[0]!r} is no word: a word is not empty and holds no white space")
        ids = {word: i for i, word in enumerate(ordinary, start=len(SPECIALS))}
        if len(ids) < len(ordinary) or not ids.keys().isdisjoint(SPECIALS):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise ValueError(f"{twice!r} occurs twice in the vocabulary")
        object.__setattr__(self, "_ids", ids)

    @classmethod
    def build(cls, counts: Mapping[str, int], min_count: int = 1) -> Vocabulary:
        """The words counted at least ``min_count`` times, by falling count, ties by code point."""
        frequent = (w for w, count in counts.items() if count >= min_count and w not in SPECIALS)
        return cls(SPECIALS + tuple(sorted(frequent, key=lambda word: (-counts[word], word))))

    def encode(self, words: Iterable[str]) -> np.ndarray:
        """[len(words)] int32 ids; a word that is not in the vocabulary is unk."""
        return np.array([self._ids.get(word, UNK) for word in words], dtype=np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """The words of some ids, specials by their names.

        Raises:
            ValueError: an id outside [0, V).
        """
        chosen = [int(i) for i in ids]
        if chosen and not 0 <= min(chosen) <= max(chosen) < len(self):
            raise ValueError(f"ids lie in [0, {len(self)}), got {min(chosen)}..{max(chosen)}")
        return [self.words[i] for i in chosen]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def digest(self) -> str:
        """sha256 of the words in order, in hexadecimal: equal digests, equal ids."""
        return hashlib.sha256(self._text()).hexdigest()

    def save(self, path: Path) -> None:
        """Write one word per line, the id being the line number from 0; aside first, then renamed."""
        write_lines(path, self.words)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote.

        Raises:
            UserError: the file is missing, is not UTF-8 or does not hold a vocabulary.
        """
        try:
            # Split at \n alone: read_text() would also take \r, which `save` never writes.
            return cls(tuple(regular(path).read_bytes().decode().removesuffix("\n").split("\n")))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is no vocabulary ({error}): prepare the data again") from error

    def _text(self) -> bytes:
        return "".join(f"{word}\n" for word in self.words).encode()
