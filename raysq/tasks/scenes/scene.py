"""What is in a picture: shapes in up to three places, and how they lie to each other.

A scene has one to three *spots*, side by side or one above another. A spot holds one group of equal shapes,
or two single shapes of which one lies inside or behind the other. Lengths are in parts of the picture's
width, the origin is its top left corner.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Size = Literal["small", "medium", "large"]
Axis = Literal["row", "column"]
Relation = Literal["inside", "behind"]
Pattern = Literal["plain", "striped", "chequered", "shaded"]

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS = ("red", "green", "blue", "yellow", "purple", "black", "white")
TONES = ("grey", "pink", "brown", "beige")
"""Colours of backgrounds; no shape has them."""
PATTERNS: tuple[Pattern, ...] = ("plain", "striped", "chequered", "shaded")
RADII: dict[Size, float] = {"small": 0.11, "medium": 0.145, "large": 0.19}
_ENCLOSING = ("circle", "square", "ring")
"""Shapes with room for a small one inside."""
_ENCLOSING_RADIUS, _ENCLOSED_RADIUS = 0.22, 0.1
_COVERED = 0.8
"""How far a shape lies from the one that half hides it. [radii of the hidden one]"""
_MIDDLES = {2: (0.27, 0.73), 3: (0.17, 0.5, 0.83)}
"""Where two and three spots lie along their axis."""
_NINTHS = (0.27, 0.5, 0.73)
"""Where a single spot lies, in either direction."""
_SPACING = 0.26
"""From one shape of a group to the next."""
_JITTER = 0.015
_NUM_SPOTS = (40, 45, 15)
"""Weights of one, two and three spots."""
_COUNTS = (1, 2, 3)
_COUNT_WEIGHTS = (50, 25, 25)


@dataclass(frozen=True, slots=True)
class Group:
    """Equal shapes in a line: one to three of them."""

    shape: str
    colour: str
    size: Size
    radius: float
    centres: tuple[tuple[float, float], ...]
    """(x, y) of each shape, from the left or the top on."""

    @property
    def kind(self) -> tuple[str, str]:
        """What tells the groups of a scene apart."""
        return self.colour, self.shape

    @property
    def middle(self) -> tuple[float, float]:
        """(x, y) of the group's centre."""
        return _mean(self.centres)

    @property
    def axis(self) -> Axis:
        """How the group's shapes are lined up, a single one in a row."""
        (x0, y0), (x1, y1) = self.centres[0], self.centres[-1]
        return "column" if abs(y1 - y0) > abs(x1 - x0) else "row"


@dataclass(frozen=True, slots=True)
class Spot:
    """One group, or two with a relation: the first lies inside or behind the second."""

    groups: tuple[Group, ...]
    relation: Relation | None = None

    @property
    def ninth(self) -> tuple[int, int]:
        """Column and row, 0 to 2 from the left and the top, of the picture's ninth that holds its middle."""
        x, y = _mean([group.middle for group in self.groups])
        return min(int(3 * x), 2), min(int(3 * y), 2)


@dataclass(frozen=True, slots=True)
class Scene:
    """The meaning of a picture."""

    tone: str
    pattern: Pattern
    axis: Axis
    """``row``: the spots go from left to right; ``column``: from top to bottom. A single spot has ``row``."""
    spots: tuple[Spot, ...]
    noise: int
    """Seeds the picture's small disturbances."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """All groups, spot by spot."""
        return tuple(group for spot in self.spots for group in spot.groups)

    @property
    def content(self) -> tuple[object, ...]:
        """What two scenes differ in for someone who describes them: everything but small displacements."""
        parts = tuple(
            (
                spot.relation,
                spot.ninth,
                *((group.kind, group.size, len(group.centres)) for group in spot.groups),
            )
            for spot in self.spots
        )
        return self.tone, self.pattern, self.axis, parts


def draw_scene(draws: random.Random) -> Scene:
    """A scene's meaning."""
    num_spots = draws.choices((1, 2, 3), weights=_NUM_SPOTS)[0]
    kinds = _distinct_kinds(draws)
    axis: Axis = "row" if num_spots == 1 else draws.choice(("row", "column"))
    spots: tuple[Spot, ...] = ()
    for place in _places(draws, axis, num_spots):
        # one related pair and not two, nor one in a row of three: there are three groups at most
        related = num_spots < 3 and not any(spot.relation for spot in spots)
        spots += (_draw_spot(draws, kinds, axis, place, num_spots, related),)
    return Scene(draws.choice(TONES), draws.choice(PATTERNS), axis, spots, draws.getrandbits(32))


