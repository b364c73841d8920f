"""All that the worlds can say, in one place: the vocabulary, the grammar, and how a caption is read back.

WORDS maps every attribute to its values and every value to the phrases that name it. TEMPLATES holds the sentences,
with {fields} where phrases go. Two values of one attribute never share a phrase, so a caption can be read back into
the attributes that it claims, which is how the tests hold words against pixels.
"""

import random
import re
from collections.abc import Iterable
from functools import cache

# The colors of things are bright, those of backgrounds are pale, dark or gray, so that a thing can always be seen.
COLORS = {
    "red": (221, 45, 50), "orange": (246, 134, 32), "yellow": (250, 212, 48), "green": (52, 168, 83),
    "cyan": (54, 199, 217), "blue": (48, 98, 226), "purple": (140, 66, 200), "pink": (247, 112, 180),
}  # fmt: skip
BACKGROUNDS = {
    "white": (243, 243, 240), "cream": (236, 221, 190), "gray": (136, 139, 143),
    "navy": (24, 33, 74), "maroon": (76, 22, 38), "black": (17, 17, 21),
}  # fmt: skip

WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "color": {name: (name,) for name in COLORS},
    "background": {
        "white": ("white", "plain white"), "cream": ("cream", "pale cream"), "gray": ("gray", "plain gray"),
        "navy": ("navy", "deep navy"), "maroon": ("maroon", "dark maroon"), "black": ("black", "pitch black"),
    },
    "shape": {
        "circle": ("circle", "disc"), "square": ("square",), "triangle": ("triangle",), "star": ("star",),
        "heart": ("heart",), "ring": ("ring", "hoop"),
    },
    "size": {"small": ("small", "little"), "large": ("large", "big")},
    "count": {
        "1": ("one",), "2": ("two",), "3": ("three",), "4": ("four",), "5": ("five",), "6": ("six",), "7": ("seven",),
        "8": ("eight",), "9": ("nine",), "10": ("ten",), "11": ("eleven",), "12": ("twelve",),
    },
    "place": {
        "top left": ("in the top left", "in the upper left"), "top": ("near the top",),
        "top right": ("in the top right", "in the upper right"), "left": ("on the left",),
        "middle": ("in the middle", "near the center"), "right": ("on the right",),
        "bottom left": ("in the bottom left", "in the lower left"), "bottom": ("near the bottom",),
        "bottom right": ("in the bottom right", "in the lower right"),
    },
    # shapes
    "motion": {
        "still": ("stays still", "does not move"),
        "left": ("moves to the left", "slides left"), "right": ("moves to the right", "slides right"),
        "up": ("moves up", "rises"), "down": ("moves down", "sinks"),
        "clockwise": ("circles clockwise", "goes round clockwise"),
        "counterclockwise": ("circles counterclockwise", "goes round counterclockwise"),
        "sway": ("swings from side to side", "sways left and right"),
        "bob": ("bobs up and down", "bounces up and down on the spot"),
    },
    "style": {
        "flat": (), "sketch": ("a pencil sketch of", "a hand-drawn sketch of"),
        "neon": ("a neon drawing of", "glowing neon lines:"), "film": ("grainy old film of", "vintage film footage of"),
    },
    # physics
    "event": {
        "drop": ("drops", "falls"), "throw": ("is thrown", "flies"), "roll": ("rolls",), "pendulum": ("swings",),
        "collide": ("hits", "bumps into", "collides with"),
    },
    "gravity": {"earth": ("on Earth",), "moon": ("on the Moon",), "other": ()},
    "direction": {"left": ("to the left",), "right": ("to the right",)},
    "bounce": {"high": ("and bounces high",), "low": ("and hardly bounces", "and bounces only a little")},
    "pace": {"steady": ("at a steady speed",), "slowing": ("and slows down", "slower and slower")},
    "rod": {"short": ("a short rod",), "long": ("a long rod",)},
    "meeting": {"rest": ("that is at rest", "that lies still"), "oncoming": ("that comes toward it",)},
    "setting": {
        "earth": ("under a pale sky", "in daylight"), "moon": ("under a black sky full of stars", "over gray dust"),
    },
    # painter
    "figure": {
        "horizontal": ("level line", "horizontal line"), "vertical": ("upright line", "vertical line"),
        "wave": ("wave", "wavy line"), "zigzag": ("zigzag", "zigzag line"), "arch": ("arch", "arc"),
        "circle": ("circle",), "spiral": ("spiral", "swirl"), "square": ("square",),
    },
    "strokes": {"1": ("one stroke",), "2": ("two strokes",), "3": ("three strokes",), "4": ("four strokes",),
                "5": ("five strokes",), "6": ("six strokes",)},
    # craft
    "activity": {
        "walk": ("walking", "strolling"), "tunnel": ("mining", "digging through"), "chop": ("chopping", "cutting"),
        "bridge": ("building a bridge of", "laying a bridge of"), "plant": ("planting",),
        "wall": ("building a wall of", "raising a wall of"),
    },
    "heading": {
        "left": ("to the left", "leftward"), "right": ("to the right", "rightward"), "up": ("up", "upward"),
        "down": ("down", "downward"),
    },
    "side": {
        "left": ("left of the path",), "right": ("right of the path",), "up": ("above the path",),
        "down": ("below the path",),
    },
    "surroundings": {
        "meadow": ("on a meadow", "in a grassy field"), "forest": ("in a forest", "in the woods"),
        "desert": ("in a desert", "among sand dunes"), "lake": ("at a lake", "on the shore of a lake"),
        "cave": ("in a cave", "deep underground"), "snow": ("in the snow", "on a snowy plain"),
    },
    "tile": {
        "grass": ("grass",), "sand": ("sand",), "snow": ("snow",), "dirt": ("bare earth",), "water": ("water",),
        "stone": ("rocks",), "tree": ("trees",), "planks": ("boards",),
    },
    # occlusion
    "wall": {
        "brick": ("brick wall", "wall of bricks"), "wood": ("wooden wall", "wall of planks"),
        "fence": ("fence", "picket fence"),
    },
    "landmarks": {
        "trees": ("row of trees", "line of trees"), "pillars": ("row of pillars", "line of pillars"),
        "windows": ("row of windows", "wall with windows"),
    },
    "pan": {"left": ("pans left", "turns left"), "right": ("pans right", "turns right")},
    # orbit
    "camera": {
        "circle left": ("circles to the left", "moves in a circle to the left"),
        "circle right": ("circles to the right", "moves in a circle to the right"),
        "pan left": ("pans left", "pans to the left"), "pan right": ("pans right", "pans to the right"),
        "zoom in": ("zooms in", "zooms in closer"), "zoom out": ("zooms out", "zooms out wider"),
        "still": ("holds still", "does not move"),
    },
    "solid": {
        "cube": ("cube",), "ball": ("ball", "sphere"), "cylinder": ("cylinder", "drum"), "marble": ("marble",),
    },
    "floor": {
        "gray": ("gray and white",), "cream": ("cream and white",), "navy": ("navy and white",),
        "black": ("black and white",),
    },
    "spot": {
        "front left": ("at the front left",), "front": ("at the front",), "front right": ("at the front right",),
        "left": ("on the left",), "middle": ("in the middle", "near the center"), "right": ("on the right",),
        "back left": ("at the back left",), "back": ("at the back",), "back right": ("at the back right",),
    },
}  # fmt: skip

