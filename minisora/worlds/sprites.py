"""The player of the craft world and what is held in hand, drawn in letters: one letter is one art pixel."""

from functools import cache

import torch
from torch import Tensor

from minisora.worlds.language import COLORS
from minisora.worlds.tiles import CODE, textures

SHADE = {"S": 1.0, "s": 0.76, "L": 1.14}  # the shirt, its shadow and its light, as shares of the shirt's color
INK = {
    "o": (44, 32, 34), "h": (84, 54, 40), "H": (122, 82, 56), "f": (242, 200, 160), "F": (216, 166, 128),
    "k": (44, 32, 38), "p": (62, 66, 96), "P": (48, 50, 76), "b": (60, 44, 38), "g": (206, 212, 220),
    "G": (146, 152, 164), "w": (150, 100, 56), "W": (108, 72, 44),
}  # fmt: skip
SHADOW = "x"  # what lies in the player's shadow is a little darker

BODY = {
    "down": """
................
....oooooooo....
...ohHHHHhhho...
..ohHHHHHhhhho..
..ohHhhhhhhhho..
..ohffffffffho..
..ohfkffffkfho..
...offffffffo...
..oLSSSSSSSSso..
.oSSSSSSSSSSsso.
.ofSSSSSSSSSsfo.
.ofSSSSSSSSSsfo.
..oSSSSSSSSsso..""",
    "up": """
................
....oooooooo....
...ohHHHHhhho...
..ohHHHHHhhhho..
..ohHHhhhhhhho..
..ohhhhhhhhhho..
..ohhhhhhhhhho..
...ohhhhhhhho...
..oLSSSSSSSSso..
.oSSSSSSSSSSsso.
.ofSSSSSSSSSsfo.
.ofSSSSSSSSSsfo.
..oSSSSSSSSsso..""",
    "right": """
................
....oooooooo....
...ohHHHHhhho...
..ohHHHHHhhhho..
..ohhhhhhhfffo..
..ohhhhhfffffo..
..ohhhhffkffFo..
...ohhhfffffo...
...oLSSSSSSSo...
..oSSSSSSSSSso..
..oSSSSSSSSSfo..
..oSSSSSSSSSfo..
...oSSSSSSSso...""",
}

LEGS = {
    "stand": "...oppppppppo...\n...oppp..PPPo...\n..xobbbxxbbboxx.",
    "left": "...oppppppppo...\n...oppp..bbbo...\n..xobbbxxxxxxxx.",
    "right": "...oppppppppo...\n...obbb..PPPo...\n..xxxxxxxbbboxx.",
}

TOOLS = {
    "pick": "..GggG..\n.Gg..gG.\n.g.ww.g.\n...wW...\n...wW...\n...wW...\n...wW...\n........",
    "axe": "..gg....\n.gggwW..\n.gggwW..\n..ggwW..\n....wW..\n....wW..\n....wW..\n........",
}

CRACK = """
................
................
.......o........
.......oo.......
....o...o..o....
....oo..o.oo....
.....ooooo......
......ooo.......
....ooo.oooo....
..ooo...o..oo...
........oo......
.........o......
........oo......
........o.......
................
................"""


def _letters(art: str, shirt: tuple[int, int, int] = (0, 0, 0)) -> Tensor:
    """(n, n, 4) red, green, blue in 0 … 255 and opacity in 0 … 1."""
    ink = {letter: (*color, 1.0) for letter, color in INK.items()}
    ink |= {letter: (*(min(255.0, share * channel) for channel in shirt), 1.0) for letter, share in SHADE.items()}
    ink |= {".": (0.0, 0.0, 0.0, 0.0), SHADOW: (0.0, 0.0, 0.0, 0.3)}
    return torch.tensor([[ink[letter] for letter in row] for row in art.split()])


@cache
def player(shirt: str, facing: str, legs: str) -> Tensor:
    """(16, 16, 4) the player in a shirt of this color, facing left, right, up or down; legs: stand, left or right."""
    if facing == "left":
        return player(shirt, "right", legs).flip(1)
    return _letters(BODY[facing] + "\n" + LEGS[legs], COLORS[shirt])


@cache
def in_hand(verb: str, tile: str) -> Tensor:
    """(8, 8, 4) a tool to mine with, or the small block that is about to be placed."""
    if verb == "mine":
        return _letters(TOOLS["axe" if tile == "tree" else "pick"])
    block = textures()[CODE[tile], 0].unflatten(0, (8, 2)).unflatten(2, (8, 2)).mean(dim=(1, 3))
    return torch.cat([block, torch.ones(8, 8, 1)], dim=-1)


@cache
def crack() -> Tensor:
    """(16, 16, 4) what a block looks like, on top, when it is about to give way."""
    return _letters(CRACK)
