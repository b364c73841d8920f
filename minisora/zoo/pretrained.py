"""Open weights into our models: official Wan files and diffusers' ones, from a folder or the Hugging Face Hub.

A model is made without memory, and takes over one tensor after the other as they are read: loading never holds more
than the model and one tensor. Every name and shape is checked before the first number is read.
"""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from minisora.core.checkpoint import load_json, open_tensors
from minisora.core.errors import MinisoraError, check_choice, one_line
from minisora.core.runtime import blank
from minisora.models.dit import DiT
from minisora.models.text import TextEncoder
from minisora.models.tokenizer import PretrainedTokenizer, pretrained_tokenizer
from minisora.models.vae import VAE
from minisora.zoo.names import (
    DIT_DIFFUSERS,
    DIT_OFFICIAL,
    TEXT_DIFFUSERS,
    TEXT_OFFICIAL,
    Shape,
    Spelling,
    fold,
    spell,
    vae_diffusers,
    vae_official,
)
from minisora.zoo.presets import Preset

PLACES = {
    "dit": ("transformer/diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors"),
    "vae": ("vae/diffusion_pytorch_model.safetensors", "Wan2.2_VAE.pth", "Wan2.1_VAE.pth"),
    "text": ("text_encoder/model.safetensors", "models_t5_umt5-xxl-enc-bf16.pth"),
    "tokenizer": ("tokenizer/tokenizer.json", "google/umt5-xxl/tokenizer.json"),
}
"""Where each part lies in a downloaded repository: diffusers' place, then the official ones."""
TWIN = "encoder.embed_tokens.weight", "shared.weight"  # one tensor of the text encoder, under either name or both
INDEX = ".index.json"  # beside the place of a file that was split into several

Model = TypeVar("Model", bound=nn.Module)


