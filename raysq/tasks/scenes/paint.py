"""Painting a scene: 48 by 48 pixels of shapes on a patterned background, with noise.

A shape is a formula over its own plane, where it reaches from -1 to 1 or nearly so, x to the right and y
upwards. Whether nine points of a pixel lie in it says how far the pixel is covered.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from raysq.tasks.scenes.scene import Group, Pattern, Scene

PIXELS = 48
"""Width and height of a picture."""
_POINTS = 3
"""Points of a pixel that are looked at, in either direction."""
_NOISE = 20
"""Largest disturbance of a value. [of 255]"""
_TINT = 10
"""Largest change of a whole colour. [of 255]"""
_PATTERN_DEPTH = 16
"""How much the pattern changes the background's brightness, up and down. [of 255]"""

Plane = NDArray[np.float64]
Picture = NDArray[np.uint8]

RGB: dict[str, tuple[int, int, int]] = {
    "red": (205, 30, 35),
    "green": (25, 140, 50),
    "blue": (30, 65, 205),
    "yellow": (245, 220, 30),
    "purple": (125, 40, 155),
    "black": (25, 25, 25),
    "white": (245, 245, 245),
    "grey": (140, 142, 145),
    "pink": (235, 155, 180),
    "brown": (120, 85, 60),
    "beige": (205, 190, 155),
}


def paint(scene: Scene) -> Picture:
    """The picture of a scene, the same for the same scene: uint8 [PIXELS, PIXELS, 3].

    Shapes are painted in an order in which the one inside or in front of another comes later.
    """
    draws = random.Random(scene.noise)
    canvas = _background(scene.pattern, _tinted(scene.tone, draws))
    for spot in scene.spots:
        inner_first = spot.relation == "inside"
        for group in reversed(spot.groups) if inner_first else spot.groups:
            colour = _tinted(group.colour, draws)
            covered = _coverage(group)[:, :, None]
            canvas = canvas * (1 - covered) + colour * covered
    return np.clip(np.rint(canvas + _noise(draws)), 0, 255).astype(np.uint8)


def _grid(points: int) -> tuple[Plane, Plane]:
    """x and y of ``points`` by ``points`` evenly spread points of the picture. [parts of its width]"""
    steps = (np.arange(points) + 0.5) / points
    x, y = np.meshgrid(steps, steps)
    return x, y


def _background(pattern: Pattern, colour: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = _grid(PIXELS)
    stripes = np.where((x * 8).astype(int) % 2 == 0, 1.0, -1.0)
    brightness = {
        "plain": np.zeros_like(x),
        "striped": stripes,
        "chequered": stripes * np.where((y * 8).astype(int) % 2 == 0, 1.0, -1.0),
        "shaded": 2.5 * (1 - 2 * y),
    }[pattern]
    return colour + _PATTERN_DEPTH * brightness[:, :, None]


def _coverage(group: Group) -> NDArray[np.float64]:
    """How much of each pixel the group's shapes cover: [PIXELS, PIXELS] in 0 to 1."""
    x, y = _grid(PIXELS * _POINTS)
    inside = np.zeros(x.shape, dtype=bool)
    for left, top in group.centres:
        inside |= FORMULAS[group.shape]((x - left) / group.radius, (top - y) / group.radius)
    return inside.reshape(PIXELS, _POINTS, PIXELS, _POINTS).mean(axis=(1, 3))


def _tinted(colour: str, draws: random.Random) -> NDArray[np.float64]:
    return np.array([value + draws.uniform(-_TINT, _TINT) for value in RGB[colour]])


def _noise(draws: random.Random) -> NDArray[np.float64]:
    """Disturbances of every value, small ones likelier: the sum of two uniform draws."""
    shape = (2, PIXELS, PIXELS, 3)
    uniform = np.frombuffer(draws.randbytes(2 * PIXELS * PIXELS * 3), dtype=np.uint8).reshape(shape)
    return (uniform.astype(np.float64).sum(axis=0) - 255) * (_NOISE / 255)


def _circle(x: Plane, y: Plane) -> NDArray[np.bool_]:
    return x**2 + y**2 <= 1


def _square(x: Plane, y: Plane) -> NDArray[np.bool_]:
    return np.maximum(abs(x), abs(y)) <= 0.85


def _triangle(x: Plane, y: Plane) -> NDArray[np.bool_]:
    return (y >= -0.8) & (abs(x) <= 0.55 * (1 - y))


def _star(x: Plane, y: Plane) -> NDArray[np.bool_]:
    """The pentagram: the points that lie beyond at most one of its five lines."""
    tips = [2 * np.pi * number / 5 for number in range(5)]
    beyond = [x * np.sin(angle) + y * np.cos(angle) > 0.33 for angle in tips]
    return np.sum(beyond, axis=0) <= 1


def _cross(x: Plane, y: Plane) -> NDArray[np.bool_]:
    return (np.minimum(abs(x), abs(y)) <= 0.32) & (np.maximum(abs(x), abs(y)) <= 1)


def _ring(x: Plane, y: Plane) -> NDArray[np.bool_]:
    return (x**2 + y**2 <= 1) & (x**2 + y**2 >= 0.6**2)


FORMULAS: dict[str, Callable[[Plane, Plane], NDArray[np.bool_]]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
}
