"""The bundled data: a sample of every world as parquet with mp4 bytes and captions, and its manifest."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from minisora import __version__
from minisora.core.checkpoint import load_json, save_json, sha256, written_beside
from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip
from minisora.data.datasets import WorldClips
from minisora.data.mp4 import decode_mp4, encode_mp4
from minisora.worlds import WORLDS

FOLDER = Path("data") / "worlds"
LICENSE = "MIT"
COMMAND = "minisora data make"
SEED = 2026  # a range of scenes of its own, far from those of any training run
# Mostly squares, some wide, some tall, some images, some of the tiny preset's size: all that a loader has to cope with.
SIZES = ("17x64x64",) * 5 + ("17x48x80", "17x80x48", "1x64x64", "9x32x32")
BLUR = 12.0  # grey levels: how far, on average, compression may take a bundled clip from its scene


def sample(name: str, clips: int, detail: str = "short") -> WorldClips:
    """The scenes of a world that are bundled, freshly rendered."""
    return WorldClips(name, clips, SEED, SIZES, detail=detail)


def make(folder: Path = FOLDER, clips: int = 72) -> dict[str, Any]:
    """Render, encode and write a sample of every world, and the manifest. Returns the manifest."""
    entries = {}
    for name in WORLDS:
        pairs = zip(sample(name, clips), sample(name, clips, "descriptive"), strict=True)
        rows = [_row(name, number, clip, long.caption) for number, (clip, long) in enumerate(tqdm(pairs, name, clips))]
        path = folder / f"{name}.parquet"
        _write_parquet(path, rows)
        entries[path.name] = {
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
            "clips": clips,
            "licence": LICENSE,
            "made": f"rendered by minisora {__version__}, WorldClips('{name}', {clips}, {SEED}), then H.264",
            "command": COMMAND,
        }
    manifest = {"files": entries, "versions": _versions()}
    save_json(folder / "manifest.json", manifest)
    return manifest


def _row(name: str, number: int, clip: Clip, descriptive: str) -> dict[str, Any]:
    return {
        "video": {"bytes": encode_mp4(clip), "path": f"{name}-{number:03}.mp4"},
        "caption": clip.caption, "descriptive": descriptive, "world": name, "source": clip.source,
        "size": clip.size, "fps": clip.fps, "license": clip.license,
    }  # fmt: skip


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    from datasets import Dataset, Features, Value, Video

    text = Value("string")
    features = Features({
        "video": Video(decode=False), "caption": text, "descriptive": text, "world": text, "source": text,
        "size": text, "fps": Value("float64"), "license": text,
    })  # fmt: skip
    with written_beside(path) as draft:
        Dataset.from_list(rows, features=features).to_parquet(str(draft))


def check(folder: Path = FOLDER) -> Iterator[str]:
    """Hold every bundled file against the manifest, and every clip in it against a fresh rendering of its scene.

    Gives a line for each file that is sound; the first thing that is wrong raises.
    """
    manifest = load_json(folder / "manifest.json")
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not files:
        raise MinisoraError(f"{folder / 'manifest.json'} lists no files: remake it with '{COMMAND}'")
    found = {path.name for path in folder.glob("*.parquet")}
    if stray := sorted(found ^ files.keys()):
        raise MinisoraError(
            f"{folder}: {', '.join(stray)} is listed and missing, or not listed: remake with '{COMMAND}'"
        )
    for name, entry in files.items():
        path = folder / name
        if path.stat().st_size != entry["bytes"] or sha256(path) != entry["sha256"]:
            raise MinisoraError(f"{path} is not the file that the manifest lists: remake it with '{COMMAND}'")
        farthest = max(_distances(path, sample(path.stem, entry["clips"])))
        yield f"{name}: {entry['clips']} clips, {entry['bytes'] / 2**20:.2f} MiB, at most {farthest:.1f} levels off"


def _distances(path: Path, fresh: WorldClips) -> Iterator[float]:
    """How far each stored clip lies from its scene, in grey levels."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path).to_pylist()
    for number, (row, clip) in enumerate(zip(rows, fresh, strict=True)):
        stored = decode_mp4(row["video"]["bytes"])
        same = stored.shape == clip.shape and row["caption"] == clip.caption
        distance = float((stored.frames.float() - clip.frames.float()).abs().mean()) if same else torch.inf
        if distance > BLUR:
            raise MinisoraError(f"{path}: clip {number} is not what its scene shows: remake it with '{COMMAND}'")
        yield distance


def _versions() -> dict[str, str]:
    """What the bytes depend on."""
    import av
    import datasets
    import pyarrow

    versions = {"minisora": __version__, "torch": torch.__version__, "av": av.__version__}
    return versions | {"datasets": datasets.__version__, "pyarrow": pyarrow.__version__}
