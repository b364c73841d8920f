"""A generator as a folder: preset.json, tokenizer.json, and the weights of its models in files of at most 16 MiB.

manifest.json comes last and holds the sha256 of every other file: what it does not vouch for is not read.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

import minisora
from minisora.core.checkpoint import load_json, load_tensors, save_json, save_tensors, sha256
from minisora.core.errors import MinisoraError
from minisora.core.runtime import blank
from minisora.generate.plain import from_plain, to_plain
from minisora.models.dit import FP32, DiT
from minisora.models.lora import Addition
from minisora.models.text import TextEncoder
from minisora.models.tokenizer import Tokenizer
from minisora.models.vae import VAE
from minisora.zoo.presets import Preset

MANIFEST = "manifest.json"
LARGEST = 16 * 2**20 - 2**18  # bytes of numbers in a file: some room is left for its header
SPARED = re.compile(rf"{FP32.pattern}|^mean$|^std$")
"""What stays in fp32 when the rest is rounded: the parameters that `DiT.lower` spares, and the VAE's measurements."""

ADDED = "added-"
"""How the file of a low-rank addition begins (models/lora.py); its name follows."""

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Stored:
    """What a folder holds. The DiT is in the dtype asked for, the others in fp32."""

    name: str
    preset: Preset
    vae: VAE
    dit: DiT
    text: TextEncoder
    tokenizer: Tokenizer
    digest: str
    """sha256 of all files together."""
    late: DiT | None
    additions: dict[str, Addition]


def bundled(name: str) -> Path:
    """The checkpoint of a preset that comes with the project, beside the package or in the working folder."""
    places = [Path(minisora.__file__).parents[1], Path.cwd()]
    folders = [place / "data" / "checkpoints" / name for place in places]
    for folder in folders:
        if (folder / MANIFEST).is_file():
            return folder
    raise MinisoraError(
        f"no weights of {name} are bundled in {folders[0]}: train some (`minisora train {name}`) or give a folder"
    )


def save(
    folder: Path, name: str, preset: Preset, models: Mapping[str, nn.Module], tokenizer: Tokenizer, dtype: torch.dtype,
    additions: Mapping[str, Addition] | None = None,
) -> str:  # fmt: skip
    """Write everything, the manifest last. Returns the sha256 of all of it."""
    save_json(folder / "preset.json", {"name": name, "preset": to_plain(preset)})
    tokenizer.save(folder / "tokenizer.json")
    names, note = ["preset.json", "tokenizer.json"], {"minisora": minisora.__version__}
    for part, model in models.items():
        shards = list(_shards(_lowered(model.state_dict(), dtype)))
        for number, shard in enumerate(shards, 1):
            split = f"-{number:05d}-of-{len(shards):05d}" if len(shards) > 1 else ""
            names.append(f"{part}{split}.safetensors")
            save_tensors(folder / names[-1], shard, note)
    for part, addition in (additions or {}).items():
        names.append(f"{ADDED}{part}.safetensors")
        save_tensors(folder / names[-1], _lowered(addition, dtype), note)
    files = {name: sha256(folder / name) for name in names}
    save_json(folder / MANIFEST, {"files": files})
    return _digest(files)


def load(folder: Path, dtype: torch.dtype, device: torch.device | str) -> Stored:
    files = _verified(folder)
    content = load_json(folder / "preset.json")
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise MinisoraError(f"{folder / 'preset.json'} does not name its preset: take a fresh copy")
    preset = from_plain(Preset, content.get("preset"), "preset.json")

    def filled(part: str, make: Callable[[], Model]) -> Model:
        pattern = re.compile(rf"{part}(-\d+-of-\d+)?\.safetensors")
        return _fill(make, [folder / name for name in sorted(files) if pattern.fullmatch(name)], device)

    other, extra = preset.late, [Path(name).stem for name in files if name.startswith(ADDED)]
    return Stored(
        content["name"],
        preset,
        filled("vae", lambda: VAE(preset.vae)),
        filled("dit", lambda: DiT(preset.dit).lower(dtype)),
        filled("text", lambda: TextEncoder(preset.text)),
        Tokenizer.load(folder / "tokenizer.json"),
        _digest(files),
        other and filled("late-dit", lambda: DiT(other.dit).lower(dtype)),
        {name.removeprefix(ADDED): load_tensors(folder / f"{name}.safetensors")[0] for name in extra},
    )


def _verified(folder: Path) -> dict[str, str]:
    """The names of all files and their sha256, each held against its file."""
    manifest = folder / MANIFEST
    content = load_json(manifest)
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise MinisoraError(f"{manifest} is not a manifest of ours: write one with Sora.save")
    for name in ("preset.json", "tokenizer.json"):
        if name not in files:
            raise MinisoraError(f"{manifest} does not list {name}: take a fresh copy of the folder")
    for name, digest in files.items():
        if name != Path(name).name:
            raise MinisoraError(f"{manifest} lists {name[:80]!r}, which is not a file beside it: take a fresh copy")
        if sha256(folder / name) != digest:
            raise MinisoraError(f"{folder / name} is damaged (its sha256 is not the manifest's): take a fresh copy")
    return files


def _digest(files: Mapping[str, str]) -> str:
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _lowered(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: tensor if SPARED.search(name) else tensor.to(dtype) for name, tensor in state.items()}


def _shards(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Tensors in their order, so many in each part as fit into a file."""
    shard: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if shard and sum(other.nbytes for other in (*shard.values(), tensor)) > LARGEST:
            yield shard
            shard = {}
        shard[name] = tensor
    yield shard


def _fill(make: Callable[[], Model], paths: Iterable[Path], device: torch.device | str) -> Model:
    """A model made without memory that takes over the tensors of some files, in the dtypes that it was made with."""
    with blank():
        model = make()
    wanted, state = model.state_dict(), {}
    for path in paths:
        for name, tensor in load_tensors(path)[0].items():
            if name not in wanted or tensor.shape != wanted[name].shape:
                raise MinisoraError(f"{path}: tensor {name} {tuple(tensor.shape)} does not fit the preset beside it")
            state[name] = tensor.to(device, wanted[name].dtype)
    if missing := wanted.keys() - state.keys():
        raise MinisoraError(
            f"the weights of {type(model).__name__} lack {min(missing)} and {len(missing) - 1} other tensors: "
            "take a fresh copy of the folder"
        )
    model.load_state_dict(state, assign=True)
    return model