def load_dit(
    preset: Preset, folder: str | Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> DiT:
    """In bf16 the parameters that `DiT.lower` spares stay in fp32."""
    with blank():
        dit = DiT(preset.dit).lower(dtype)
    return fill(dit, find("dit", folder), {"official Wan": DIT_OFFICIAL, "diffusers": DIT_DIFFUSERS}, device)


def load_vae(
    preset: Preset, folder: str | Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> VAE:
    config = preset.vae
    with blank():
        vae = VAE(config).to(dtype)
    spellings = {"official Wan": vae_official(config), "diffusers": vae_diffusers(config)}
    vae = fill(vae, find("vae", folder), spellings, device)
    vae.mean = torch.tensor(config.mean or [0.0] * config.channels, device=device)  # not in the files
    vae.std = torch.tensor(config.std or [1.0] * config.channels, device=device)
    return vae


def load_text(
    preset: Preset, folder: str | Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> TextEncoder:
    with blank():
        text = TextEncoder(preset.text).to(dtype)
    return fill(text, find("text", folder), {"official Wan": TEXT_OFFICIAL, "diffusers": TEXT_DIFFUSERS}, device)


def load_tokenizer(folder: str | Path) -> PretrainedTokenizer:
    return pretrained_tokenizer(find("tokenizer", folder)[0].parent)


def download(preset: Preset, *parts: str) -> Path:
    """The folder with the open weights of a preset: some parts of `PLACES` or all, from the Hub or its local cache."""
    if preset.weights is None:
        raise MinisoraError("this preset has no open weights: train it, or choose one whose name begins with wan")
    folders = [PLACES[check_choice("part", part, PLACES)][0].split("/")[0] for part in parts or PLACES]
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(preset.weights.hub, allow_patterns=[f"{folder}/*" for folder in folders]))
    except ImportError:
        raise MinisoraError("downloading takes the package huggingface_hub: pip install huggingface_hub") from None
    except Exception as error:  # of many libraries, from HTTP to the disk
        raise MinisoraError(
            f"cannot download {preset.weights.hub} ({type(error).__name__}: {one_line(error)}): "
            "check the network, or download it elsewhere and give its folder"
        ) from None


def find(part: str, folder: str | Path) -> list[Path]:
    """The files that hold one part of a model, in a downloaded repository."""
    for place in PLACES[part]:
        path = Path(folder) / place
        index = path.with_name(path.name + INDEX)
        if index.is_file():
            return _shards(index)
        if path.is_file():
            return [path]
    allowed = " or ".join(PLACES[part])
    raise MinisoraError(f"{folder} holds no weights for the part {part!r}: expected {allowed} in it")


def _shards(index: Path) -> list[Path]:
    content = load_json(index)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names or not all(_plain(name) for name in names.values()):
        raise MinisoraError(f"{index} is not an index of safetensors files: take a fresh copy")
    shards = [index.with_name(name) for name in sorted(set(names.values()))]
    for shard in shards:
        if not shard.is_file():
            raise MinisoraError(f"{shard} is missing, and {index.name} lists it: download it again")
    return shards


def _plain(name: object) -> bool:
    """A file beside the index, and nowhere else on the disk."""
    return isinstance(name, str) and name == Path(name).name and name.endswith(".safetensors")


def fill(
    model: Model, files: list[Path], spellings: Mapping[str, Spelling], device: torch.device | str = "cpu"
) -> Model:
    """Give a model on the meta device its parameters, in the dtypes that it has there, from files in any spelling."""
    wanted = dict(model.named_parameters())
    found = {name: (path, shape) for path in files for name, shape in _shapes(path).items()}
    spelled = _spelling(wanted, found, spellings, files)
    for name, other in spelled.items():
        path, shape = found[other]
        if fold(torch.empty(shape, device="meta"), tuple(wanted[name].shape)) is None:
            raise MinisoraError(
                f"{path}: tensor {other} is {shape}, which cannot become {tuple(wanted[name].shape)} of our {name}: "
                "it was made for another preset"
            )

    ours = {other: name for name, other in spelled.items()}
    state: dict[str, Tensor] = {}
    for path in files:
        for other, tensor in _tensors(path):
            name = ours[other]
            folded = fold(tensor, tuple(wanted[name].shape))
            assert folded is not None
            state[name] = folded.to(device, wanted[name].dtype, copy=True)  # the file may change or go away
    model.load_state_dict(state, strict=False, assign=True)  # buffers are the caller's
    return model


def _spelling(
    wanted: Mapping[str, object], found: Mapping[str, object], spellings: Mapping[str, Spelling], files: list[Path]
) -> dict[str, str]:
    """Our names → the names in the files, in the spelling that agrees with most of them, and with all of them."""
    where = files[0] if len(files) == 1 else files[0].parent
    choices = [spell(wanted, spelling) for spelling in spellings.values()]
    spelled = max(choices, key=lambda choice: len(found.keys() & choice.values()))
    if not found.keys() & spelled.values():
        example = f"for example {min(found)}" if found else "none"
        raise MinisoraError(f"{where}: the names of its tensors ({example}) are not {' or '.join(spellings)} names")
    for name in sorted(found.keys() ^ set(spelled.values())):
        what = "has an unknown" if name in found else "lacks the"
        raise MinisoraError(f"{where} {what} tensor {name}: it is incomplete or was made for another preset")
    return spelled


def _shapes(path: Path) -> dict[str, Shape]:
    if path.suffix == ".pth":
        return {name: tuple(tensor.shape) for name, tensor in _unpickled(path).items()}
    with open_tensors(path) as file:
        return {_canonical(name): tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """One after the other; they lie in the file until they are touched."""
    if path.suffix == ".pth":
        yield from _unpickled(path).items()
        return
    with open_tensors(path) as file:
        for name in file.keys():  # noqa: SIM118
            yield _canonical(name), file.get_tensor(name)


def _canonical(name: str) -> str:
    return TWIN[1] if name == TWIN[0] else name


def _unpickled(path: Path) -> dict[str, Tensor]:
    """The official VAE and text encoder come as pickles. Only tensors are let out of one; no code in it is run."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # whatever a damaged or hostile pickle comes to
        reason = f"{path} cannot be read as tensors alone ({one_line(error)})"
        raise MinisoraError(f"{reason}: take a fresh copy, or diffusers' safetensors of the same model") from None
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise MinisoraError(f"{path} is not a dictionary of tensors: take a fresh copy")
    return content
