"""Clips to files and back: `read_video`, `write_video`, and `probe`, which looks at a file without decoding it.

mp4 for showing and for training sets, GIF for pages, a folder of PNGs where every pixel counts, PNG for an image. Only
local files are opened, never an address; a file is written beside its place and renamed, so none is ever half there.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from minisora.core.checkpoint import written_beside
from minisora.core.errors import MinisoraError, writing
from minisora.data.clip import Clip
from minisora.data.facts import LIMITS, Facts, Limits
from minisora.data.images import (
    decode_image,
    decode_png_folder,
    encode_gif,
    encode_png,
    is_image,
    png_paths,
    probe_image,
    write_png_folder,
)
from minisora.data.mp4 import decode_mp4, encode_mp4, probe_mp4

ENDINGS = "a name that ends in .mp4, .gif or .png, or one without an ending for a folder of PNGs"
VIDEO_ENDINGS = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ts", ".gif")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def read_video(
    source: str | Path | bytes,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    short_side: int | None = None,
    limits: Limits = LIMITS,
) -> Clip:
    """The clip in a file, in a folder of PNGs, or in a file's bytes. What kind it is, its first bytes say.

    Of a video, `start` and `seconds` take a part, and `short_side` shrinks it while it is read.
    """
    if not start >= 0 or (seconds is not None and not seconds > 0) or (short_side is not None and short_side < 1):
        raise MinisoraError("a part of a video has start >= 0, seconds > 0 and short_side >= 1")
    if not isinstance(source, bytes) and Path(source).is_dir():
        return decode_png_folder(Path(source), limits)
    with _opened(source) as (file, head, name):
        if is_image(head):
            return decode_image(file, limits, name)
        return decode_mp4(file, start=start, seconds=seconds, short_side=short_side, limits=limits, name=name)


def probe(source: str | Path | bytes) -> Facts:
    """Size, rate, length and metadata of a file, as it tells them itself; no frame is decoded."""
    if not isinstance(source, bytes) and Path(source).is_dir():
        paths = png_paths(Path(source))
        facts = probe(paths[0])
        return Facts("png folder", len(paths), facts.height, facts.width, facts.fps, facts.metadata)
    with _opened(source) as (file, head, name):
        return probe_image(file, name) if is_image(head) else probe_mp4(file, name)


def write_video(path: str | Path, clip: Clip, metadata: Mapping[str, Any] | None = None, crf: int = 18) -> Path:
    """Write a clip as what the name's ending says, with its caption and any plain dict beside it. `crf` is for mp4."""
    path = Path(path)
    ending = check_ending(path, len(clip.frames))
    with writing(path):
        if not ending:
            _write_folder(path, clip, metadata)
            return path
        if ending == ".mp4":
            data = encode_mp4(clip, metadata, crf)
        else:
            data = encode_gif(clip, metadata) if ending == ".gif" else encode_png(clip, metadata)
        with written_beside(path) as draft:
            draft.write_bytes(data)
    return path


def check_ending(path: str | Path, frames: int) -> str:
    """What kind of file a name stands for; refused if it is none, or one that cannot hold so many frames."""
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (".mp4", ".gif", ".png", ""):
        raise MinisoraError(f"{path.name}: unknown ending {ending!r}: choose {ENDINGS}")
    if ending == ".png" and frames > 1:
        raise MinisoraError(f"{path.name} can hold one frame and the clip has {frames}: choose {ENDINGS}")
    return ending


def _write_folder(path: Path, clip: Clip, metadata: Mapping[str, Any] | None) -> None:
    """A folder is filled beside its place, too. One that holds anything but a clip's PNGs is never replaced."""
    if path.exists() and not path.is_dir():
        raise MinisoraError(f"{path} is a file: {ENDINGS}")
    if path.is_dir() and not all(entry.suffix == ".png" and entry.stem.isdigit() for entry in path.iterdir()):
        raise MinisoraError(f"{path} holds other files than a clip's numbered PNGs: choose a new folder")
    draft, old = (path.with_name(f".{path.name}.{os.getpid()}.{word}") for word in ("new", "old"))
    draft.mkdir(parents=True)
    try:
        write_png_folder(draft, clip, metadata)
        if path.is_dir():
            path.rename(old)
        draft.rename(path)
    finally:
        if old.is_dir() and not path.exists():
            old.rename(path)
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _opened(source: str | Path | bytes) -> Iterator[tuple[BinaryIO | bytes, bytes, str]]:
    """(what to read from, its first bytes, its name). Only a plain file is opened: a pipe or a device never ends."""
    if isinstance(source, bytes):
        yield source, source[:12], "the video"
        return
    path = Path(source)
    if not path.is_file():
        raise MinisoraError(f"there is no file {path}: videos are read from local files")
    try:
        with open(path, "rb") as file:
            head = file.read(12)
            file.seek(0)
            yield file, head, str(path)
    except OSError as error:
        raise MinisoraError(f"{path} cannot be read: {error.strerror or error}") from None
