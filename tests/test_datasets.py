"""Sets of clips: the same clip for an index each time and helpful words for mistakes."""

import itertools
import json
import logging
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from datasets import Dataset, Features, Image, Value, Video
from torch.utils.data import DataLoader

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip
from minisora.data.datasets import WorldClips
from minisora.data.folder import VideoFolder
from minisora.data.hub import HubClips, HubStream
from minisora.data.images import encode_png
from minisora.data.mp4 import encode_mp4
from minisora.data.video_io import read_video, write_video
from minisora.train.shelf import fingerprint
from minisora.worlds import language


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own, and no address can be reached; sockets between processes of this machine can."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    reach = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        assert self.family == socket.AF_UNIX, f"reached for {address}"
        reach(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield


def gray(level: int, frames: int = 3, height: int = 16, width: int = 16) -> Clip:
    return Clip(torch.full((frames, height, width, 3), level, dtype=torch.uint8), 8.0, f"level {level}")


def level(clip: Clip) -> int:
    return round(clip.frames.float().mean().item())


def levels(clips: Any) -> list[int]:
    return [int(clip.caption.split()[1]) for clip in clips]


# --- toy worlds ---


def test_a_world_clip_depends_on_its_index_and_seed_alone() -> None:
    clips = WorldClips("shapes", 20, seed=3, sizes=["5x32x32", (9, 32, 48)], detail="either")
    again = WorldClips(("shapes",), 10, seed=3, sizes=["5x32x32", (9, 32, 48)], detail="either")
    other = WorldClips("shapes", 20, seed=4, sizes=["5x32x32", (9, 32, 48)])
    for index in (7, 0, 9):
        one, two = clips[index], again[index]
        assert torch.equal(one.frames, two.frames) and (one.caption, one.source) == (two.caption, two.source)
        assert one.source != other[index].source
    assert {clip.shape for clip in clips} == {(5, 32, 32), (9, 32, 48)}
    assert len(list(clips)) == 20


def test_world_clips_bring_their_truth_with_them() -> None:
    clips = WorldClips("shapes", 12, sizes=["9x32x32"], constraints={"shapes": {"color": "red", "count": 1}})
    for clip in clips:
        assert clip.state is not None and clip.state.tracks.shape[1] == 9
        assert clip.state.things[0]["color"] == "red" and language.mentions(clip.caption, "color") == ["red"]


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda: WorldClips("oceans"), "shapes"),
        (lambda: WorldClips("shapes", sizes=["17x64"]), "17x64x64"),
        (lambda: WorldClips("shapes", detail="long"), "descriptive"),
        (lambda: WorldClips("shapes", constraints={"shapes": {"hue": "red"}}), "color"),
        (lambda: WorldClips("shapes", count=-1), "count"),
        (lambda: WorldClips("shapes", constraints={"shapes": {"count": [1, 2]}}), "no scenes with.*count"),
        (lambda: WorldClips("craft", constraints={"craft": {"count": "two"}}), "no scenes with|count"),
        (lambda: WorldClips("shapes", constraints={"shapes": {"count": 99}}), "count|things"),
    ],
)
def test_a_wrong_world_is_told_what_is_right(mistake, told: str) -> None:
    with pytest.raises(MinisoraError, match=told):
        mistake()


# --- folders ---


def fill(folder: Path, count: int = 4) -> list[str]:
    names = [f"clip{number}.mp4" for number in range(count)]
    for number, name in enumerate(names):
        write_video(folder / name, gray(40 * number + 20, frames=8))
    return names


def test_captions_come_from_a_table_or_from_files_beside(tmp_path: Path) -> None:
    names = fill(tmp_path)
    for name in names:
        (tmp_path / name).with_suffix(".txt").write_text(f" words of {name}\n")
    assert [clip.caption for clip in VideoFolder(tmp_path)] == [f"words of {name}" for name in names]
    (tmp_path / "captions.jsonl").write_text("\n".join(json.dumps({"file_name": n, "text": f"J {n}"}) for n in names))
    assert [clip.caption for clip in VideoFolder(tmp_path)] == [f"J {name}" for name in names]
    rows = "".join(f'{name},"C, {name}",other\n' for name in reversed(names))
    (tmp_path / "captions.csv").write_text("file,caption,alt\n" + rows)
    assert [clip.caption for clip in VideoFolder(tmp_path)] == [f"C, {name}" for name in reversed(names)]
    assert VideoFolder(tmp_path, caption_column="alt")[0].caption == "other"
    assert [level(clip) for clip in VideoFolder(tmp_path)] == pytest.approx([140, 100, 60, 20], abs=2)


def test_a_long_video_is_cut_into_parts(tmp_path: Path) -> None:
    frames = torch.cat([gray(level, frames=8).frames for level in (30, 90, 150)])
    write_video(tmp_path / "long.mp4", Clip(frames, 8.0))
    write_video(tmp_path / "picture.png", gray(200, frames=1))
    clips = VideoFolder(tmp_path, captions="none", seconds=1.0)
    assert [clip.shape[0] for clip in clips] == [8, 8, 8, 1]
    assert [level(clip) for clip in clips] == pytest.approx([30, 90, 150, 200], abs=3)


