"""Clips as pictures, through Pillow: GIF, a folder of numbered PNGs (exact, frame by frame), and single images."""

import io
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from minisora.core.errors import MinisoraError, one_line
from minisora.data.clip import Clip, parse_size
from minisora.data.facts import Facts, Limits, exact_rate, finish, read_facts, write_facts

READABLE = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM")  # WEBP begins with RIFF, as AVI does
FASTEST_GIF = 50  # frames a second; players slow down anything above
STILL_FPS = 8.0  # the rate of a clip whose file has no notion of time
FIRST = "00000.png"


def is_image(head: bytes) -> bool:
    """Whether a file that begins so is for Pillow to read."""
    return head.startswith(MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def encode_gif(clip: Clip, metadata: Mapping[str, Any] | None = None) -> bytes:
    """One palette for all frames, so that flat areas stay calm."""
    if clip.fps > FASTEST_GIF:
        raise MinisoraError(f"a GIF shows at most {FASTEST_GIF} frames a second, not {clip.fps:g}: write an mp4")
    frames = [Image.fromarray(frame) for frame in clip.frames.cpu().numpy()]
    sample = clip.frames[:: max(1, len(frames) // 8)].reshape(-1, clip.frames.shape[2], 3)
    palette = Image.fromarray(sample.cpu().numpy()).quantize(256)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    ticks = [round(100 * index / clip.fps) for index in range(len(frames) + 1)]  # a GIF counts hundredths of a second
    durations = [10 * (after - before) for before, after in itertools.pairwise(ticks)]
    buffer = io.BytesIO()
    comment = write_facts(clip, metadata).encode()
    indexed[0].save(
        buffer, "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0, comment=comment
    )
    return buffer.getvalue()


def encode_png(clip: Clip, metadata: Mapping[str, Any] | None = None) -> bytes:
    """The first frame, without loss."""
    return _png(clip.frames[0].cpu().numpy(), write_facts(clip, metadata))


def write_png_folder(folder: Path, clip: Clip, metadata: Mapping[str, Any] | None = None) -> None:
    """00000.png, 00001.png … in an existing folder; the first one carries the facts."""
    facts = write_facts(clip, metadata)
    for index, frame in enumerate(clip.frames.cpu().numpy()):
        (folder / f"{index:05d}.png").write_bytes(_png(frame, "" if index else facts))


def _png(frame: np.ndarray, facts: str) -> bytes:
    text = PngImagePlugin.PngInfo()
    if facts:
        text.add_text("Comment", facts, zip=len(facts) > 1000)
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def decode_image(data: bytes | BinaryIO, limits: Limits, name: str) -> Clip:
    """A picture as a clip with one frame, a GIF or an animated WEBP as one with many."""
    with _opened(data, name) as image:
        limits.check(name, 1, image.height, image.width)
        facts, frames, ends = _facts(image), [], [0.0]
        for page in _pages(image):
            limits.check(name, len(frames) + 1, image.height, image.width)
            frames.append(np.asarray(ImageOps.exif_transpose(page.convert("RGB"))))
            ends.append(ends[-1] + max(0.0, float(page.info.get("duration") or 0)) / 1000)
        film, fps = _evenly(frames, ends, facts, limits, name)
        return finish(torch.from_numpy(film), fps, facts, name)


def probe_image(data: bytes | BinaryIO, name: str) -> Facts:
    with _opened(data, name) as image:
        facts, kind = _facts(image), (image.format or "image").lower()
        pages, seconds = 1, 0.0
        if kind != "png":  # a moving picture is walked through to be counted, without being decoded
            pages = getattr(image, "n_frames", 1)
            image.seek(0)
            seconds = pages * float(image.info.get("duration") or 0) / 1000
        fps = exact_rate(pages / seconds, facts) if seconds > 0 else STILL_FPS
        told = _told(facts, image.height, image.width)
        return Facts(kind, told or pages, image.height, image.width, float(facts["fps"]) if told else fps, facts)


def decode_png_folder(folder: Path, limits: Limits) -> Clip:
    """All the PNGs of a folder in the order of their numbers, at the rate that the first one tells."""
    paths = png_paths(folder)
    first = _decode_file(paths[0], limits)
    limits.check(str(folder), len(paths), *first.shape[1:])
    with _opened(paths[0].read_bytes(), str(paths[0])) as image:
        facts = _facts(image)
    frames = torch.empty((len(paths), *first.frames.shape[1:]), dtype=torch.uint8)
    for index, path in enumerate(paths):
        picture = first if index == 0 else _decode_file(path, limits)
        if picture.shape != first.shape:
            raise MinisoraError(f"{path} is {picture.size} and {paths[0].name} is {first.size}: all must have one size")
        frames[index] = picture.frames[0]
    return finish(frames, _told_rate(facts), facts, str(folder))


def png_paths(folder: Path) -> list[Path]:
    paths = [path for path in folder.glob("*.png") if path.stem.isascii() and path.stem.isdigit() and path.is_file()]
    if not paths:
        raise MinisoraError(f"{folder} holds no numbered PNGs: a clip in a folder is {FIRST} and so on")
    return sorted(paths, key=lambda path: (int(path.stem), path.name))


def _decode_file(path: Path, limits: Limits) -> Clip:
    with open(path, "rb") as file:
        return decode_image(file, limits, str(path))


@contextmanager
def _opened(data: bytes | BinaryIO, name: str) -> Iterator[Image.Image]:
    """Pillow's readers raise whatever they trip over, so everything is caught here and told in one line."""
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=READABLE) as image:
            yield image
    except MinisoraError:
        raise
    except UnidentifiedImageError:
        raise MinisoraError(
            f"{name} is broken, or no image of a kind that can be read: {', '.join(READABLE)}"
        ) from None
    except Exception as error:
        reason = one_line(error) or type(error).__name__
        raise MinisoraError(f"{name} cannot be read as an image: {reason}") from None


def _pages(image: Image.Image) -> Iterator[Image.Image]:
    page = 0
    while True:
        try:
            image.seek(page)
        except EOFError:
            return
        yield image
        page += 1


def _facts(image: Image.Image) -> dict[str, Any]:
    comment = image.info.get("Comment") or image.info.get("comment")
    return read_facts(comment.decode("utf-8", "replace") if isinstance(comment, bytes) else comment)


def _told(facts: Mapping[str, Any], height: int, width: int) -> int:
    """How many frames the facts tell of, or 0 if they cannot be about a picture of this size."""
    try:
        size = parse_size(str(facts.get("size")))
    except MinisoraError:
        return 0
    return size[0] if size[1:] == (height, width) and _told_rate(facts) == facts.get("fps") else 0


def _told_rate(facts: Mapping[str, Any]) -> float:
    told = facts.get("fps")
    return float(told) if isinstance(told, (int, float)) and 0 < told <= 1000 else STILL_FPS


def _evenly(
    frames: list[np.ndarray], ends: list[float], facts: Mapping[str, Any], limits: Limits, name: str
) -> tuple[np.ndarray, float]:
    """Frames at an even rate. A GIF leaves out a frame like the one before it and shows that one for longer instead."""
    if len({frame.shape for frame in frames}) != 1:
        raise MinisoraError(f"{name} holds no picture, or pictures of several sizes")
    height, width, _ = frames[0].shape
    count, fps = _told(facts, height, width), _told_rate(facts)
    if count >= len(frames) and (count == 1 or abs(round(ends[-1] * fps) - count) <= 1):
        limits.check(name, count, height, width)
        starts = [round(end * fps) for end in ends[:-1]]
        shown = np.searchsorted(starts, np.arange(count), side="right") - 1
        return np.stack(frames)[shown], fps
    return np.stack(frames), min(1000.0, len(frames) / ends[-1]) if ends[-1] > 0 else STILL_FPS
