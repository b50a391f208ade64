"""Bad inputs: the n-th of a target is a function of (target, seed, n).

Of ten inputs seven are mutations of a valid file that keep its header: of text by lines, of JSON (also the
header of safetensors) as a tree, of what is compressed below the compression, of binary files in their
numbers. The rest are garbage, with and without a file's header, and oddities of the file system.
"""

from __future__ import annotations

import copy
import gzip
import json
import math
import os
import random
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tests.fuzz.harness import Changes, Oddity, Target

HEADER = 8
"""Bytes of a file that say what it is."""
BOMB = gzip.compress(bytes(2**24), mtime=0) * 64
"""A gigabyte of zeros in a megabyte."""
TOKENS = (
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n\n", b"\t", b" ", b"\x1b[31m", b"\x85"),
    *(b"\xed\xa0\x80", b"\xf4\x90", *(c.encode() for c in ("\u2028", "\u00a0", "\ufeff", "e\u0301"))),
    *(b"-1", b"0", b"18446744073709551616", b"1e999", b"NaN", b"null", b"{}", b"[]", b'"', b"../../x", b"%s"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2**31, -(2**31) - 1, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308),
    *(math.nan, math.inf, "", " ", "\n", "\x00", "\x1b[2J", "\ud800", "é" * 300, "x" * 100_000, "none"),
    *("../../etc/passwd", "/etc/passwd", ".", "/", "a/b", [], {}, [[]], [None], {"": None}, [0] * 1000),
)
NUMBERS = (0, 1, -1, 2, 7, 255, 2**15, 2**16, 2**24, 2**31 - 1, -(2**31), 2**32, 2**62, 2**63 - 1, -(2**63))


@dataclass(frozen=True)
class Case:
    """A bad input."""

    kind: Literal["mutation", "garbage", "oddity"]
    changes: Changes
    mended: bool = False
    """Whether checksums are made right afterwards."""
    keeps_header: bool = False
    """Whether it is a mutation that passes the header (`keeps_header`)."""


def bad_input(target: Target, valid: Mapping[str, bytes], seed: int, number: int) -> Case:
    """The ``number``-th bad input of a target, whose valid input is ``valid``."""
    rng = random.Random(f"{target.name}/{seed}/{number}")
    # a larger file is changed more often, but a small one often enough
    name = rng.choices(list(valid), [min(len(content), 400) + 100 for content in valid.values()])[0]
    draw = rng.random()
    if draw < 0.05:
        root = os.geteuid() == 0  # who may read anything
        kinds: list[Oddity] = [kind for kind in get_args(Oddity) if not (root and kind == "unreadable")]
        return Case("oddity", {name: rng.choice(kinds)})
    tokens = (*TOKENS, *target.dictionary)
    mended = target.mend is not None and rng.random() < 0.6
    if draw < 0.2:
        return Case("garbage", {name: garbage(rng, name, valid[name], tokens)}, mended)
    changes = {}
    for one in {name, *(rng.choices(list(valid)) if rng.random() < 0.2 else ())}:
        others = [content for other, content in valid.items() if other != one] or [valid[one]]
        changes[one] = mutated(rng, one, valid[one], rng.choice(others), tokens)
    return Case("mutation", changes, mended, all(keeps_header(valid[one], changes[one]) for one in changes))


def keeps_header(valid: bytes, changed: bytes) -> bool:
    """Whether a changed file begins as the valid one does, or has JSON where that has it."""
    if changed[:HEADER] == valid[:HEADER]:
        return True
    return any(
        header(valid) is not None and header(changed) is not None for header in (_parsed, _tensors_header)
    )


def _tensors_header(content: bytes) -> Any:
    length = int.from_bytes(content[:8], "little")
    return _parsed(content[8 : 8 + length])


def garbage(rng: random.Random, name: str, valid: bytes, tokens: tuple[bytes, ...]) -> bytes:
    """Anything, sometimes after the header of the valid file, sometimes compressed as that is."""
    match rng.randrange(8):
        case 0:
            return b""
        case 1:
            return rng.randbytes(rng.randrange(1, 300))
        case 2:
            return valid[: rng.randrange(1, 4 * HEADER)] + rng.randbytes(rng.randrange(300))
        case 3:
            return json.dumps(_any_tree(rng, 3)).encode()
        case 4:
            return b"[" * 100_000 + b"]" * 100_000
        case 5 if name.endswith(("gz", "tgz")) and rng.random() < 0.1:
            return BOMB
    plain = b"".join(rng.choices(tokens, k=rng.randrange(1, 60)))
    return gzip.compress(plain, mtime=0) if _is_gzip(valid) else plain


def mutated(rng: random.Random, name: str, valid: bytes, other: bytes, tokens: tuple[bytes, ...]) -> bytes:
    """A valid file changed once to four times; ``other`` is what it is spliced with."""
    if _is_gzip(valid) and rng.random() < 0.8:
        inner = gzip.decompress(other) if _is_gzip(other) else other
        return gzip.compress(
            mutated(rng, name.removesuffix(".gz"), gzip.decompress(valid), inner, tokens), 1, mtime=0
        )
    if name.endswith(".safetensors") and rng.random() < 0.6:
        (length,) = struct.unpack("<Q", valid[:8])
        header = _mutated_json(rng, valid[8 : 8 + length])
        return struct.pack("<Q", len(header)) + header + valid[8 + length :]
    if _parsed(valid) is not None and rng.random() < 0.75:
        return _mutated_json(rng, valid)
    if name.endswith(".jsonl") and rng.random() < 0.6:
        lines = valid.splitlines() or [b"{}"]
        k = rng.randrange(len(lines))
        lines[k] = _mutated_json(rng, lines[k]) if _parsed(lines[k]) is not None else lines[k]
        return b"".join(line + b"\n" for line in lines)
    changes = _CHANGES if _is_text(valid) else _BINARY_CHANGES
    for _ in range(20):
        content = valid
        for _ in range(rng.choice((1, 1, 2, 4))):
            content = rng.choice(changes)(rng, content, other, tokens)
        if content != valid:
            return content
    return valid[: len(valid) // 2]


def _place(rng: random.Random, content: bytes) -> int:
    """A position behind the header."""
    return rng.randrange(min(HEADER, max(len(content) - 1, 0)), max(len(content), 1))


def _flip(rng: random.Random, content: bytes, other: bytes, tokens: tuple[bytes, ...]) -> bytes:
    k = _place(rng, content)
    return content[:k] + bytes([content[k] ^ (1 << rng.randrange(8))]) + content[k + 1 :] if content else b"x"


def _cut(rng: random.Random, content: bytes, other: bytes, tokens: tuple[bytes, ...]) -> bytes:
    return content[: _place(rng, content)]


def _delete(rng: random.Random, content: bytes, other: bytes, tokens: tuple[bytes, ...]) -> bytes:
    k = _place(rng, content)
    return content[:k] + content[k + rng.randrange(1, 40) :]


def _duplicate(rng: random.Random, content: bytes, other: bytes, tokens: tuple[bytes, ...]) -> bytes:
    k = _place(rng, content)
    return content[:k] + content[k : k + rng.randrange(1, 200)] + content[k:]


def _splice(rng: random.Random, content: bytes, other: bytes, tokens: tuple[bytes, ...]) -> bytes:
    return content[: _place(rng, content)] + other[_place(rng, other) :]


def _token(rng: random.Random, content: bytes, other: bytes, tokens: tuple[bytes, ...]) -> bytes:
    k = _place(rng, content)
    return content[:k] + rng.choice(tokens) + content[k + rng.choice((0, 0, 1, 8)) :]


def _lines(rng: random.Random, content: bytes, other: bytes, tokens: tuple[bytes, ...]) -> bytes:
    """A line removed, repeated, moved, emptied, taken from elsewhere or made very long."""
    lines = content.split(b"\n")
    k = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            del lines[k]
        case 1:
            lines.insert(k, lines[k])
        case 2:
            lines.insert(rng.randrange(len(lines)), lines.pop(k))
        case 3:
            lines[k] = b""
        case 4:
            lines.insert(k, rng.choice(other.split(b"\n")))
        case 5:
            lines[k] = (lines[k][:200] + b" ") * rng.choice((3, 100, 5000))
    return b"\n".join(lines)


def _number(rng: random.Random, content: bytes, other: bytes, tokens: tuple[bytes, ...]) -> bytes:
    """A length, an offset or whatever else the bytes there are is another number."""
    form = rng.choice(("<i", "<q", ">i", "<h", "b"))
    size = struct.calcsize(form)
    k = _place(rng, content) // size * size
    bits = 8 * size
    value = rng.choice((*NUMBERS, len(content), rng.randrange(len(content) + 1)))
    wrapped = (value + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))
    return content[:k] + struct.pack(form, wrapped) + content[k + size :]


Change = Callable[[random.Random, bytes, bytes, tuple[bytes, ...]], bytes]
_ANY: tuple[Change, ...] = (_flip, _cut, _delete, _duplicate, _splice, _token)
_CHANGES = (*_ANY, _token, _lines, _lines, _lines)
_BINARY_CHANGES = (*_ANY, _flip, _number, _number, _number, _number)


def _mutated_json(rng: random.Random, valid: bytes) -> bytes:
    tree = _parsed(valid)
    for _ in range(rng.choice((1, 1, 2))):
        tree = _changed_tree(rng, tree)
    return _dumped(rng, tree).encode("utf-8", "surrogatepass")


def _changed_tree(rng: random.Random, tree: Any) -> Any:
    """The tree with one node changed."""
    tree = copy.deepcopy(tree)
    nodes: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        nodes += [(node, key) for key in keys]
        waiting += [node[key] for key in keys]
    if not nodes:
        return rng.choice(VALUES)
    parent, key = rng.choice(nodes)
    match rng.randrange(9):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        case 1:
            parent[rng.choice(("", "x", "id", key.upper(), key + "_", "\ud800"))] = parent.pop(key)
        case 2:
            other, at = rng.choice(nodes)
            parent[key] = copy.deepcopy(other[at]) if at in other or isinstance(other, list) else None
        case 3:
            parent[key] = [parent[key]] if rng.random() < 0.5 else {"x": parent[key]}
        case 4 if rng.random() < 0.1:
            return rng.choice(([tree], tree.get(key) if isinstance(tree, dict) else tree, {}, [], "", None))
        case 4 | 5 | 6:
            parent[key] = _near(rng, parent[key])
        case _:
            parent[key] = rng.choice(VALUES)
    return tree


def _near(rng: random.Random, value: Any) -> Any:
    """A value much like another."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float)) and abs(value) < 2**63:  # floats end somewhere
        return rng.choice((-value, value + 1, value - 1, value * 1000, float(value), str(value), value + 0.5))
    if isinstance(value, str):
        k = rng.randrange(len(value) + 1)
        return rng.choice(
            (value[:k], value[:k] + rng.choice("0aé/ \n") + value[k + 1 :], value * 2, [value], 0)
        )
    if isinstance(value, list):
        return rng.choice(
            (value[:-1], value * 2, value[::-1], {str(k): one for k, one in enumerate(value[:5])})
        )
    if isinstance(value, dict):
        return [list(item) for item in value.items()]
    return str(value)


def _dumped(rng: random.Random, tree: Any) -> str:
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.05 and text.startswith("{") and len(text) > 2:  # keys that occur twice
        text = text[:-1] + "," + text[1:]
    return text


def _any_tree(rng: random.Random, depth: int) -> Any:
    match rng.randrange(4 if depth else 2):
        case 0 | 1:
            return rng.choice([value for value in VALUES if value == value])
        case 2:
            return [_any_tree(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(("", "id", "images", "x", "format")): _any_tree(rng, depth - 1) for _ in range(3)}


def _parsed(content: bytes) -> Any:
    """The JSON object or array in a file, else None."""
    if content[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _is_gzip(content: bytes) -> bool:
    try:
        return content[:2] == b"\x1f\x8b" and gzip.decompress(content) is not None
    except (OSError, EOFError, zlib.error):
        return False


def _is_text(content: bytes) -> bool:
    try:
        return "\x00" not in content.decode()
    except UnicodeDecodeError:
        return False