TEMPLATES: dict[str, tuple[str, ...]] = {
    "shapes.thing": ("a {size} {color} {shape} that {motion}", "a {size} {color} {shape} which {motion}"),
    "shapes.only": ("a {size} {color} {shape} {motion}",),
    "shapes.placed": (
        "a {size} {color} {shape} that starts {place} and {motion}",
        "{place}, a {size} {color} {shape} that {motion}",
    ),
    "shapes.one": ("{count} shape",),
    "shapes.many": ("{count} shapes",),
    "shapes.short": ("{style} {things} on a {background} background", "{style} {things}, {background} background"),
    "shapes.long": (
        "{style} {count} on a {background} background. {things}.",
        "{style} {count}, {background} background. {things}.",
    ),
    "shapes.bounce": ("Whatever reaches an edge bounces off it.", "Things that travel turn back at the edges."),
    "physics.ball": ("a {size} {color} ball",),
    "physics.drop": ("{ball} {event} {bounce} {gravity}", "{ball} {event} from rest {bounce} {gravity}"),
    "physics.throw": ("{ball} {event} {direction} {bounce} {gravity}",),
    "physics.roll": ("{ball} {event} {direction} {pace} {gravity}",),
    "physics.pendulum": ("{ball} on {rod} {event} {gravity}", "{ball} {event} on {rod} {gravity}"),
    "physics.collide": ("{ball} moves {direction} and {event} {other} {meeting} {gravity}",),
    "physics.long": ("{what}, {setting}. {more}",),
    "physics.drop.more": ("It starts {place} and falls faster and faster.",),
    "physics.throw.more": ("It starts {place} and flies in an arc.", "It starts {place}, goes up and comes down."),
    "physics.roll.more": ("It starts {place} and stays on the floor.",),
    "physics.pendulum.more": ("It first swings {direction}, and reaches the same height on both sides.",),
    "physics.collide.more": ("Both balls roll in one straight line.",),
    "physics.equal": ("They are equally heavy, so they swap their speeds.",),
    "physics.unequal": ("The large ball is heavy and the small ball is light.",),
    "physics.hops": ("Each bounce is lower than the one before.",),
    "physics.walls": ("Whatever reaches a side of the picture bounces back.", "The sides of the picture are walls."),
    "painter.stroke": ("a {color} {figure}",),
    "painter.short": (
        "a brush paints {strokes} on {background} paper",
        "on {background} paper, a brush paints {strokes}",
        "a paintbrush draws {strokes} on {background} paper",
    ),
    "painter.long": (
        "a brush paints {count} on a sheet of {background} paper.",
        "a paintbrush moves over {background} paper and leaves {count}.",
    ),
    "painter.first": ("first it paints a {color} {figure} {place}.", "it begins with a {color} {figure} {place}."),
    "painter.next": ("then it paints a {color} {figure} {place}.", "next comes a {color} {figure} {place}."),
    "painter.stay": ("The paint stays where the brush went.", "Every stroke stays as it was painted."),
    "painter.again": ("Then the brush goes over it all again.", "After that it goes over everything again."),
    "craft.stroll": ("{activity} {heading}",),
    "craft.task": ("{activity} {count}, going {heading}", "{activity} {count} on the way {heading}"),
    "craft.short": (
        "{surroundings}, a player in a {color} shirt is {task}",
        "a player in a {color} shirt is {task} {surroundings}",
        "a world of blocks: a player in a {color} shirt is {task} {surroundings}",
    ),
    "craft.descriptive": (
        "a world of blocks, seen from above. {surroundings}, a player in a {color} shirt is {task}.",
        "a game with square blocks, seen from above. A player in a {color} shirt is {task} {surroundings}.",
    ),
    "craft.walk": ("The player takes a step at a time, and no block changes.",),
    "craft.tunnel": ("Each stone is broken, and the player steps into its place.",),
    "craft.bridge": ("Each plank is laid on the water, and the player steps onto it.",),
    "craft.chop": ("The trees stand {side}, and each of them leaves grass.",),
    "craft.wall": ("The stones are put {side}, side by side.",),
    "craft.plant": ("The trees are put {side}, side by side.",),
    "craft.around": ("{tiles} can be seen around.", "nearby there are {tiles}."),
    "craft.turn": ("At the end of the way the player turns back.",),
    "craft.undo": ("When the work is done, the player goes back and undoes it.",),
    "occlusion.wall": (
        "a {size} {color} {shape} {motion}, goes behind a {wall} and comes out on the other side",
        "a {size} {color} {shape} {motion}, is hidden by a {wall} and comes out on the far side",
    ),
    "occlusion.wall2": ("a {size} {color} {shape} {motion} on top of the {wall}",),
    "occlusion.camera": (
        "a {size} {color} {shape} {motion} in front of a {landmarks}. the camera {pan}, loses it and returns to it",
        "in front of a {landmarks}, a {size} {color} {shape} {motion}. the camera {pan} until it is gone, then back",
    ),
    "occlusion.camera2": ("while away, the camera sees a {size} {color} {shape} that {motion}",),
    "occlusion.short": ("{story}. {background} background.", "{story}. the background is {background}."),
    "occlusion.wall.long": (
        "{place} {story}. what was hidden keeps its color, shape and speed. the {wall} stands {middle} of a plain "
        "floor, on a {background} background.",
    ),
    "occlusion.camera.long": (
        "{place} {story}. what was out of view is there again, just as it was. plain floor, {background} background.",
    ),
    "occlusion.wall.again": ("then it turns around and goes back behind the {wall}.",),
    "occlusion.camera.again": ("then the camera does the same again.",),
    "orbit.thing": ("a {color} {solid}",),
    "orbit.marbles": ("{colors} marbles",),
    "orbit.again": ("and back, again and again", "and then back, over and over"),
    "orbit.short": (
        "{things} with {marbles} on a {floor} checkered floor. The camera {camera}.",
        "the camera {camera}: {things} with {marbles} on a {floor} checkered floor.",
    ),
    "orbit.placed": ("a {size} {color} {solid} stands {spot}", "{spot}, a {size} {color} {solid}"),
    "orbit.long": (
        "{count} things on a {floor} checkered floor. {things}. The camera {camera}.",
        "the camera {camera}. {count} things stand on a {floor} checkered floor. {things}.",
    ),
}


