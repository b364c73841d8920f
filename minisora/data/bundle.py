"""The bundled data: a sample of every world as parquet with mp4 bytes and captions, and a manifest to hold it against."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from minisora import __version__
from minisora.core.checkpoint import load_json, save_json, sha256, written_beside
from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip, size_name
from minisora.data.mp4 import decode_mp4, encode_mp4
from minisora.worlds import WORLDS, Scene, world

FOLDER = Path("data") / "worlds"
LICENSE = "MIT"
COMMAND = "minisora data make"
# Mostly squares, some wide, some tall, some images, some of the tiny preset's size: all that a loader has to cope with.
SIZES = ((17, 64, 64),) * 5 + ((17, 48, 80), (17, 80, 48), (1, 64, 64), (9, 32, 32))
FIRST_SEED = 10**6  # training on the fly counts its seeds from 0
BLUR = 12.0  # grey levels: how far, on average, compression may take a bundled clip from its scene


def scenes(name: str, clips: int) -> Iterator[tuple[Scene, tuple[int, int, int]]]:
    """The scenes of a world's sample, with the size in which each is rendered."""
    for number in range(clips):
        size = SIZES[number % len(SIZES)]
        yield world(name).sample(FIRST_SEED + number, seconds=max(1.0, (size[0] - 1) / 8)), size


def make(folder: Path = FOLDER, clips: int = 72, names: tuple[str, ...] = WORLDS) -> dict[str, Any]:
    """Render, encode and write a sample of every world, and the manifest. Returns the manifest."""
    entries = {}
    for name in names:
        rows = [_row(name, scene, size) for scene, size in tqdm(scenes(name, clips), name, clips, leave=False)]
        path = folder / f"{name}.parquet"
        _write_parquet(path, rows)
        entries[path.name] = {
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
            "clips": clips,
            "licence": LICENSE,
            "made": f"rendered by minisora {__version__} from seeds {FIRST_SEED} … {FIRST_SEED + clips - 1} "
            f"of the world '{name}', encoded as H.264",
            "command": COMMAND,
        }
    manifest = {"files": entries, "versions": _versions()}
    save_json(folder / "manifest.json", manifest)
    return manifest


def _row(name: str, scene: Scene, size: tuple[int, int, int]) -> dict[str, Any]:
    short, long = (world(name).caption(scene, detail) for detail in ("short", "descriptive"))
    clip = Clip(world(name).render(scene, *size), 8.0, short, f"minisora/{name}/{scene.seed}", LICENSE)
    return {
        "video": {"bytes": encode_mp4(clip), "path": f"{name}-{scene.seed}.mp4"},
        "caption": short, "descriptive": long, "world": name, "seed": scene.seed,
        "size": size_name(size), "fps": clip.fps, "license": LICENSE,
    }  # fmt: skip


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    from datasets import Dataset, Features, Value, Video

    text, number = Value("string"), Value("int64")
    features = Features({
        "video": Video(decode=False), "caption": text, "descriptive": text, "world": text, "seed": number,
        "size": text, "fps": Value("float64"), "license": text,
    })  # fmt: skip
    with written_beside(path) as draft:
        Dataset.from_list(rows, features=features).to_parquet(str(draft))


def check(folder: Path = FOLDER) -> list[str]:
    """Hold every bundled file against the manifest, and every clip in it against the scene that its caption tells of.

    Returns a line for each file; the first thing that is wrong raises.
    """
    manifest, lines = load_json(folder / "manifest.json"), []
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise MinisoraError(f"{folder / 'manifest.json'} lists no files: remake it with '{COMMAND}'")
    stray = {path.name for path in folder.glob("*.parquet")} - manifest["files"].keys()
    if stray:
        raise MinisoraError(f"{folder} holds {', '.join(sorted(stray))}, not in its manifest: remake with '{COMMAND}'")
    for name, entry in manifest["files"].items():
        path = folder / name
        if sha256(path) != entry["sha256"] or path.stat().st_size != entry["bytes"]:
            raise MinisoraError(f"{path} is not the file that the manifest lists: remake it with '{COMMAND}'")
        farthest = max(_distance(path.stem, row, scene, size) for row, scene, size in _rows(path, entry["clips"]))
        lines.append(
            f"{name}: {entry['clips']} clips, {entry['bytes'] / 2**20:.2f} MiB, at most {farthest:.1f} levels off"
        )
    return lines


def _rows(path: Path, clips: int) -> Iterator[tuple[dict[str, Any], Scene, tuple[int, int, int]]]:
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path).to_pylist()
    for row, (scene, size) in zip(rows, scenes(path.stem, clips), strict=True):
        yield row, scene, size


def _distance(name: str, row: dict[str, Any], scene: Scene, size: tuple[int, int, int]) -> float:
    """How far a stored clip lies from a fresh rendering of its scene, in grey levels."""
    clip = decode_mp4(row["video"]["bytes"])
    distance = (
        (clip.frames.float() - world(name).render(scene, *size).float()).abs().mean()
        if clip.shape == size
        else torch.inf
    )
    if distance > BLUR or row["caption"] != world(name).caption(scene):
        raise MinisoraError(
            f"{name} {scene.seed}: the stored clip is not what its scene shows: remake with '{COMMAND}'"
        )
    return float(distance)


def _versions() -> dict[str, str]:
    """What the bytes depend on."""
    import av
    import datasets
    import pyarrow

    versions = {"minisora": __version__, "torch": torch.__version__, "av": av.__version__}
    return versions | {"datasets": datasets.__version__, "pyarrow": pyarrow.__version__}
