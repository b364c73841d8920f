"""Hugging Face data sets with videos or images: by their name on the Hub, or local parquet files.

`HubClips` has a length and an index, as every set of clips here; `HubStream` reads on and on without one, for sets that
are too large to keep. Only a Hub name ever touches the network. Files are decoded here and not by the data set.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet
import torch
from datasets import Image, Video
from datasets.distributed import split_dataset_by_node
from datasets.exceptions import DatasetsError
from pyarrow.lib import ArrowException
from torch import Tensor

from minisora.core.errors import MinisoraError, check_choice
from minisora.data.clip import Clip, parse_size
from minisora.data.datasets import TRIES, first_sound, log
from minisora.data.folder import CAPTION_COLUMNS, pick_column
from minisora.data.images import STILL_FPS
from minisora.data.video_io import read_video

RAW = "frames"  # a column of this name holds uint8 frames as they are, beside a `size` such as 17x64x64
PICTURE_COLUMNS = ("video", "mp4", RAW, "image", "gif", "png", "jpg", "bytes")
SPLITS = {"train", "test", "validation", "val", "valid", "dev"}
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
Read = Callable[[bytes | Path], Clip]


class HubClips:
    """A data set with an index. A broken row is left out with one line of warning, or raises with broken="error".

    `read` makes a clip of a file's bytes: functools.partial(read_video, short_side=64), say.
    """

    def __init__(
        self,
        source: str | Path,
        split: str = "train",
        *,
        picture: str | None = None,
        caption: str | None = None,
        config: str | None = None,
        broken: str = "skip",
        read: Read = read_video,
    ) -> None:
        self.broken = check_choice("way with broken rows", broken, ("skip", "error"))
        table = load(source, split, config, streaming=False)
        self.rows = Rows(source, table.features, picture, caption, read)
        self.table = self.rows.undecoded(table)
        self._warned: set[int] = set()

    def __repr__(self) -> str:
        """With the table's own fingerprint, which follows from its files, so that other rows print as another set."""
        read = re.sub(r" at 0x\w+", "", repr(self.rows.read))
        return f"HubClips({self.rows.name!r}, {len(self)} rows, {self.table._fingerprint}, {read})"

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[Clip]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Clip:
        return first_sound(self._read, index, len(self.table), self.broken, self._warned)

    def _read(self, index: int) -> Clip:
        return self.rows.clip(self.table[index], f"{self.rows.name} row {index}")


class HubStream(torch.utils.data.IterableDataset):
    """A data set read from front to back, this rank's share of it; under a DataLoader, this worker's share of that.

    With a seed its files are shuffled, and its rows within a buffer; `set_epoch` shuffles anew. `state_dict` says where
    it stands, and a stream with that state loaded goes on from there (exactly, with buffer=1; a larger one is lost).
    """

    def __init__(
        self,
        source: str | Path,
        split: str = "train",
        *,
        picture: str | None = None,
        caption: str | None = None,
        config: str | None = None,
        broken: str = "skip",
        read: Read = read_video,
        rank: int = 0,
        world: int = 1,
        seed: int | None = None,
        buffer: int = 256,
    ) -> None:
        self.broken = check_choice("way with broken rows", broken, ("skip", "error"))
        if not 0 <= rank < world or buffer < 1:
            raise MinisoraError(
                f"rank {rank} of {world}, buffer {buffer}: rank goes from 0 to world - 1, buffer from 1 up"
            )
        stream = load(source, split, config, streaming=True)
        self.rows = Rows(source, stream.features, picture, caption, read)
        stream = self.rows.undecoded(stream)
        if seed is not None:  # several shards at once would wait for one another at every pass
            stream = stream.shuffle(seed=seed, buffer_size=buffer, max_buffer_input_shards=1)
        self.stream = split_dataset_by_node(stream, rank, world)

    def __iter__(self) -> Iterator[Clip]:
        broken = 0
        with _one_line(self.rows.name):
            for number, row in enumerate(self.stream):
                try:
                    clip = self.rows.clip(row, f"{self.rows.name} row {number} of the stream")
                except MinisoraError as error:
                    broken += 1
                    if self.broken == "error" or broken == TRIES:
                        raise
                    log.warning("skipped: %s", error)
                    continue
                broken = 0
                yield clip

    def set_epoch(self, epoch: int) -> None:
        self.stream.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stream.load_state_dict(state)


