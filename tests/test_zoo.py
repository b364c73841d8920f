"""Presets fit together and have the sizes they claim; weights in other spellings load bit for bit, or not at all."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from minisora.core.checkpoint import save_json, save_tensors
from minisora.core.errors import MinisoraError
from minisora.models.dit import FP32, DiT, DiTConfig
from minisora.models.text import TextConfig, TextEncoder
from minisora.models.vae import VAE, VAEConfig
from minisora.tokens.packing import pack, pack_text
from minisora.zoo import names, pretrained
from minisora.zoo.names import fold, spell
from minisora.zoo.presets import PRESETS, Preset, parameters, preset

SHORTCUTS = replace(
    preset("tiny"),
    vae=VAEConfig(channels=4, base=4, decoder_base=6, patch=2, shortcuts=True, mean=(0.1,) * 4, std=(2.0,) * 4),
    dit=DiTConfig(channels=4, patch=(1, 2, 3), width=48, heads=2, layers=2, mlp=64, text_width=32, text_length=16),
    text=TextConfig(vocabulary=99, width=32, heads=2, head_width=8, mlp=48, layers=2),
)
PLAIN = replace(SHORTCUTS, vae=VAEConfig(channels=4, base=4, stages=(1, 2, 4), time=(True, True), blocks=1))
LOAD = {"dit": pretrained.load_dit, "vae": pretrained.load_vae, "text": pretrained.load_text}
CASES = [("dit", SHORTCUTS), ("vae", SHORTCUTS), ("vae", PLAIN), ("text", SHORTCUTS)]
LAYOUTS = ("diffusers", "official")
OFFICIAL = {"dit": "diffusion_pytorch_model.safetensors", "vae": "Wan2.1_VAE.pth", "text": pretrained.PLACES["text"][1]}


def build(part: str, config: Preset, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    models = {"dit": lambda: DiT(config.dit), "vae": lambda: VAE(config.vae), "text": lambda: TextEncoder(config.text)}
    model = models[part]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) / 4 + 0.1)
    return model


def spelling(part: str, layout: str, config: Preset) -> names.Spelling:
    if part == "vae":
        return names.vae_diffusers(config.vae) if layout == "diffusers" else names.vae_official(config.vae)
    return getattr(names, f"{part.upper()}_{layout.upper()}")


def unfold(name: str, tensor: Tensor, model: nn.Module) -> Tensor:
    """The shape that a parameter of ours has in their files."""
    if isinstance(model, DiT):
        t, h, w = model.config.patch
        if name == "embed.weight":
            return rearrange(tensor, "o (t h w c) -> o c t h w", t=t, h=h, w=w)
        return tensor[None] if name.endswith("table") else tensor
    if isinstance(model, VAE):
        if "norm" in name:
            return tensor[:, None, None] if "attention" in name else tensor[:, None, None, None]
        return tensor[:, :, None, None] if "attention" in name and tensor.dim() == 2 else tensor
    return tensor


def theirs(part: str, layout: str, config: Preset, model: nn.Module) -> dict[str, Tensor]:
    parameters = dict(model.named_parameters())
    spelled = spell(parameters, spelling(part, layout, config))
    return {spelled[name]: unfold(name, tensor.detach(), model) for name, tensor in parameters.items()}


def publish(part: str, layout: str, folder: Path, tensors: dict[str, Tensor], shards: int = 1) -> Path:
    """Write the files of a repository; returns the one to damage."""
    path = folder / (pretrained.PLACES[part][0] if layout == "diffusers" else OFFICIAL[part])
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pth":
        torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    elif shards == 1:
        save_tensors(path, tensors)
    else:
        files = [path.with_name(f"{path.stem}-{n + 1:05}-of-{shards:05}.safetensors") for n in range(shards)]
        where = {name: files[n % shards] for n, name in enumerate(sorted(tensors))}
        for file in files:
            save_tensors(file, {name: tensor for name, tensor in tensors.items() if where[name] == file})
        save_json(f"{path}.index.json", {"metadata": {}, "weight_map": {name: p.name for name, p in where.items()}})
        return files[0]
    return path


@torch.no_grad()
def answer(model: nn.Module) -> Tensor:
    """What a model says to some fixed input."""
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(5))
    if isinstance(model, DiT):
        tokens = pack([draw(4, 3, 4, 6)], model.config.patch)
        return model(tokens, torch.tensor(0.7), pack_text([draw(3, 32)], 16))
    if isinstance(model, VAE):
        _, side, _ = model.config.compression
        return model.decode(model.encode(draw(1, 3, 5, side, 2 * side)))
    return torch.cat(model([[3, 7, 1], [1]]))


# ---- weights there and back


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("part, config", CASES, ids=["dit", "vae-2.2", "vae-2.1", "text"])
def test_loading_gives_the_same_parameters_and_outputs(part: str, config: Preset, layout: str, tmp_path: Path) -> None:
    model = build(part, config)
    path = publish(part, layout, tmp_path, theirs(part, layout, config, model))
    loaded = LOAD[part](config, tmp_path)
    path.write_bytes(b"\0" * path.stat().st_size)  # what is loaded no longer hangs on the file
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert torch.equal(answer(loaded), answer(model))


@pytest.mark.parametrize("part, layout", [("dit", "official"), ("dit", "diffusers"), ("text", "diffusers")])
def test_a_model_in_several_files(part: str, layout: str, tmp_path: Path) -> None:
    model = build(part, SHORTCUTS)
    publish(part, layout, tmp_path, theirs(part, layout, SHORTCUTS, model), shards=3)
    assert torch.equal(answer(LOAD[part](SHORTCUTS, tmp_path)), answer(model))


def test_the_dit_in_bf16_is_what_lower_makes_of_it(tmp_path: Path) -> None:
    model = build("dit", SHORTCUTS)
    publish("dit", "official", tmp_path, theirs("dit", "official", SHORTCUTS, model))
    loaded = pretrained.load_dit(SHORTCUTS, tmp_path, torch.bfloat16)
    assert isinstance(model, DiT)
    exact, lowered = dict(model.state_dict()), build("dit", SHORTCUTS).to(torch.bfloat16).state_dict()
    for name, tensor in loaded.state_dict().items():
        wanted = exact[name] if FP32.search(name) else lowered[name]
        assert tensor.dtype == wanted.dtype and torch.equal(tensor, wanted), name


@pytest.mark.parametrize("part", ["vae", "text"])
def test_other_models_in_bf16(part: str, tmp_path: Path) -> None:
    publish(part, "diffusers", tmp_path, theirs(part, "diffusers", SHORTCUTS, build(part, SHORTCUTS)))
    loaded = LOAD[part](SHORTCUTS, tmp_path, torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("keep", ["shared.weight", "encoder.embed_tokens.weight", "both"])
def test_the_embedding_under_either_name_or_both(keep: str, tmp_path: Path) -> None:
    model = build("text", SHORTCUTS)
    tensors = theirs("text", "diffusers", SHORTCUTS, model)
    embedding = tensors.pop("shared.weight")
    kept = ("shared.weight", "encoder.embed_tokens.weight") if keep == "both" else (keep,)
    publish("text", "diffusers", tmp_path, tensors | {name: embedding.clone() for name in kept})
    assert torch.equal(answer(pretrained.load_text(SHORTCUTS, tmp_path)), answer(model))


MEASURE = """
import sys
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
from minisora.core.checkpoint import load_tensors
from minisora.zoo import pretrained
from tests.test_zoo import LARGE

