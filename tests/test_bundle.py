"""The bundled samples: loadable offline by the datasets library, true to their scenes, and held by a manifest."""

import json
import shutil
from pathlib import Path

import datasets
import pytest

from minisora.core.errors import MinisoraError
from minisora.data import bundle
from minisora.data.mp4 import decode_mp4
from minisora.worlds import WORLDS

BUNDLED = Path(__file__).parents[1] / bundle.FOLDER


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A manifest with the one world that is quickest to check."""
    manifest = json.loads((BUNDLED / "manifest.json").read_text())
    manifest["files"] = {"shapes.parquet": manifest["files"]["shapes.parquet"]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    shutil.copy(BUNDLED / "shapes.parquet", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", WORLDS)
def test_load_dataset_reads_every_world_offline(name: str, tmp_path: Path):
    table = datasets.load_dataset("parquet", data_files=str(BUNDLED / f"{name}.parquet"), cache_dir=str(tmp_path))
    rows = table["train"]  # type: ignore[index]
    assert len(rows) == json.loads((BUNDLED / "manifest.json").read_text())["files"][f"{name}.parquet"]["clips"]
    assert {row["world"] for row in rows} == {name} and all(row["license"] == "MIT" for row in rows)
    assert {row["size"] for row in rows} == set(bundle.SIZES)
    clip = decode_mp4(rows[0]["video"]["bytes"])
    assert clip.size == rows[0]["size"] and clip.caption == rows[0]["caption"]


def test_a_sound_bundle_passes(copy: Path):
    (line,) = bundle.check(copy)
    assert line.startswith("shapes.parquet: 72 clips")


def test_one_changed_byte_is_noticed(copy: Path):
    path = copy / "shapes.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(MinisoraError, match="not the file that the manifest lists"):
        list(bundle.check(copy))


def test_stray_and_missing_files_are_noticed(copy: Path):
    shutil.copy(copy / "shapes.parquet", copy / "stray.parquet")
    with pytest.raises(MinisoraError, match="stray"):
        list(bundle.check(copy))
    (copy / "stray.parquet").unlink()
    (copy / "shapes.parquet").unlink()
    with pytest.raises(MinisoraError, match="missing"):
        list(bundle.check(copy))


def test_a_clip_that_is_not_its_scene_is_noticed(copy: Path):
    """A file with the right checksum is still held against the worlds themselves."""
    rows = datasets.Dataset.from_parquet(str(copy / "shapes.parquet")).to_list()  # type: ignore[union-attr]
    rows[3]["video"], rows[4]["video"] = rows[4]["video"], rows[3]["video"]
    bundle._write_parquet(copy / "shapes.parquet", rows)
    manifest = json.loads((copy / "manifest.json").read_text())
    entry = manifest["files"]["shapes.parquet"]
    entry |= {"bytes": (copy / "shapes.parquet").stat().st_size, "sha256": bundle.sha256(copy / "shapes.parquet")}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MinisoraError, match="clip 3 is not what its scene shows"):
        list(bundle.check(copy))


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"files": {}}'])
def test_a_manifest_without_files_is_refused(tmp_path: Path, content: str):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(MinisoraError):
        list(bundle.check(tmp_path))