class Rows:
    """How a row of one data set becomes a clip: which columns it is made of, and where its files may lie."""

    def __init__(
        self, source: str | Path, features: Mapping[str, Any], picture: str | None, caption: str | None, read: Read
    ) -> None:
        self.name, self.read = str(source), read
        self.folder = Path(source).parent if Path(source).is_file() else Path(source)
        self.on_hub = not self.folder.exists()
        kinds = {column: type(feature).__name__ for column, feature in features.items()}
        typed = [column for kind in ("Video", "Image") for column in kinds if kinds[column] == kind]
        self.picture = pick_column(self.name, kinds, "video or image", picture, (*typed, *PICTURE_COLUMNS))
        self.caption = "" if caption == "" else pick_column(self.name, kinds, "caption", caption, CAPTION_COLUMNS)
        if self.picture == RAW:
            pick_column(self.name, kinds, "size", None, ("size",))
        self.columns = [column for column in (self.picture, self.caption, "size", "fps", "license") if column in kinds]
        self.kind = kinds[self.picture]

    def undecoded(self, table: Any) -> Any:
        """Only the columns that are needed, and files as they are, for our own reader."""
        table = table.select_columns(self.columns)
        bare = {"Video": Video(decode=False), "Image": Image(decode=False)}.get(self.kind)
        return table.cast_column(self.picture, bare) if bare else table

    def clip(self, row: dict[str, Any], where: str) -> Clip:
        caption, fps, license = row.get(self.caption), row.get("fps"), row.get("license")
        caption = caption[0] if isinstance(caption, list) and caption else caption
        rate = float(fps) if isinstance(fps, (int, float)) else STILL_FPS
        try:
            if self.picture == RAW:
                frames = raw_frames(row[RAW], row["size"])
            else:
                clip = self.read(self._file(row[self.picture]))
                frames, rate = clip.frames, rate if clip.is_image else clip.fps
                caption, license = caption or clip.caption, license or clip.license
            words = [word if isinstance(word, str) else "" for word in (caption, license)]
            return Clip(frames, rate, words[0], where, words[1])
        except MinisoraError as error:
            raise MinisoraError(f"{where}: {error}") from None

    def _file(self, value: Any) -> bytes | Path:
        """The bytes in a row, or the file that it names: beside local parquet, or in the data set's own repository."""
        if isinstance(value, bytes):
            return value
        if not isinstance(value, dict) or not (value.get("bytes") or value.get("path")):
            raise MinisoraError(f"the column {self.picture} holds no video and no image")
        if value.get("bytes"):
            return value["bytes"]
        path = str(value["path"])
        if self.on_hub and path.split("::")[-1].startswith("hf://"):
            return _fetched(path)
        if not self.on_hub and not (self.folder / path).resolve().is_relative_to(self.folder.resolve()):
            raise MinisoraError(f"it names {path}, outside {self.folder}")
        return self.folder / path if not self.on_hub else Path(path)


def raw_frames(data: Any, size: Any) -> Tensor:
    """uint8 (t, h, w, 3) from the bytes of frames and their size."""
    frames, height, width = parse_size(str(size))
    if not isinstance(data, bytes) or len(data) != frames * height * width * 3:
        found = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
        raise MinisoraError(f"raw frames of size {size} are {frames * height * width * 3} bytes, not {found}")
    return torch.from_numpy(np.frombuffer(data, np.uint8).reshape(frames, height, width, 3).copy())


def load(source: str | Path, split: str, config: str | None, streaming: bool) -> Any:
    """The data set as Hugging Face's library has it. Local parquet is read with its parquet reader and nothing else."""
    with _one_line(str(source)):
        if Path(source).exists():
            files = [str(path) for path in parquet_files(Path(source), split)]
            schema = datasets.Features.from_arrow_schema(pyarrow.parquet.read_schema(files[0]))
            with _no_bars():
                return datasets.load_dataset(
                    "parquet", data_files={split: files}, split=split, streaming=streaming, features=schema
                )
        if not HUB_NAME.fullmatch(str(source)) or str(source).endswith(".parquet"):
            raise MinisoraError(f"there is no {source} here, and a data set on the Hub is named owner/name")
        found: Any = datasets.load_dataset(str(source), config, split=split, streaming=streaming)
        return found if found.features else found._resolve_features()  # a stream may not know its columns yet


def parquet_files(source: Path, split: str) -> list[Path]:
    """The parquet files of a split: those named after it. Where none is named after a split, all are "train"."""
    if source.is_file():
        return [source]
    files = sorted(source.rglob("*.parquet"))
    words = {path: set(re.split("[^a-z0-9]+", path.relative_to(source).as_posix().lower())) for path in files}
    if split != "train" or any(SPLITS & found for found in words.values()):
        files = [path for path in files if split.lower() in words[path]]
    if not files:
        raise MinisoraError(f"{source} holds no parquet files of the split {split!r}")
    return files


def _fetched(path: str) -> bytes:
    from datasets.utils.file_utils import xopen

    with _one_line(path), xopen(path, "rb") as file:
        return file.read()


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """A damaged file, a wrong name or a missing network is told in one line."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, ArrowException, DatasetsError) as error:
        cause = error.__cause__ if isinstance(error, DatasetsError) and error.__cause__ else error
        raise MinisoraError(f"{name} cannot be read as a data set: {' '.join(str(cause).split())[:200]}") from None


@contextmanager
def _no_bars() -> Iterator[None]:
    """Reading a local file is quick, and its progress is not worth three lines."""
    shown = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not shown:
            datasets.enable_progress_bars()
