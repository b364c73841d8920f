"""Clips and their files: what is written comes back, whatever its size and rate, and nothing is ever half-written."""

import io
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisora.core.errors import MinisoraError
from minisora.data import video_io
from minisora.data.clip import Clip, from_pixels, group_by_size, parse_size
from minisora.data.facts import Limits
from minisora.data.mp4 import decode_mp4, encode_mp4, probe_mp4
from minisora.data.video_io import probe, read_video, write_video
from minisora.worlds import shapes

RATES = st.sampled_from((8, 24, 29.97, 30000 / 1001, 7.3, 1, 0.5, math.pi)) | st.floats(0.1, 60)


def ramp(frames: int, height: int, width: int, fps: float = 8.0, **words: str) -> Clip:
    """Smooth pictures that differ from frame to frame, so that a lost, doubled or shifted frame shows."""
    t, y, x = torch.meshgrid(*(torch.linspace(0, 1, n) for n in (frames, height, width)), indexing="ij")
    grey = 0.1 + 0.4 * t + 0.15 * y + 0.15 * x
    picture = torch.stack([grey, grey + 0.1, grey], dim=-1)
    return Clip((picture * 255).round().to(torch.uint8), fps, **words)


def error_of(one: Clip, two: Clip) -> float:
    return (one.frames.float() - two.frames.float()).abs().mean().item()


def facts_of(clip: Clip) -> tuple:
    return clip.shape, clip.fps, clip.caption, clip.source, clip.license


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), RATES, st.text(max_size=30))
def test_mp4_keeps_every_size_rate_and_word(frames: int, height: int, width: int, fps: float, caption: str) -> None:
    clip = ramp(frames, height, width, fps, caption=caption, source="here", license="MIT")
    data = encode_mp4(clip, {"recipe": {"steps": 3}})
    back, told = decode_mp4(data), probe_mp4(data)
    assert facts_of(back) == facts_of(clip)
    assert (told.frames, told.height, told.width, told.fps) == (*clip.shape, fps)
    assert told.metadata["recipe"] == {"steps": 3}
    assert (back.frames.float() - clip.frames.float()).abs().mean(
        (1, 2, 3)
    ).max() < 8  # each frame, so none is misplaced


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif", "clip"])
@pytest.mark.parametrize("size", ["17x64x64", "9x33x64", "1x63x37", "2x1x1"])
def test_every_kind_of_file_brings_the_clip_back(tmp_path: Path, name: str, size: str) -> None:
    frames = shapes.render(shapes.sample(3, style="flat"), *parse_size(size))
    clip = Clip(frames, 7.3, "a ball, „here“", "me", "CC0")
    write_video(tmp_path / name, clip, {"seed": 3})
    back, told = read_video(tmp_path / name), probe(tmp_path / name)
    assert facts_of(back) == facts_of(clip)
    assert (told.frames, told.height, told.width, told.fps) == (*clip.shape, 7.3)
    assert told.metadata["seed"] == 3 and told.seconds == pytest.approx(clip.seconds)
    assert error_of(clip, back) < (5 if name == "clip.mp4" else 3 if name == "clip.gif" else 1e-9)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["still.mp4", "still.gif", "still"])
def test_frames_that_are_all_alike_are_all_kept(tmp_path: Path, name: str) -> None:
    frames = torch.full((17, 32, 32, 3), 90, dtype=torch.uint8)
    frames[5:7] = 160
    write_video(tmp_path / name, Clip(frames, 8.0))
    back = read_video(tmp_path / name)
    assert back.shape == (17, 32, 32) and back.fps == 8.0
    assert [bool(frame.float().mean() > 125) for frame in back.frames] == [index in (5, 6) for index in range(17)]


