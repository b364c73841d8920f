"""H.264 mp4 in memory, through PyAV: `encode_mp4` and `decode_mp4`, and a `probe_mp4` that decodes nothing.

The decoder also takes other containers and codecs (webm, mov, avi …) and trusts no file: it reads bytes that are
already in hand, so nothing in a file can open another file or an address; a size is checked before frames of that
size are made; and every failure is one line.
"""

import io
import itertools
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from minisora.core.errors import MinisoraError
from minisora.data.boxes import container_of
from minisora.data.clip import Clip, parse_size
from minisora.data.facts import LIMITS, Facts, Limits, exact_rate, finish, read_facts, write_facts

CODECS = ("h264", "hevc", "av1", "libdav1d", "vp8", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "theora")
# Opening without any decoder is quicker, and no frame is made before its size was looked at. Edit lists may multiply
# the frames of a file at will, so they are only used for where it begins.
OPENING = {"codec_whitelist": "none", "protocol_whitelist": "none", "advanced_editlist": "0"}
BEST = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
BT709 = 1  # matrix, primaries and transfer; written into the file so that every player shows the same colors
SLACK = 1000  # packets beyond the number of frames: sound, and data that gives no picture

_own = threading.local()  # a reformatter keeps tables between frames, and may serve one thread only


def encode_mp4(clip: Clip, metadata: Mapping[str, Any] | None = None, crf: int = 18) -> bytes:
    """H.264 in yuv420p, which every browser plays. `crf` is x264's: 0 is nearly lossless, 18 is good, 30 is small.

    Color is stored at half size, so an odd side is made even by repeating its last line, and is cut back on reading.
    """
    if not 0 <= crf <= 51:
        raise MinisoraError(f"crf {crf} is not a quality: it goes from 0 (best) to 51 (smallest)")
    facts = write_facts(clip, metadata)
    frames = clip.frames.cpu().numpy()
    _, height, width = clip.shape
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    # x264's mbtree looks at memory that nobody wrote when frames are small: the same clip would give other bytes
    options = {"crf": str(crf), "preset": "veryfast", "tune": "fastdecode", "mbtree": "0", "threads": "1"}
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format="mp4") as container:
            container.metadata["comment"] = facts
            stream = container.add_stream("libx264", rate=Fraction(clip.fps).limit_denominator(1001), options=options)
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
            context = stream.codec_context
            context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, BT709, BT709, BT709
            for frame in frames:
                rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                yuv = _reformatter().reformat(
                    rgb, format="yuv420p", dst_colorspace=Colorspace.ITU709, interpolation=BEST, threads=1
                )
                container.mux(stream.encode(yuv))
            container.mux(stream.encode())
    except FFmpegError as error:
        raise MinisoraError(f"{clip.size} cannot be written as mp4: {error.strerror or error}") from None
    return buffer.getvalue()


def decode_mp4(
    data: bytes | BinaryIO,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    short_side: int | None = None,
    limits: Limits = LIMITS,
    name: str = "the video",
) -> Clip:
    """The clip in a video file's bytes, or the part of it from `start` on that lasts `seconds`.

    `short_side` shrinks a larger picture while it is read, so that a large video need not fit in memory.
    """
    with _opened(data, name) as (container, stream):
        if stream.height and stream.width:  # some files leave it to the decoder, which has the same limit
            limits.check_picture(name, stream.height, stream.width)
        stream.codec_context.options = {"max_pixels": str(limits.pixels)}
        facts, fps = read_facts(container.metadata.get("comment")), _rate(stream, name)
        wanted = limits.frames + 1 if seconds is None else max(1, round(seconds * fps))
        frames = _decoded(container, stream, start - 0.5 / fps, limits.frames, name)
        film = _developed(frames, stream, wanted, short_side, limits, name)
    if film is None:
        raise MinisoraError(f"{name} holds no picture" + (f" after {start:g} seconds" if start > 0 else ""))
    height, width = _true_size(facts, *film.shape[1:3])
    return finish(torch.from_numpy(np.ascontiguousarray(film[:, :height, :width])), exact_rate(fps, facts), facts, name)


def probe_mp4(data: bytes | BinaryIO, name: str = "the video") -> Facts:
    """What a video file says about itself; nothing is decoded."""
    with _opened(data, name) as (container, stream):
        facts = read_facts(container.metadata.get("comment"))
        fps = exact_rate(_rate(stream, name), facts)
        length = Fraction(container.duration or 0, av.time_base)
        if stream.duration and stream.time_base:
            length = stream.duration * stream.time_base
        kind = container.format.name.split(",")[0].replace("mov", "mp4")
        height, width = _true_size(facts, stream.height, stream.width)
        return Facts(kind, stream.frames or round(float(length) * fps), height, width, fps, facts)