def _distinct_kinds(draws: random.Random) -> Iterator[tuple[str, str]]:
    """Colours with shapes; a colour never comes twice, a shape may."""
    for colour in draws.sample(COLOURS, len(COLOURS)):
        yield colour, draws.choice(SHAPES)


def _places(draws: random.Random, axis: Axis, num_spots: int) -> list[tuple[float, float]]:
    """Where the spots lie: along the axis, a little off its middle line; a single one anywhere in nine."""
    if num_spots == 1:
        places = [(draws.choice(_NINTHS), draws.choice(_NINTHS))]
    else:
        across = draws.uniform(0.4, 0.6)
        places = [(along, across) for along in _MIDDLES[num_spots]]
        places = places if axis == "row" else [(y, x) for x, y in places]
    return [(x + _jitter(draws), y + _jitter(draws)) for x, y in places]


def _draw_spot(
    draws: random.Random,
    kinds: Iterator[tuple[str, str]],
    axis: Axis,
    place: tuple[float, float],
    num_spots: int,
    related: bool,
) -> Spot:
    """What lies at a place, two groups in some of the cases that are ``related``."""
    relation: Relation | None = draws.choices((None, "inside", "behind"), weights=(60, 22, 18))[0]
    if not related or relation is None:
        count = 1 if num_spots == 3 else draws.choices(_COUNTS, weights=_COUNT_WEIGHTS)[0]
        return Spot((_draw_line(draws, next(kinds), axis, place, count, num_spots),))
    return _draw_inside(draws, kinds, place) if relation == "inside" else _draw_behind(draws, kinds, place)


def _draw_line(
    draws: random.Random,
    kind: tuple[str, str],
    axis: Axis,
    place: tuple[float, float],
    count: int,
    num_spots: int,
) -> Group:
    """Equal shapes in a line across the scene's axis, or along any where there is one spot.

    Of three spots, each has room for one shape that is not large.
    """
    sizes: tuple[Size, ...] = ("small", "medium") if num_spots == 3 else ("small", "medium", "large")
    size: Size = draws.choice(sizes) if count == 1 else "small"
    upright = draws.random() < 0.5 if num_spots == 1 else axis == "row"
    x, y = place
    # a line of several keeps to the middle of its own direction, or it would leave the picture
    x, y = (x, y) if count == 1 else (x, 0.5) if upright else (0.5, y)
    offsets = [(number - (count - 1) / 2) * _SPACING for number in range(count)]
    centres = tuple((x, y + offset) if upright else (x + offset, y) for offset in offsets)
    colour, shape = kind
    return Group(shape, colour, size, RADII[size], centres)


def _draw_inside(draws: random.Random, kinds: Iterator[tuple[str, str]], place: tuple[float, float]) -> Spot:
    (inner_colour, inner), (outer_colour, _) = next(kinds), next(kinds)
    outer = draws.choice(_ENCLOSING)
    small = Group(inner, inner_colour, "small", _ENCLOSED_RADIUS, (place,))
    return Spot((small, Group(outer, outer_colour, "large", _ENCLOSING_RADIUS, (place,))), "inside")


def _draw_behind(draws: random.Random, kinds: Iterator[tuple[str, str]], place: tuple[float, float]) -> Spot:
    """A large shape half hidden by a smaller one to its side."""
    (back_colour, back), (front_colour, front) = next(kinds), next(kinds)
    size: Size = draws.choice(("small", "medium"))
    radius = RADII["large"]
    x, y = place
    shift = _COVERED * radius * draws.choice((-1, 1))
    hidden = Group(back, back_colour, "large", radius, ((x - shift / 2, y),))
    return Spot((hidden, Group(front, front_colour, size, RADII[size], ((x + shift / 2, y),))), "behind")


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def _jitter(draws: random.Random) -> float:
    return draws.uniform(-_JITTER, _JITTER)
