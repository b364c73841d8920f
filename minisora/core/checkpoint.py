"""Checkpoints: safetensors for numbers and JSON for the rest, so that loading one never runs code.

A file is written beside its place, flushed to the disk and renamed, so that a reader sees the old one or the new one
and never half of one. A file that is cut short, foreign or hostile is refused in one line.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from minisora.core.errors import MinisoraError, one_line, writing

LARGEST_HEADER = 100_000_000  # bytes; the format's own limit
LARGEST_JSON = 64 * 2**20


@contextmanager
def written_beside(path: str | Path) -> Iterator[Path]:
    """A temporary path to write to; on leaving it is flushed to the disk and renamed, on error it is removed."""
    path = Path(path)
    draft = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield draft
            with open(draft, "rb") as file:
                os.fsync(file.fileno())
            os.replace(draft, path)
            sync_folder(path.parent)
        finally:
            draft.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """A rename lasts only once its folder has reached the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_json(path: str | Path, content: Any) -> None:
    with written_beside(path) as draft:
        draft.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def load_json(path: str | Path) -> Any:
    path = _existing(path)
    if path.stat().st_size > LARGEST_JSON:
        raise MinisoraError(f"{path} is too large for a JSON file of ours: more than {LARGEST_JSON // 2**20} MiB")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise MinisoraError(
            f"{path} is not valid JSON ({error}): write it again or take it from a fresh copy"
        ) from None


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], note: Mapping[str, str] | None = None) -> None:
    """Write named tensors, with a note of short texts that travels in the file's header."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_beside(path) as draft:
        draft.write_bytes(save(ready, dict(note or {})))


@contextmanager
def open_tensors(path: str | Path) -> Iterator[Any]:
    """Open a safetensors file for reading tensor by tensor; its header is checked before anything is believed."""
    path = _existing(path)
    _check_header(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError, AttributeError) as error:
        raise MinisoraError(f"{path} is not a sound safetensors file ({one_line(error)}): take a fresh copy") from None


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a file and its note."""
    with open_tensors(path) as file:
        return {name: file.get_tensor(name).clone() for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def load_into(module: torch.nn.Module, path: str | Path) -> dict[str, str]:
    """Fill a module from a file, strictly: every name and shape must agree. Returns the file's note."""
    wanted = module.state_dict()
    with open_tensors(path) as file:
        names = set(file.keys())
        for name in sorted(wanted.keys() ^ names):
            where = "lacks" if name in wanted else "has an unknown"
            raise MinisoraError(f"{path} {where} tensor {name}: it was made for another model or version")
        for name, parameter in wanted.items():
            shape = tuple(file.get_slice(name).get_shape())
            if shape != tuple(parameter.shape):
                raise MinisoraError(f"{path}: tensor {name} is {shape} and the model needs {tuple(parameter.shape)}")
        for name, parameter in wanted.items():
            parameter.copy_(file.get_tensor(name))
        return file.metadata() or {}


def sha256(path: str | Path) -> str:
    with open(_existing(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise MinisoraError(f"there is no file {path}")
    return path


def _check_header(path: Path) -> None:
    """The first 8 bytes are the header's length. One that the file cannot hold is refused before it is allocated."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(size - 8, LARGEST_HEADER) or file.read(1) != b"{":
            raise MinisoraError(f"{path} is not a safetensors file: its header is missing or cut short")
