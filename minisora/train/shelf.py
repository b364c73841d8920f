"""What is computed once and read at every step: tensors of any shapes in one memory-mapped file, with a fingerprint.

The fingerprint says what they were made from. A shelf made from something else is refused, never used by mistake.
"""

import hashlib
import mmap
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from tqdm import tqdm

from minisora.core.checkpoint import load_json, save_json
from minisora.core.errors import MinisoraError, writing
from minisora.data.clip import Clip

Item = dict[str, Any]
"""Tensors, and whatever JSON can hold but objects, by name."""


class Shelf:
    """A sequence of items, written once and read in any order."""

    def __init__(self, folder: str | Path, fingerprint: str) -> None:
        self.folder = Path(folder)
        content = load_json(self.folder / "index.json")
        if not isinstance(content, dict) or not (self.folder / "data.bin").is_file():
            raise MinisoraError(f"{folder} is not a shelf of ours: remove it, or name another folder")
        if content.get("fingerprint") != fingerprint:
            raise MinisoraError(
                f"{folder} was made from other data or another model: remove it, or name another folder"
            )
        self.items = content["items"]
        size = (self.folder / "data.bin").stat().st_size
        if size != content["bytes"]:
            raise MinisoraError(f"{folder}/data.bin has {size} bytes, {content['bytes']} were written: make it again")
        with open(self.folder / "data.bin", "rb") as file:
            self.memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # writable for torch, never written

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return {
            name: self._tensor(**value) if isinstance(value, dict) else value
            for name, value in self.items[index].items()
        }

    def _tensor(self, start: int, shape: list[int], dtype: str) -> Tensor:
        count = torch.Size(shape).numel()
        return torch.frombuffer(self.memory, dtype=getattr(torch, dtype), count=count, offset=start).view(shape)


def fill(folder: str | Path, fingerprint: str, items: Iterable[Item], count: int, title: str) -> Shelf:
    """Open the shelf if it is there, and make it if it is not."""
    folder = Path(folder)
    if (folder / "index.json").exists():
        return Shelf(folder, fingerprint)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    with writing(part):
        part.mkdir(parents=True)
    index: list[Item] = []
    with open(part / "data.bin", "wb") as file:
        for item in tqdm(items, title, total=count, unit="clip", disable=None):
            with writing(part):
                index.append({name: _put(file, value) for name, value in item.items()})
                file.flush()
        written = file.tell()
        with writing(part):
            os.fsync(file.fileno())  # before the index says that it is there
    save_json(part / "index.json", {"fingerprint": fingerprint, "bytes": written, "items": index})
    part.rename(folder)
    return Shelf(folder, fingerprint)


def _put(file: BinaryIO, value: object) -> object:
    """A tensor goes to the file, and where it lies to the index; all else to the index."""
    if not isinstance(value, Tensor):
        return value
    file.write(b"\0" * (-file.tell() % 16))  # torch wants its numbers aligned
    place = {"start": file.tell(), "shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    file.write(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return place


def fingerprint(*parts: object) -> str:
    """A short hash of what something is made from."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(_identity(part))
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def _identity(part: object) -> bytes:
    """Files are told by their bytes, clips by their frames, data sets and configs by what they print."""
    if isinstance(part, Path):
        return part.read_bytes()
    if isinstance(part, list):
        return b"\0".join(map(_identity, part))
    if isinstance(part, Clip):
        return repr(part).encode() + part.frames.contiguous().numpy().tobytes()
    if type(part).__repr__ is object.__repr__:
        raise MinisoraError(f"{type(part).__name__} prints its address and not what is in it: give it a __repr__")
    return repr(part).encode()


def fingerprint_of_weights(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