@contextmanager
def _opened(data: bytes | BinaryIO, name: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first stream of pictures. Whatever goes wrong inside is told in one line."""
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        kind = container_of(file, name)
        with av.open(file, "r", kind, options=OPENING, metadata_errors="replace") as container:
            stream = next((stream for stream in container.streams.video if stream.codec_context is not None), None)
            if stream is None:
                raise MinisoraError(f"{name} holds no video that can be decoded")
            if stream.codec_context.name not in CODECS:
                known = ", ".join(CODECS)
                raise MinisoraError(f"{name} is coded as {stream.codec_context.name}: what can be read is {known}")
            stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
            yield container, stream
    except (FFmpegError, ValueError, OverflowError, ZeroDivisionError, MemoryError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MinisoraError(f"{name} cannot be read as a video: {' '.join(str(reason).split())[:160]}") from None


def _decoded(
    container: InputContainer, stream: VideoStream, start: float, most: int, name: str
) -> Iterator[VideoFrame]:
    """Frames in the order they are shown, from `start` seconds on. A count of packets bounds the time."""
    tick, origin = float(stream.time_base or 0), stream.start_time or 0
    if start > 0 and tick:
        container.seek(origin + int(start / tick), stream=stream)  # to the key frame before it
    for count, packet in enumerate(container.demux(stream)):
        if count > most + SLACK:
            raise MinisoraError(f"{name} holds more than {most} frames: read fewer seconds, or pass other limits")
        for frame in packet.decode():
            if frame.is_corrupt:
                raise MinisoraError(f"{name} is damaged near packet {count}: take a fresh copy")
            if start <= 0 or frame.pts is None or (frame.pts - origin) * tick >= start:
                yield frame


def _rate(stream: VideoStream, name: str) -> float:
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    if not 0 < rate <= 1000:
        raise MinisoraError(f"{name} says that it runs at {rate:g} frames a second: the file is broken")
    return rate


def _shown(height: int, width: int, aspect: Fraction | None, short_side: int | None) -> tuple[int, int]:
    """The size to show a frame at: with square pixels, and no larger than is asked for."""
    if aspect and 0.25 <= aspect <= 4:
        width = max(1, round(width * aspect))
    scale = 1.0 if short_side is None else min(1.0, short_side / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _developed(
    frames: Iterator[VideoFrame],
    stream: VideoStream,
    wanted: int,
    short_side: int | None,
    limits: Limits,
    name: str,
) -> np.ndarray | None:
    """uint8 (t, h, w, 3), turned as the camera was held. The limits are looked at before the memory is taken."""
    first = next(frames, None)
    if first is None:
        return None
    convert, aspect = _reformatter().reformat, stream.sample_aspect_ratio
    height, width = _shown(first.height, first.width, aspect, short_side)
    kept = (height, width) == (first.height, first.width)
    how = Interpolation.BILINEAR if kept else Interpolation.AREA
    most = limits.most(name, height, width)
    film = np.empty((max(1, min(wanted, most, stream.frames)), height, width, 3), np.uint8)
    count = 0
    for frame in itertools.chain([first], itertools.islice(frames, wanted - 1)):
        if count == most:
            limits.check(name, count + 1, height, width)
        if frame.height != first.height or frame.width != first.width:
            raise MinisoraError(f"{name} changes its size at frame {count}: every frame must have one size")
        if count == len(film):  # the file holds more than it said
            film = np.concatenate([film, np.empty_like(film)])
        film[count] = convert(frame, width, height, "rgb24", interpolation=how, threads=1).to_ndarray()
        count += 1
    film = film if count == len(film) else film[:count].copy()
    return np.rot90(film, round(first.rotation / 90) % 4, axes=(1, 2))


def _true_size(facts: Mapping[str, Any], height: int, width: int) -> tuple[int, int]:
    """Without the line that was added to make a side even, if the file tells of one."""
    try:
        _, true_height, true_width = parse_size(str(facts.get("size")))
    except MinisoraError:
        return height, width
    fits = 0 <= height - true_height <= 1 and 0 <= width - true_width <= 1
    return (true_height, true_width) if fits else (height, width)


def _reformatter() -> VideoReformatter:
    if not hasattr(_own, "reformatter"):
        _own.reformatter = VideoReformatter()
    return _own.reformatter
