"""Saying in English what a scene shows, as different people would.

Each caption is another speaker's, who has habits: whether they mention sizes, places, the background and
what is inside or behind something, and whether they name shapes or only call them so. Then come the order of
mention, a relation or its converse (left of, right of), and the choice among words.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from raysq.tasks.scenes.scene import Axis, Group, Pattern, Scene, Spot

_NOUNS = {
    "circle": "circle/disc",
    "square": "square/box",
    "triangle": "triangle",
    "star": "star",
    "cross": "cross/plus sign",
    "ring": "ring/hoop",
}
"""Names of shapes; of alternatives parted by ``/`` the first is the commonest, here and below."""
_SIZES = {"small": "small/little/tiny", "medium": "", "large": "large/big/huge"}
_NUMBERS = {1: "a", 2: "two/a pair of", 3: "three/several"}
_PATTERNS: dict[Pattern, str] = {
    "plain": "plain",
    "striped": "striped",
    "chequered": "chequered/checked",
    "shaded": "shaded",
}
_TWO: dict[Axis, str] = {
    "row": "side by side/next to each other",
    "column": "one above the other/on top of each other",
}
_MORE: dict[Axis, str] = {
    "row": "in a row/side by side/next to each other/in a line",
    "column": "one above the other/in a column/on top of each other",
}
"""How shapes are lined up."""
_FORTH: dict[Axis, str] = {
    "row": "to the left of/left of/on the left side of/next to/beside",
    "column": "above/over/on top of",
}
"""How the first of two spots lies to the second."""
_BACK: dict[Axis, str] = {
    "row": "to the right of/right of/on the right side of/next to/beside",
    "column": "below/under/beneath/underneath",
}
_SIDES: dict[Axis, tuple[str, str, str]] = {
    "row": ("on the left/to the left", "in the middle/in the centre", "on the right/to the right"),
    "column": ("at the top/on top", "in the middle/in the centre", "at the bottom/below"),
}
_ROWS, _COLUMNS = ("top/upper", "", "bottom/lower"), ("left", "", "right")
_VERBS = ("is/sits/lies/can be seen", "are/sit/lie/can be seen")
"""For one thing and for several."""
FIRST_CHOICE = 0.6
"""Probability of the first of several alternatives. Lower: captions of a picture agree less."""


@dataclass(frozen=True, slots=True)
class _Phrase:
    """A noun phrase, and whether its verb is plural."""

    text: str
    plural: bool


class _Speaker:
    """One person's habits, and the draws by which they choose."""

    def __init__(self, draws: random.Random) -> None:
        self._draws = draws
        self.sizes = self.chance(0.5)
        self.places = self.chance(0.6)
        self.background = self.chance(0.3)
        self.relations = self.chance(0.85)
        self.names_shapes = self.chance(0.93)
        self.forth = self.chance(0.6)
        """Whether they go from left to right, from the top down and from the inside outwards."""

    def chance(self, probability: float) -> bool:
        return self._draws.random() < probability

    def one(self, alternatives: str) -> str:
        """One of the alternatives parted by ``/``: the first with ``FIRST_CHOICE``, the others alike."""
        first, *others = alternatives.split("/")
        return first if not others or self.chance(FIRST_CHOICE) else self._draws.choice(others)


def caption(scene: Scene, draws: random.Random) -> str:
    """One sentence about a scene by a speaker of its own, with a capital and a full stop."""
    speaker = _Speaker(draws)
    say = {1: _one_spot, 2: _two_spots, 3: _three_spots}[len(scene.spots)]
    text = say(scene, speaker)
    if speaker.background:
        text = f"{text} {_background(scene, speaker)}"
    return f"{text[0].upper()}{text[1:]}."


def _one_spot(scene: Scene, speaker: _Speaker) -> str:
    (spot,) = scene.spots
    phrase = _spot(spot, speaker)
    if not speaker.places:
        return _opened(phrase, speaker)
    place = _ninth(spot, speaker)
    if speaker.chance(0.5):
        return f"{_opened(phrase, speaker)} {place}"
    if speaker.chance(0.4):
        place += f" of the {speaker.one('picture/image')}"
    verb = speaker.one(_VERBS[phrase.plural])
    return f"{phrase.text} {verb} {place}" if speaker.chance(0.6) else f"{place} {verb} {phrase.text}"


