"""A folder of videos and images with their captions: in a table (CSV or JSON lines), or each in a .txt beside it."""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from minisora.core.errors import MinisoraError, check_choice
from minisora.data.clip import Clip
from minisora.data.datasets import first_sound, log
from minisora.data.facts import LIMITS, Limits
from minisora.data.video_io import IMAGE_ENDINGS, VIDEO_ENDINGS, probe, read_video

TABLES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")
FILE_COLUMNS = ("file_name", "file", "filename", "path", "video", "image")
CAPTION_COLUMNS = ("caption", "text", "prompt", "description")
LARGEST_TEXT = 64 << 20  # bytes of a table or a caption


class VideoFolder:
    """One clip for every video, or with `seconds` one for every part of that length.

    `captions` names the table, or is "none" where captions are not wanted; without it, they are looked for. A broken
    file is left out with one line of warning, or raises with broken="error".
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        captions: str | Path | None = None,
        caption_column: str | None = None,
        seconds: float | None = None,
        short_side: int | None = None,
        license: str = "",
        broken: str = "skip",
        limits: Limits = LIMITS,
    ) -> None:
        self.folder, self.seconds, self.short_side = Path(folder), seconds, short_side
        self.license, self.limits = license, limits
        self.broken = check_choice("way with broken files", broken, ("skip", "error"))
        if not self.folder.is_dir():
            raise MinisoraError(f"there is no folder {folder}")
        self.files = self._captioned(captions, caption_column)
        self.parts = list(self._parts())  # (which file, where it starts)
        self._warned: set[int] = set()

    def __repr__(self) -> str:
        """With the size and the age of every file, so that other files print as another data set."""
        files = [(str(path), (at := path.stat()).st_size, at.st_mtime_ns, caption) for path, caption in self.files]
        how = (self.seconds, self.short_side, self.license, self.broken, self.limits)
        digest = hashlib.sha256(repr((files, how)).encode()).hexdigest()[:16]
        return f"VideoFolder({str(self.folder)!r}, {len(self)} clips, {digest})"

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Clip]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Clip:
        return first_sound(self._read, index, len(self.parts), self.broken, self._warned)

    def _read(self, index: int) -> Clip:
        file, start = self.parts[index]
        path, caption = self.files[file]
        clip = read_video(path, start=start, seconds=self.seconds, short_side=self.short_side, limits=self.limits)
        return Clip(clip.frames, clip.fps, caption or clip.caption, clip.source, self.license or clip.license)

    def _captioned(self, captions: str | Path | None, column: str | None) -> list[tuple[Path, str]]:
        """Every file with its caption, in the order of the table or of the names."""
        found = [self.folder / name for name in TABLES if (self.folder / name).is_file()]
        if captions is None and found:
            captions = found[0]
        if captions is not None and captions != "none":
            table = self.folder / captions if not Path(captions).is_file() else Path(captions)
            return [(self._inside(name, table), text) for name, text in read_table(table, column)]
        paths = sorted(path for path in self.folder.rglob("*") if path.suffix.lower() in VIDEO_ENDINGS + IMAGE_ENDINGS)
        paths = [path for path in paths if path.is_file() and not path.name.startswith(".")]
        if not paths:
            raise MinisoraError(f"{self.folder} holds no videos: looked for {', '.join(VIDEO_ENDINGS + IMAGE_ENDINGS)}")
        if captions == "none":
            return [(path, "") for path in paths]
        bare = [path for path in paths if not path.with_suffix(".txt").is_file()]
        if bare:
            raise MinisoraError(
                f"{len(bare)} of {len(paths)} files have no caption, the first is {bare[0].name}: write it to "
                f"{bare[0].with_suffix('.txt').name} or to {TABLES[0]}, or read with captions='none'"
            )
        return [(path, _text(path.with_suffix(".txt")).strip()) for path in paths]

    def _inside(self, name: str, table: Path) -> Path:
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise MinisoraError(f"{table.name} names {name}, outside {self.folder}: names are relative to the folder")
        if not path.is_file():
            raise MinisoraError(f"{table.name} names {name}, and there is no such file in {self.folder}")
        return path

    def _parts(self) -> Iterable[tuple[int, float]]:
        for number, (path, _) in enumerate(self.files):
            count = 1
            if self.seconds is not None:
                try:
                    count = max(1, int(probe(path).seconds / self.seconds + 1e-6))
                except MinisoraError as error:
                    if self.broken == "error":
                        raise
                    log.warning("skipped: %s", error)
                    continue
            yield from ((number, part * (self.seconds or 0.0)) for part in range(count))


def read_table(path: Path, column: str | None = None) -> list[tuple[str, str]]:
    """(file name, caption) of every row of a .csv or .jsonl."""
    if not path.is_file():
        raise MinisoraError(f"there is no caption table {path}: looked for a CSV or JSON lines such as {TABLES[0]}")
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _json_rows(path)
    if not rows:
        raise MinisoraError(f"{path} has no rows")
    file = pick_column(str(path), rows[0], "file", None, FILE_COLUMNS)
    caption = pick_column(str(path), rows[0], "caption", column, CAPTION_COLUMNS)
    pairs = [(row.get(file), row.get(caption)) for row in rows]
    for number, (name, text) in enumerate(pairs):
        if not isinstance(name, str) or not name or not isinstance(text, str):
            raise MinisoraError(f"{path}: row {number + 1} needs a text under {file} and under {caption}")
    return [(str(name), str(text).strip()) for name, text in pairs]


def pick_column(where: str, columns: Iterable[str], what: str, wanted: str | None, usual: tuple[str, ...]) -> str:
    """The column that is asked for, or the first of the usual ones; if there is none, say which columns there are."""
    columns = [str(column) for column in columns]
    choices = (wanted,) if wanted else usual
    found = [choice for choice in choices if choice in columns]
    if not found:
        expected = repr(wanted) if wanted else f"named {', '.join(usual)}"
        raise MinisoraError(f"{where} has no {what} column {expected}: its columns are {', '.join(columns) or 'none'}")
    return found[0]


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    try:
        return list(csv.DictReader(_text(path).splitlines(keepends=True)))
    except csv.Error as error:
        raise MinisoraError(f"{path} is not a sound CSV file: {error}") from None


def _json_rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise MinisoraError(f"{path}: line {number} is not JSON ({error})") from None
        if not isinstance(rows[-1], dict):
            raise MinisoraError(f'{path}: line {number} is not a JSON object such as {{"file_name": …}}')
    return rows


def _text(path: Path) -> str:
    if path.stat().st_size > LARGEST_TEXT:
        raise MinisoraError(f"{path} is too large for a text: more than {LARGEST_TEXT >> 20} MiB")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise MinisoraError(f"{path} is not UTF-8 text: save it as UTF-8") from None
