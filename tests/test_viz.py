"""Pictures: sheets hold what they claim; players carry a video, a still for where it cannot play, and words."""

import base64
import io
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip
from minisora.data.mp4 import decode_mp4
from minisora.data.video_io import read_video
from minisora.viz.curves import smooth, write_curves
from minisora.viz.figures import UNSEEN, packed
from minisora.viz.player import describe, show
from minisora.viz.sheets import GAP, pick_frames, png, sheet, shrunk, strip, write_sheet
from minisora.viz.style import PALETTE, style, use_style
from minisora.worlds import shapes


def clip(seed: int = 0, size: tuple[int, int, int] = (9, 32, 48), caption: str = "") -> Clip:
    scene = shapes.sample(seed, style="flat")
    return Clip(shapes.render(scene, *size), 8.0, caption or shapes.caption(scene))


def test_a_strip_shows_frames_from_first_to_last():
    film = clip()
    assert torch.equal(pick_frames(film, 3), film.frames[[0, 4, 8]])
    row = strip(film, count=3, height=64)  # enlarged twice, with gaps between
    assert row.shape == (64, 3 * 96 + 2 * GAP, 3)
    assert torch.equal(row[::2, :96:2], film.frames[0]) and torch.equal(row[::2, -96::2], film.frames[8])


def test_sheets_take_clips_of_all_sizes_and_come_back_from_png(tmp_path):
    clips = [clip(0), clip(1, (1, 64, 20)), clip(2, (17, 16, 80), "a <very> long caption " * 30)]
    page = sheet(clips)
    assert torch.equal(torch.tensor(bytearray(Image.open(io.BytesIO(png(page))).tobytes())).view(page.shape), page)
    assert write_sheet(tmp_path / "a" / "sheet.png", clips).stat().st_size > 1000
    with pytest.raises(MinisoraError):
        sheet([])


def test_a_figure_is_packed_where_nobody_sees_it():
    plot, noise = (io.BytesIO() for _ in range(2))
    figure, ax = plt.subplots()
    ax.plot([1, 3, 2])
    figure.savefig(plot, format="png")
    plt.close(figure)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(noise, "PNG")
    for png_, palette in ((plot.getvalue(), True), (noise.getvalue(), False)):
        small, full = (Image.open(io.BytesIO(data)) for data in (packed(png_), png_))
        assert (small.mode == "P") == palette and small.size == full.size
        error = np.asarray(small.convert("RGB"), np.float32) - np.asarray(full.convert("RGB"), np.float32)
        assert np.square(error).mean() < UNSEEN**2
    assert len(packed(plot.getvalue())) < 0.6 * len(plot.getvalue())


def test_a_sheet_that_is_larger_than_any_clip_is_shrunk(tmp_path):
    page = torch.full((9000, 40, 3), 10, dtype=torch.uint8)
    page[:, 20:] = 50
    small = shrunk(page, 8192)
    assert small.shape == (4500, 20, 3) and set(small[..., 0].unique().tolist()) == {10, 50}
    assert shrunk(page[:8192], 8192).shape == (8192, 40, 3)
    many = [clip(seed, (2, 96, 32)) for seed in range(90)]
    read = read_video(write_sheet(tmp_path / "many.png", many))
    assert max(read.shape) <= 8192


def test_a_player_carries_the_video_itself():
    film = clip(caption='red & "blue" <circle>')
    page = show(film)._repr_html_()
    videos = re.findall(r'src="data:video/mp4;base64,([^"]+)"', page)
    back = decode_mp4(base64.b64decode(videos[0]))
    assert len(videos) == 1 and back.shape == film.shape
    assert (back.frames.float() - film.frames.float()).abs().mean() < 4
    assert "<circle>" not in page and "&lt;circle&gt;" in page, "captions are escaped"
    assert 'aria-label="video of 9 frames at 8 a second, 32 by 48 pixels: red &amp; &quot;blue&quot;' in page


def test_where_video_cannot_play_there_are_pictures_and_words():
    clips = [clip(0), clip(1, (1, 32, 32))]
    player = show(clips, columns=2)
    page = player._repr_html_()
    assert page.count("<video") == 1 and page.count("<img") == 2 and page.count("alt=") == 2, "an image is a picture"
    assert player._repr_png_().startswith(b"\x89PNG")
    assert describe(clips[1]).startswith("image, 32 by 32") and repr(player).count("\n") == 1
    with pytest.raises(MinisoraError):
        show([])


def test_one_style_and_only_where_it_is_asked_for():
    before = plt.rcParams["axes.grid"]
    with style():
        assert plt.rcParams["axes.prop_cycle"].by_key()["color"] == list(PALETTE)
    assert plt.rcParams["axes.grid"] == before
    with plt.rc_context():
        use_style()
        assert plt.rcParams["axes.grid"]


def test_curves_are_drawn_from_a_log_and_not_from_none(tmp_path):
    lines = [
        {"step": n, "loss": 1 / (1 + n), "psnr": 20.0 + n, "norm": None if n == 3 else 1.0, "seconds": n}
        for n in range(9)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Image.open(write_curves(tmp_path, tmp_path / "curves.png")) as picture:
        assert picture.width > 2 * picture.height  # three panels side by side
    assert smooth([1.0] * 400 + [None, 3.0] * 200)[-1] == 3.0  # what was not finite is left out of its mean
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(MinisoraError, match="nothing to draw"):
        write_curves(tmp_path, tmp_path / "curves.png")