def test_a_data_set_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    """Its fingerprint is the same in another process, and other files, frames or settings make another one."""
    names = fill(tmp_path)
    told = fingerprint(VideoFolder(tmp_path, captions="none"))
    assert told == fingerprint(VideoFolder(tmp_path, captions="none"))
    assert told != fingerprint(VideoFolder(tmp_path, captions="none", short_side=32))
    write_video(tmp_path / names[0], gray(99, frames=8))
    assert told != fingerprint(VideoFolder(tmp_path, captions="none"))
    assert fingerprint([gray(20), gray(40)]) == fingerprint([gray(20), gray(40)]) != fingerprint([gray(20), gray(41)])

    class Nameless:
        pass

    with pytest.raises(MinisoraError, match=r"Nameless prints its address.*__repr__"):
        fingerprint(Nameless())


def test_a_broken_video_among_good_ones_is_left_out_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = fill(tmp_path)
    (tmp_path / names[1]).write_bytes(b"not a video at all")
    clips = VideoFolder(tmp_path, captions="none")
    with caplog.at_level(logging.WARNING):
        found = [[level(clip) for clip in clips] for _ in range(2)]
    assert found[0] == found[1] == pytest.approx([20, 100, 100, 140], abs=2)  # the next sound one stands in
    assert len(caplog.messages) == 1 and names[1] in caplog.messages[0] and "\n" not in caplog.messages[0]
    with pytest.raises(MinisoraError, match=names[1]):
        VideoFolder(tmp_path, captions="none", broken="error")[1]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(MinisoraError, match="no sound clip"):
        VideoFolder(tmp_path, captions="none")[0]


def test_what_is_missing_in_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MinisoraError, match="no folder"):
        VideoFolder(tmp_path / "gone")
    with pytest.raises(MinisoraError, match="no videos"):
        VideoFolder(tmp_path)
    names = fill(tmp_path)
    (tmp_path / names[0]).with_suffix(".txt").write_text("one")
    with pytest.raises(MinisoraError, match=r"3 of 4 files have no caption, the first is clip1\.mp4"):
        VideoFolder(tmp_path)
    with pytest.raises(MinisoraError, match=r"no caption table .*gone\.csv"):
        VideoFolder(tmp_path, captions="gone.csv")
    tables = {
        "file,words\na.mp4,x\n": "no caption column .* its columns are file, words",
        "name,caption\na.mp4,x\n": "no file column .* its columns are name, caption",
        "file,caption\nmissing.mp4,x\n": "names missing.mp4, and there is no such file",
        "file,caption\n../../etc/passwd,x\n": "outside",
        "file,caption\nclip0.mp4\n": "row 1",
        "": "no rows",
    }
    for content, told in tables.items():
        (tmp_path / "table.csv").write_text(content)
        with pytest.raises(MinisoraError, match=told):
            VideoFolder(tmp_path, captions="table.csv")
    for content in ("[1]\n", "{broken\n", "[" * 100_000 + "\n"):
        (tmp_path / "table.jsonl").write_text(content)
        with pytest.raises(MinisoraError, match="line 1"):
            VideoFolder(tmp_path, captions="table.jsonl")


# --- Hugging Face data sets ---


def parquet(path: Path, numbers: range, kind: str = "video") -> Path:
    """Clips of several levels of gray, as a data set of videos, of plain bytes, of raw frames or of images has them."""
    clips = [gray(number) for number in numbers]
    words: dict[str, Any] = {"caption": [clip.caption for clip in clips], "extra": [1] * len(clips)}
    plain = {"caption": Value("string"), "extra": Value("int64")}
    if kind == "video":
        features = Features({"video": Video(), **plain})
        words["video"] = [{"bytes": encode_mp4(clip), "path": "a.mp4"} for clip in clips]
    elif kind == "image":
        features = Features({"image": Image(), **plain})
        words["image"] = [{"bytes": encode_png(clip), "path": None} for clip in clips]
    elif kind == "bytes":
        features = Features({"mp4": Value("binary"), **plain})
        words["mp4"] = [encode_mp4(clip) for clip in clips]
    else:
        features = Features({"frames": Value("binary"), "size": Value("string"), "fps": Value("float32"), **plain})
        words["frames"] = [clip.frames.numpy().tobytes() for clip in clips]
        words["size"], words["fps"] = [clip.size for clip in clips], [5.0] * len(clips)
    path.parent.mkdir(exist_ok=True)
    Dataset.from_dict(words, features=features).to_parquet(str(path))
    return path


@pytest.mark.parametrize("kind", ["video", "image", "bytes", "frames"])
def test_local_parquet_gives_its_clips_by_index_and_in_a_stream(tmp_path: Path, kind: str) -> None:
    path = parquet(tmp_path / "rows.parquet", range(50, 58), kind)
    clips, stream = HubClips(path), list(HubStream(path))
    assert len(clips) == len(stream) == 8
    for number in (6, 0, 3):
        for clip in (clips[number], stream[number]):
            assert clip.caption == f"level {50 + number}" and abs(level(clip) - 50 - number) <= 2
            assert clip.shape == ((1 if kind == "image" else 3), 16, 16)
            assert clip.fps == (5.0 if kind == "frames" else 8.0) and f"row {number}" in clip.source
    small = HubClips(path, read=partial(read_video, short_side=8))
    assert repr(clips) == repr(HubClips(path)) != repr(small) and "0x" not in repr(small)
    assert kind in ("frames", "image") or small[0].shape == (3, 8, 8)