def _two_spots(scene: Scene, speaker: _Speaker) -> str:
    first, second = (_spot(spot, speaker) for spot in scene.spots)
    axis = scene.axis
    near, far = (first, second) if speaker.forth else (second, first)
    if not speaker.places:
        single = not near.plural and not far.plural
        together = f" {speaker.one(_TWO[axis])}" if single and speaker.chance(0.4) else ""
        return _opened(_Phrase(f"{near.text} and {far.text}", near.plural), speaker) + together
    if speaker.chance(0.3):
        sides = _SIDES[axis][::2] if speaker.forth else _SIDES[axis][::-2]
        one, other = (speaker.one(side) for side in sides)
        if speaker.chance(0.25):
            return f"{one} {speaker.one(_VERBS[near.plural])} {near.text} and {other} {far.text}"
        return _opened(_Phrase(f"{near.text} {one} and {far.text} {other}", near.plural), speaker)
    relation = speaker.one((_FORTH if speaker.forth else _BACK)[axis])
    if speaker.chance(0.35):
        return f"{near.text} {speaker.one(_VERBS[near.plural])} {relation} {far.text}"
    return _opened(_Phrase(f"{near.text} {relation} {far.text}", near.plural), speaker)


def _three_spots(scene: Scene, speaker: _Speaker) -> str:
    phrases = [_spot(spot, speaker) for spot in scene.spots]
    if not speaker.forth:
        phrases.reverse()
    first, middle, last = (phrase.text for phrase in phrases)
    if speaker.places and speaker.chance(0.4):
        verb = f" {speaker.one(_VERBS[0])}" if speaker.chance(0.4) else ""
        return f"{middle}{verb} between {first} and {last}"
    if speaker.places and speaker.chance(0.35):
        sides = _SIDES[scene.axis] if speaker.forth else _SIDES[scene.axis][::-1]
        one, two, three = (speaker.one(side) for side in sides)
        return _opened(_Phrase(f"{first} {one}, {middle} {two} and {last} {three}", False), speaker)
    line = f" {speaker.one(_MORE[scene.axis])}" if speaker.chance(0.5) else ""
    return _opened(_Phrase(f"{first}, {middle} and {last}{line}", False), speaker)


def _opened(phrase: _Phrase, speaker: _Speaker) -> str:
    """The phrase alone, or announced."""
    if speaker.chance(0.5):
        return phrase.text
    if speaker.chance(0.5):
        return f"there {'is' if phrase.text.startswith('a ') else 'are'} {phrase.text}"
    return f"{speaker.one('the picture shows/a picture of/the image shows/an image of/we see')} {phrase.text}"


def _spot(spot: Spot, speaker: _Speaker) -> _Phrase:
    """A spot's groups, either of two first."""
    if spot.relation is None:
        (group,) = spot.groups
        phrase = _group(group, speaker)
        if not phrase.plural or speaker.chance(0.65):
            return phrase
        line = (_TWO if len(group.centres) == 2 else _MORE)[group.axis]
        return _Phrase(f"{phrase.text} {speaker.one(line)}", True)
    if not speaker.relations:
        return _group(spot.groups[1], speaker)
    first, second = (_group(group, speaker).text for group in spot.groups)
    if spot.relation == "inside":
        forth = f"{first} {speaker.one('inside/in/within/in the middle of')} {second}"
        back = speaker.one(f"with {first} inside/with {first} in it/around {first}/containing {first}")
    else:
        forth = f"{first} {speaker.one('behind/partly hidden by/partly covered by')} {second}"
        back = speaker.one(f"in front of {first}/covering part of {first}/overlapping {first}")
    return _Phrase(forth if speaker.forth else f"{second} {back}", False)


def _group(group: Group, speaker: _Speaker) -> _Phrase:
    count = len(group.centres)
    number = speaker.one(_NUMBERS[count])
    size = speaker.one(_SIZES[group.size]) if speaker.sizes else ""
    colour = speaker.one("purple/violet") if group.colour == "purple" else group.colour
    noun = speaker.one(_NOUNS[group.shape]) if speaker.names_shapes else speaker.one("shape/object")
    if count > 1:
        noun = f"{noun}es" if noun.endswith(("x", "ss")) else f"{noun}s"
    # the colour is always named, and begins with a consonant: no "an"
    return _Phrase(" ".join(filter(None, (number, size, colour, noun))), count > 1)


def _ninth(spot: Spot, speaker: _Speaker) -> str:
    """The part of the picture where a spot lies."""
    column, row = spot.ninth
    vertical, horizontal = _ROWS[row], _COLUMNS[column]
    if vertical and horizontal:
        return f"in the {speaker.one(vertical)} {horizontal}{speaker.one(' corner/')}"
    if horizontal:
        return f"on the {horizontal}"
    if vertical:
        return "at the top" if row == 0 else "at the bottom"
    return speaker.one("in the middle/in the centre")


def _background(scene: Scene, speaker: _Speaker) -> str:
    looks = scene.tone
    if scene.pattern != "plain" or speaker.chance(0.3):
        pattern = speaker.one(_PATTERNS[scene.pattern])
        looks = speaker.one(f"{pattern}/{pattern} {scene.tone}")
    return f"{speaker.one('on/against')} a {looks} {speaker.one('background/backdrop/surface')}"