def memory():  # without the pages of files, which the system takes back when it likes
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("RssAnon"))

peak, fold = 0, pretrained.fold
def watched(tensor, shape):
    global peak
    peak = max(peak, memory())
    return fold(tensor, shape)
pretrained.fold = watched
before = memory()
dit = pretrained.load_dit(LARGE, {folder!r})
loaded = max(peak, memory()) - before
state = load_tensors({folder!r} + "/diffusion_pytorch_model.safetensors")
print(loaded, memory() - before)
"""
LARGE = replace(SHORTCUTS, dit=replace(SHORTCUTS.dit, width=512, heads=8, layers=3, mlp=2048))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured on Linux")
def test_loading_takes_no_more_memory_than_the_model_and_one_tensor(tmp_path: Path) -> None:
    model = build("dit", LARGE)
    publish("dit", "official", tmp_path, theirs("dit", "official", LARGE, model))
    size = sum(4 * parameter.numel() for parameter in model.parameters())
    script = MEASURE.format(root=str(Path(__file__).parents[1]), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    one, two = (int(number) / size for number in done.stdout.split())
    assert 0.9 < one < 1.3, "the model, its largest tensor (0.08) and the library's own pages"
    assert two > 1.8, "a second copy would be seen"


# ---- what is refused, in one line


def refused(part: str, folder: Path, match: str, config: Preset = SHORTCUTS) -> None:
    with pytest.raises(MinisoraError, match=match) as caught:
        LOAD[part](config, folder)
    assert len(str(caught.value).splitlines()) == 1


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    refused("dit", tmp_path, "holds no weights for the part 'dit': expected transformer/")
    refused("vae", tmp_path / "nowhere", "Wan2.2_VAE.pth")
    with pytest.raises(MinisoraError, match="tokenizer"):
        pretrained.load_tokenizer(tmp_path)


@pytest.mark.parametrize("part, config", CASES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_wrong_tensor_is_named(part: str, config: Preset, layout: str, tmp_path: Path) -> None:
    tensors = theirs(part, layout, config, build(part, config))
    victim = sorted(tensors)[3]
    sound = tuple(tensors[victim].shape)
    name = re.escape(victim)

    publish(part, layout, tmp_path, {**tensors, "extra": torch.ones(2)})
    refused(part, tmp_path, "has an unknown tensor extra:", config)
    publish(part, layout, tmp_path, {**tensors, victim: torch.ones(7, *sound)})
    refused(part, tmp_path, rf"tensor {name} is {re.escape(str((7, *sound)))}, which cannot become \(", config)
    del tensors[victim]
    publish(part, layout, tmp_path, tensors)
    refused(part, tmp_path, f"lacks the tensor {name}:", config)


def test_weights_of_another_preset_are_refused(tmp_path: Path) -> None:
    publish("dit", "diffusers", tmp_path, theirs("dit", "diffusers", SHORTCUTS, build("dit", SHORTCUTS)))
    wider = replace(SHORTCUTS, dit=replace(SHORTCUTS.dit, width=96))
    refused("dit", tmp_path, r"is \(.*48.*\), which cannot become \(.*96.*\)", wider)
    deeper = replace(SHORTCUTS, dit=replace(SHORTCUTS.dit, layers=3))
    refused("dit", tmp_path, r"lacks the tensor blocks\.2\.", deeper)


def test_an_unknown_layout_is_refused(tmp_path: Path) -> None:
    publish("dit", "diffusers", tmp_path, {"model.diffusion.a": torch.ones(2)})
    refused("dit", tmp_path, r"for example model\.diffusion\.a\) are not official Wan or diffusers names")
    publish("vae", "official", tmp_path, {})
    refused("vae", tmp_path, r"the names of its tensors \(none\) are not")


@pytest.mark.parametrize("part, layout", [("dit", "diffusers"), ("text", "official"), ("vae", "official")])
@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"\x00" * 200, lambda data: data[:9]]
)
def test_a_damaged_file_is_refused(part: str, layout: str, damage, tmp_path: Path) -> None:
    path = publish(part, layout, tmp_path, theirs(part, layout, SHORTCUTS, build(part, SHORTCUTS)))
    path.write_bytes(damage(path.read_bytes()))
    refused(part, tmp_path, "take a fresh copy|header is missing or cut short")


def test_a_pickle_may_hold_tensors_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / OFFICIAL["vae"]
    torch.save({"weight": partial(print, "run")}, path)
    refused("vae", tmp_path, "cannot be read as tensors alone")
    for content in ([torch.ones(2)], {"a": 3}, {1: torch.ones(2)}):
        torch.save(content, path)
        refused("vae", tmp_path, "is not a dictionary of tensors")


def test_an_index_is_not_believed(tmp_path: Path) -> None:
    tensors = theirs("dit", "official", SHORTCUTS, build("dit", SHORTCUTS))
    shard = publish("dit", "official", tmp_path, tensors, shards=2)
    shard.rename(tmp_path / "elsewhere")
    refused("dit", tmp_path, f"{shard.name} is missing, and .*index.json lists it")
    index = tmp_path / f"{OFFICIAL['dit']}.index.json"
    for content in ({}, [], {"weight_map": {}}, {"weight_map": {"a": 3}}, {"weight_map": {"a": "../x.safetensors"}}):
        index.write_text(json.dumps(content))
        refused("dit", tmp_path, "is not an index of safetensors files")
    index.write_text("{")
    refused("dit", tmp_path, "is not valid JSON")


def test_downloading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    asked = []

    def snapshot(repository: str, allow_patterns: list[str]) -> str:
        asked.append((repository, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert pretrained.download(preset("wan2.1-t2v-1.3b"), "vae", "tokenizer") == tmp_path
    assert asked == [("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", ["vae/*", "tokenizer/*"])]

    def fail(repository: str, allow_patterns: list[str]) -> str:
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(MinisoraError, match=r"cannot download Wan-AI/.*-5B-Diffusers \(ConnectionError: no network\)"):
        pretrained.download(preset("wan2.2-ti2v-5b"))
    with pytest.raises(MinisoraError, match="has no open weights"):
        pretrained.download(preset("toy"))
    with pytest.raises(MinisoraError, match="unknown part 'unet': choose one of dit, vae"):
        pretrained.download(preset("wan2.2-ti2v-5b"), "unet")


# ---- names


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("part, config", CASES)
def test_no_two_parameters_share_a_name(part: str, config: Preset, layout: str) -> None:
    own = dict(build(part, config).named_parameters())
    spelled = spell(own, spelling(part, layout, config))
    assert len(set(spelled.values())) == len(own)


def test_official_names_without_an_oracle_are_the_published_ones() -> None:
    with torch.device("meta"):
        text, vae = TextEncoder(preset("wan2.2-ti2v-5b").text), VAE(preset("wan2.2-ti2v-5b").vae)
    block = ["norm1", "norm2", "attn.q", "attn.k", "attn.v", "attn.o", "ffn.gate.0", "ffn.fc1", "ffn.fc2"]
    block += ["pos_embedding.embedding"]
    wanted = {f"blocks.{n}.{name}.weight" for n in range(24) for name in block}
    found = set(spell(text.state_dict(), names.TEXT_OFFICIAL).values())
    assert found == wanted | {"token_embedding.weight", "norm.weight"}
    found = set(spell(dict(vae.named_parameters()), names.vae_official(vae.config)).values())
    assert found > {
        "encoder.downsamples.0.downsamples.2.resample.1.weight", "encoder.downsamples.1.downsamples.0.shortcut.bias",
        "encoder.downsamples.2.downsamples.2.time_conv.weight", "encoder.downsamples.3.downsamples.1.residual.6.bias",
        "decoder.upsamples.0.upsamples.3.time_conv.bias", "decoder.upsamples.2.upsamples.3.resample.1.bias",
        "decoder.upsamples.3.upsamples.0.residual.0.gamma", "decoder.middle.1.norm.gamma", "conv1.weight",
        "encoder.middle.2.residual.3.gamma", "decoder.head.2.weight", "encoder.conv1.weight", "conv2.bias",
    }  # fmt: skip


def test_folding_refuses_what_is_not_the_same_tensor() -> None:
    ours = torch.arange(2 * 12).view(2, 12)
    conv = rearrange(ours, "o (t h w c) -> o c t h w", t=1, h=2, w=2)
    assert torch.equal(fold(conv, (2, 12)), ours)  # type: ignore[arg-type]
    for shape, wanted in [((2, 3, 4), (3, 4)), ((4, 1, 2, 1), (4,)), ((4, 3), (3, 4)), ((12,), (3, 4)), ((), (1,))]:
        assert fold(torch.empty(shape), wanted) is None
    assert fold(torch.empty(2, 3, 1, 2, 1), (2, 12)) is None


# ---- presets


def test_every_preset_fits_together() -> None:
    for name, each in PRESETS.items():
        wanted = ["vae", "text", "dit"] if name in ("tiny", "toy", "small") else ["vae", "dit"]
        assert list(each.recipes) == wanted, name
        _, side, _ = each.vae.compression
        patch = each.dit.patch[1] * side
        assert name == "sora-1080p" or (each.size[1] % patch, each.size[2] % patch) == (0, 0), name
        assert (each.weights is not None) == name.startswith("wan")
    assert preset("wan2.1-t2v-1.3b").grid == (21, 30, 52)
    assert preset("sora-1080p").grid == (361, 34, 60)  # 1088 rows, of which 1080 are kept


def test_presets_that_do_not_fit_are_refused() -> None:
    for change in ({"size": (10, 32, 32)}, {"text": TextConfig(width=77)}, {"vae": VAEConfig(channels=5)}):
        with pytest.raises(MinisoraError, match="preset: "):
            replace(SHORTCUTS, **change)
    with pytest.raises(MinisoraError, match=r"unknown preset 'huge': choose one of tiny, toy"):
        preset("huge")


# 14B and the 2.2 VAE and 5B in millions are our own count, which the bijections with the reference's shapes confirm
@pytest.mark.parametrize(
    "name, part, millions, tensors",
    [
        ("wan2.1-t2v-1.3b", "dit", 1419.0, 825), ("wan2.1-t2v-14b", "dit", 14288.5, 1095),
        ("wan2.1-t2v-1.3b", "vae", 126.9, 194), ("wan2.2-ti2v-5b", "vae", 704.7, 196),
        ("wan2.1-t2v-1.3b", "text", 5680.9, 242), ("wan2.2-ti2v-5b", "dit", 4999.8, 825),
    ],
)  # fmt: skip
def test_full_size_models_have_their_sizes(name: str, part: str, millions: float, tensors: int) -> None:
    assert parameters(preset(name))[part] / 1e6 == pytest.approx(millions, abs=0.1)
    makers = {"dit": DiT, "vae": VAE, "text": TextEncoder}
    with torch.device("meta"):
        model = makers[part](getattr(preset(name), part))
    assert len(list(model.parameters())) == tensors


def test_toy_presets_stay_small() -> None:
    assert sum(parameters(preset("tiny")).values()) < 2e6
    assert sum(parameters(preset("toy")).values()) < 16e6


@pytest.mark.parametrize("name", ["tiny", "toy"])
@torch.no_grad()
def test_toy_presets_run(name: str) -> None:
    each = preset(name)
    vae, dit, text = VAE(each.vae), DiT(each.dit), TextEncoder(each.text)
    z = vae.encode(torch.rand(1, 3, *each.size) * 2 - 1)
    tokens = pack(list(z), each.dit.patch)
    assert tokens.grids == (each.grid,)
    prompt = pack_text(text([[5, 6, 1]]), each.dit.text_length)
    assert dit(tokens, torch.tensor(0.5), prompt).shape == tokens.x.shape
    assert vae.decode(z).shape == (1, 3, *each.size)