def test_an_image_is_a_clip_with_one_frame(tmp_path: Path) -> None:
    clip = ramp(1, 30, 50, caption="an image")
    write_video(tmp_path / "a.png", clip)
    back = read_video(tmp_path / "a.png")
    assert back.is_image and torch.equal(back.frames, clip.frames) and back.caption == "an image"
    with pytest.raises(MinisoraError, match="one frame"):
        write_video(tmp_path / "b.png", ramp(2, 8, 8))


def test_plain_colors_survive_mp4() -> None:
    for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40), (90, 60, 160)):
        frames = torch.tensor(color, dtype=torch.uint8).expand(3, 32, 32, 3).contiguous()
        back = decode_mp4(encode_mp4(Clip(frames)))
        assert (back.frames.int() - frames.int()).abs().max() <= 3, color


def test_pixels_and_clips_are_inverse() -> None:
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(3, 16, 16, 3)
    clip = Clip(frames.contiguous(), 24.0, "all levels")
    pixels = clip.pixels()
    assert pixels.shape == (1, 3, 3, 16, 16) and pixels.min() == -1 and pixels.max() == 1
    assert torch.equal(from_pixels(pixels, 24.0).frames, clip.frames)
    assert torch.equal(from_pixels(pixels[0] * 3).frames, from_pixels(pixels.mul(3).clamp(-1, 1)).frames)


def test_a_part_of_a_video_is_the_same_as_a_slice_of_the_whole(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", ramp(80, 32, 32, 8.0))
    whole = read_video(path)
    for start, seconds in ((0, 2), (3, 1.5), (2.125, 1), (9, 1), (9.5, 10)):
        first, count = round(start * 8), round(seconds * 8)
        part = read_video(path, start=start, seconds=seconds)
        assert torch.equal(part.frames, whole.frames[first : first + count]), (start, seconds)
    with pytest.raises(MinisoraError, match="no picture after 11"):
        read_video(path, start=11)


def test_a_large_picture_is_shrunk_while_it_is_read_and_a_small_one_is_not_enlarged() -> None:
    data = encode_mp4(ramp(2, 60, 90))
    assert read_video(data, short_side=20).shape == (2, 20, 30)
    assert read_video(data, short_side=500).shape == (2, 60, 90)
    small = Limits(bytes=3 * 2 * 20 * 30)
    assert read_video(data, short_side=20, limits=small).shape == (2, 20, 30)
    with pytest.raises(MinisoraError, match="limits"):
        read_video(data, limits=small)


def test_a_frame_larger_than_the_file_admits_is_not_decoded() -> None:
    data = bytearray(encode_mp4(ramp(2, 64, 96)))
    place = data.index(b"avc1", data.index(b"stsd")) + 28
    assert data[place : place + 4] == bytes((0, 96, 0, 64))
    data[place : place + 4] = bytes((0, 48, 0, 32))  # what the container tells; the pictures inside stay what they are
    assert read_video(bytes(data)).shape == (2, 64, 96)
    with pytest.raises(MinisoraError, match="cannot be read"):
        read_video(bytes(data), limits=Limits(pixels=2000))


@pytest.mark.parametrize(
    ("container", "codec"), [("mov", "libx264"), ("avi", "mpeg4"), ("webm", "libvpx-vp9"), ("mpegts", "libx264")]
)
def test_videos_of_other_kinds_are_read(container: str, codec: str) -> None:
    clip, buffer = ramp(9, 32, 48), io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for frame in clip.frames.numpy():
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        output.mux(stream.encode())
    back = read_video(buffer.getvalue())
    assert (back.shape, back.fps) == (clip.shape, 8.0) and error_of(clip, back) < 6


def test_a_picture_stands_as_the_camera_was_held() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.set_display_rotation(-90)  # to be turned clockwise
        picture = np.zeros((32, 64, 3), np.uint8)
        picture[:, :16] = 255  # the left edge becomes the top edge
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    clip = decode_mp4(buffer.getvalue())
    assert clip.shape == (3, 64, 32)
    assert clip.frames[:, :12].float().mean() > 230 and clip.frames[:, 20:].float().mean() < 25


def test_the_same_clip_is_the_same_bytes_and_threads_do_not_disturb_one_another() -> None:
    clips = [ramp(5, 16 + 2 * size, 32) for size in range(8)]
    data = [encode_mp4(clip) for clip in clips]
    for _ in range(10):
        assert [encode_mp4(clip) for clip in clips] == data
    alone = [decode_mp4(item).frames for item in data]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(encode_mp4, clips)) == data
        together = list(pool.map(lambda item: decode_mp4(item).frames, data * 4))
    assert all(torch.equal(one, two) for one, two in zip(together, alone * 4, strict=True))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif", "clip"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = ramp(3, 16, 16, caption="old")
    write_video(tmp_path / name, clip)

    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    for step in ("encode_mp4", "encode_gif", "write_png_folder"):
        monkeypatch.setattr(video_io, step, full)
    with pytest.raises(MinisoraError, match="No space left"):
        write_video(tmp_path / name, ramp(4, 16, 16))
    assert os.listdir(tmp_path) == [name]
    assert read_video(tmp_path / name).caption == "old"