def say(rng: random.Random, template: str, **fields: str) -> str:
    """Fill one of a template's wordings, chosen at random, with phrases."""
    sentence = rng.choice(TEMPLATES[template]).format(**fields)
    return re.sub(r"\s+", " ", sentence).strip()


def word(rng: random.Random, attribute: str, value: str) -> str:
    """One of the phrases that name a value; nothing where the value goes without saying."""
    phrases = WORDS[attribute][value]
    return rng.choice(phrases) if phrases else ""


def join(parts: Iterable[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def article(text: str) -> str:
    """'a orange ring' → 'an orange ring'; the templates always write 'a'."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


def sentence(text: str) -> str:
    """Articles mended, and a capital at the head of each sentence."""
    return re.sub(r"(^|[.:] )([a-z])", lambda match: match[1] + match[2].upper(), article(text))


@cache
def _pattern(attribute: str) -> tuple[re.Pattern[str], dict[str, str]]:
    names = {phrase.lower(): value for value, phrases in WORDS[attribute].items() for phrase in phrases}
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(r"\b(" + "|".join(map(re.escape, longest_first)) + r")(?!\w)", re.IGNORECASE), names


def mentions(text: str, attribute: str) -> list[str]:
    """The values of one attribute that a text names, in the order in which it names them."""
    return [value for value, _ in _found(text, attribute)]


def _found(text: str, attribute: str) -> list[tuple[str, tuple[int, int]]]:
    """The same, and from where to where each is named."""
    pattern, names = _pattern(attribute)
    return [(names[found[0].lower()], found.span()) for found in pattern.finditer(text)]


def things(text: str, attributes: Iterable[str]) -> list[tuple[int, int, dict[str, str]]]:
    """The stretches of a text, from where to where, that are about one thing each, and what they say of it.

    Every thing has its color named, and only one; so an attribute is taken to be the things' if there are as many of
    it, which holds for the shapes world and is misled by a few captions of others. "color" has to be an attribute.
    """
    found = {name: _found(text, name) for name in attributes}
    told = {name: named for name, named in found.items() if len(named) == len(found["color"])}
    stretches = []
    for each in range(len(found["color"])):
        spans = [named[each][1] for named in told.values()]
        said = {name: named[each][0] for name, named in told.items()}
        stretches.append((min(start for start, _ in spans), max(end for _, end in spans), said))
    return stretches