def test_ranks_share_a_stream_and_workers_share_a_rank(tmp_path: Path) -> None:
    for part in range(4):
        parquet(tmp_path / "set" / f"part{part}.parquet", range(part * 5, part * 5 + 5), "frames")
    for world in (1, 2, 3, 4):
        shares = [levels(HubStream(tmp_path / "set", rank=rank, world=world, seed=1)) for rank in range(world)]
        assert sorted(itertools.chain(*shares)) == list(range(20)), world
    stream = HubStream(tmp_path / "set", rank=1, world=2)
    workers = DataLoader(stream, batch_size=None, num_workers=2, collate_fn=as_it_is)
    assert sorted(levels(workers)) == sorted(levels(stream))


def as_it_is(clip: Clip) -> Clip:
    return clip


def test_a_stream_is_shuffled_anew_each_epoch_and_goes_on_where_it_stood(tmp_path: Path) -> None:
    for part in range(4):
        parquet(tmp_path / "set" / f"part{part}.parquet", range(part * 5, part * 5 + 5), "frames")
    stream = HubStream(tmp_path / "set", seed=1, buffer=6)
    orders = []
    for epoch in range(2):
        stream.set_epoch(epoch)
        orders.append(levels(stream))
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(20)) and orders[0] != orders[1]
    stream.set_epoch(0)
    assert levels(stream) == orders[0]
    stream = HubStream(tmp_path / "set", seed=1, buffer=1)
    clips = iter(stream)
    begun = levels(next(clips) for _ in range(7))
    state = json.loads(json.dumps(stream.state_dict()))  # it can lie in a JSON checkpoint
    rest = levels(clips)
    resumed = HubStream(tmp_path / "set", seed=1, buffer=1)
    resumed.load_state_dict(state)
    assert levels(resumed) == rest and sorted(begun + rest) == list(range(20))


def test_splits_are_told_apart_by_name(tmp_path: Path) -> None:
    parquet(tmp_path / "set" / "train-0.parquet", range(5), "frames")
    parquet(tmp_path / "set" / "test-0.parquet", range(5, 8), "frames")
    assert levels(HubClips(tmp_path / "set")) == list(range(5))
    assert levels(HubStream(tmp_path / "set", "test")) == [5, 6, 7]
    with pytest.raises(MinisoraError, match="'validation'"):
        HubClips(tmp_path / "set", "validation")


def test_what_is_wrong_with_a_data_set_is_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "rows.parquet", range(3), "video")
    for mistake, told in [
        (lambda: HubClips(path, caption="words"), "no caption column 'words': its columns are caption, extra, video"),
        (lambda: HubClips(path, picture="film"), "no video or image column 'film'"),
        (lambda: HubClips(tmp_path / "gone.parquet"), "owner/name"),
        (lambda: HubStream(path, rank=2, world=2), "rank"),
        (lambda: HubClips(path, broken="maybe"), "skip, error"),
    ]:
        with pytest.raises(MinisoraError, match=told):
            mistake()
    assert HubClips(path, caption="")[1].caption == "level 1"  # which the mp4 itself tells


def test_a_broken_row_is_left_out_and_a_path_does_not_lead_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(tmp_path / "secret.mp4", gray(77))
    write_video(tmp_path / "set" / "beside.mp4", gray(99))
    values: list[Any] = [b"junk", encode_mp4(gray(60)), None, encode_mp4(gray(80))]
    rows = [{"video": {"bytes": value, "path": None}, "caption": "level 0"} for value in values]
    for path in (
        "../secret.mp4",
        str(tmp_path / "secret.mp4"),
        "https://example.com/a.mp4",
        "hf://a/b.mp4",
        "beside.mp4",
    ):
        rows.append({"video": {"bytes": None, "path": path}, "caption": "level 0"})
    kinds = Features({"video": {"bytes": Value("binary"), "path": Value("string")}, "caption": Value("string")})
    Dataset.from_list(rows, features=kinds).to_parquet(str(tmp_path / "set" / "rows.parquet"))
    with caplog.at_level(logging.WARNING):
        assert [level(clip) for clip in HubStream(tmp_path / "set")] == pytest.approx([60, 80, 99], abs=2)
        assert [level(clip) for clip in HubClips(tmp_path / "set")] == pytest.approx(
            [60] * 2 + [80] * 2 + [99] * 5, abs=2
        )
    assert len(caplog.messages) == 12 and all("\n" not in message for message in caplog.messages)
    for index in (0, 2, 4, 5, 6, 7):
        with pytest.raises(MinisoraError, match=f"row {index}"):
            HubClips(tmp_path / "set", broken="error")[index]