def test_a_folder_is_replaced_only_if_it_is_a_clip(tmp_path: Path) -> None:
    write_video(tmp_path / "clip", ramp(5, 16, 16))
    write_video(tmp_path / "clip", ramp(2, 16, 16))
    assert read_video(tmp_path / "clip").shape == (2, 16, 16)
    (tmp_path / "clip" / "thesis.txt").write_text("do not lose")
    with pytest.raises(MinisoraError, match="other files"):
        write_video(tmp_path / "clip", ramp(3, 16, 16))
    assert (tmp_path / "clip" / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda: read_video("nowhere.mp4"), "no file"),
        (lambda: read_video("http://example.com/a.mp4"), "local files"),
        (lambda: read_video("/dev/zero"), "local files"),
        (lambda: read_video(b""), "cannot be read"),
        (lambda: read_video(b"\x89PNG" + bytes(100)), "image"),
        (lambda: read_video(b"words, not a video " * 99), "cannot be read"),
        (lambda: read_video(encode_mp4(ramp(2, 8, 8)), seconds=0), "seconds > 0"),
        (lambda: write_video("a.avi", ramp(2, 8, 8)), "ending"),
        (lambda: write_video("/proc/a.mp4", ramp(2, 8, 8)), "cannot be written"),
        (lambda: write_video("a.mp4", ramp(2, 8, 8), {"caption": "x"}), "come from the clip"),
        (lambda: write_video("a.mp4", ramp(2, 8, 8), {"path": Path()}), "plain JSON"),
        (lambda: write_video("a.mp4", ramp(2, 8, 8), crf=99), "crf"),
        (lambda: write_video("a.gif", ramp(2, 8, 8, 100)), "50 frames"),
        (lambda: Clip(torch.zeros(2, 8, 8, 3)), "uint8"),
        (lambda: Clip(torch.zeros(0, 8, 8, 3, dtype=torch.uint8)), "0x8x8"),
        (lambda: Clip(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), 0), "fps"),
        (lambda: from_pixels(torch.zeros(2, 3, 1, 8, 8)), "pixels"),
        (lambda: parse_size("64x64"), "17x64x64"),
        (lambda: parse_size("1x1x99999"), "8192"),
    ],
)
def test_a_mistake_is_told_in_one_line(mistake, told: str) -> None:
    with pytest.raises(MinisoraError, match=told) as error:
        mistake()
    assert len(str(error.value).splitlines()) == 1


def test_clips_of_one_size_are_put_together() -> None:
    clips = [ramp(1, 8, 8), ramp(2, 8, 8), ramp(1, 8, 8)]
    assert {size: len(group) for size, group in group_by_size(clips).items()} == {(1, 8, 8): 2, (2, 8, 8): 1}
