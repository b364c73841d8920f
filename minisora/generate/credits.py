"""Credits: every generated clip knows how it was made, and carries it into the file that shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip
from minisora.data.video_io import probe, write_video


@dataclass(frozen=True, eq=False, repr=False)
class Take(Clip):
    """A generated clip and its recipe: the arguments of `Sora.generate` that make it again, preset and weights.

    What is no number or text, such as a given clip, is only named in it, under "beside".
    """

    recipe: Mapping[str, Any] = field(default_factory=dict)


def write_take(path: str | Path, take: Take, crf: int = 18) -> Path:
    """Write a clip as mp4, GIF, PNG or a folder of PNGs; its recipe lies in the file's comment, as JSON."""
    return write_video(path, take, {"recipe": dict(take.recipe)}, crf)


def read_recipe(path: str | Path) -> dict[str, Any]:
    """How the clip in a file was made."""
    recipe = probe(path).metadata.get("recipe")
    if not isinstance(recipe, dict) or "prompt" not in recipe:
        raise MinisoraError(f"{path} does not say how it was made: files that `minisora generate` wrote do")
    return recipe
