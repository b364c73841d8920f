"""The diffusion transformer against diffusers' Wan, on random weights. The real weights have not been loaded."""

import os
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

os.environ["HF_HUB_OFFLINE"] = "1"
diffusers = pytest.importorskip("diffusers", reason="the reference: pip install minisora[parity]")

from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers  # noqa: E402

from minisora.models import dit as dit_module  # noqa: E402
from minisora.models.dit import DiT, DiTConfig  # noqa: E402
from minisora.tokens.packing import Text, Tokens, pack, pack_text, unpack  # noqa: E402
from minisora.zoo.names import DIT_DIFFUSERS, DIT_OFFICIAL, fold, spell  # noqa: E402
from minisora.zoo.presets import preset  # noqa: E402

BOUND, GRADIENT_BOUND = 1e-5, 1e-4
TINY = DiTConfig(channels=4, width=64, heads=2, layers=2, mlp=96, text_width=24, text_length=32)
OTHER = replace(TINY, channels=6, patch=(2, 1, 2), width=96, heads=3, mlp=160, text_length=512, time_features=64)


def reference(config: DiTConfig) -> nn.Module:
    return diffusers.WanTransformer3DModel(
        patch_size=config.patch, num_attention_heads=config.heads, attention_head_dim=config.width // config.heads,
        in_channels=config.channels, out_channels=config.channels, text_dim=config.text_width,
        freq_dim=config.time_features, ffn_dim=config.mlp, num_layers=config.layers, eps=config.eps,
    ).eval()  # fmt: skip


def randomise(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if "norm" in name and name.endswith("weight"):
            nn.init.normal_(parameter, 1.0, 0.3)
        elif parameter.dim() > 1 and "table" not in name:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        else:
            nn.init.normal_(parameter, std=0.3)


def twins(config: DiTConfig) -> tuple[nn.Module, DiT]:
    """The reference with random weights, and ours with the same."""
    torch.manual_seed(0)
    theirs, ours = reference(config), DiT(config)
    randomise(theirs)
    ours.load_state_dict(folded(theirs.state_dict(), ours), strict=True)
    return theirs, ours


def folded(state: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    own = ours.state_dict()
    spelled = spell(own, DIT_DIFFUSERS)
    assert sorted(spelled.values()) == sorted(state)
    result = {name: fold(state[spelled[name]], tuple(tensor.shape)) for name, tensor in own.items()}
    return {name: tensor for name, tensor in result.items() if tensor is not None}  # strict loading misses the others


def padded(prompts: list[Tensor], length: int) -> Tensor:
    return torch.stack([F.pad(prompt, (0, 0, 0, length - len(prompt))) for prompt in prompts])


def apart(found: Tensor, wanted: Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()


def inputs(config: DiTConfig, *size: int) -> tuple[Tensor, list[Tensor]]:
    """Two clips of latents, and prompts of different lengths."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, config.channels, *size, generator=generator)
    return x, [torch.randn(length, config.text_width, generator=generator) for length in (7, 2)]


def velocity(dit: DiT, tokens: Tokens, t: Tensor, text: Text) -> Tensor:
    return torch.stack(unpack(tokens.with_x(dit(tokens, t, text)), dit.config.patch))


@pytest.mark.parametrize(
    "config, size", [(TINY, (3, 10, 6)), (TINY, (1, 2, 2)), (TINY, (5, 6, 14)), (OTHER, (6, 5, 6))]
)
@torch.no_grad()
def test_velocity_is_the_reference_s(config: DiTConfig, size: tuple[int, int, int]) -> None:
    theirs, ours = twins(config)
    x, prompts = inputs(config, *size)
    steps = torch.tensor([637.0, 41.0])
    wanted = theirs(x, steps, padded(prompts, config.text_length)).sample
    tokens = pack(list(x), config.patch)
    t = (steps.double() / 1000).repeat_interleave(tokens.lengths[0])
    assert apart(velocity(ours, tokens, t, pack_text(prompts, config.text_length)), wanted) < BOUND


@torch.no_grad()
def test_a_time_for_each_token_is_the_reference_s() -> None:
    theirs, ours = twins(TINY)
    x, prompts = inputs(TINY, 3, 10, 6)
    tokens = pack(list(x), TINY.patch)
    steps = torch.randint(0, 1000, (2, tokens.lengths[0]), generator=torch.Generator().manual_seed(2)).float()
    steps[:, :15] = 0.0  # the first latent is known
    wanted = theirs(x, steps, padded(prompts, TINY.text_length)).sample
    found = velocity(ours, tokens, steps.flatten().double() / 1000, pack_text(prompts, TINY.text_length))
    assert apart(found, wanted) < BOUND


def test_gradients_are_the_reference_s() -> None:
    theirs, ours = twins(TINY)
    x, prompts = inputs(TINY, 3, 10, 6)
    target = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    steps = torch.tensor([637.0, 41.0])

    theirs_x = x.clone().requires_grad_()
    (theirs(theirs_x, steps, padded(prompts, TINY.text_length)).sample * target).sum().backward()
    ours_x = x.clone().requires_grad_()
    tokens = pack(list(ours_x), TINY.patch)
    t = (steps.double() / 1000).repeat_interleave(tokens.lengths[0])
    (velocity(ours, tokens, t, pack_text(prompts, TINY.text_length)) * target).sum().backward()

    assert theirs_x.grad is not None and ours_x.grad is not None
    assert apart(ours_x.grad, theirs_x.grad) < GRADIENT_BOUND
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    wanted = folded({name: grad for name, grad in gradients.items() if grad is not None}, ours)
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        assert apart(parameter.grad, wanted[name]) < GRADIENT_BOUND, name


# ---- what must not pass


def swap_shift_and_scale(patch: pytest.MonkeyPatch, tokens: Tokens, text: Text) -> tuple[Tokens, Text]:
    modulate = dit_module.modulate
    patch.setattr(dit_module, "modulate", lambda x, shift, scale, *rest: modulate(x, scale, shift, *rest))
    return tokens, text


def split_heads_in_halves(patch: pytest.MonkeyPatch, tokens: Tokens, text: Text) -> tuple[Tokens, Text]:
    rotate = dit_module.rotate
    halves: Callable[[Tensor], Tensor] = lambda x: x.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)  # noqa: E731
    patch.setattr(dit_module, "rotate", lambda x, turns: rotate(halves(x), turns))
    return tokens, text


def swap_height_and_width(patch: pytest.MonkeyPatch, tokens: Tokens, text: Text) -> tuple[Tokens, Text]:
    return replace(tokens, pos=tokens.pos[:, [0, 2, 1]]), text


def drop_the_padding(patch: pytest.MonkeyPatch, tokens: Tokens, text: Text) -> tuple[Tokens, Text]:
    return tokens, Text(text.x[text.bias == 0], tuple(rows - 1 for rows in text.lengths), text.bias[text.bias == 0])


def one_row_of_padding(patch: pytest.MonkeyPatch, tokens: Tokens, text: Text) -> tuple[Tokens, Text]:
    return tokens, replace(text, bias=torch.zeros_like(text.bias))


def take_the_exact_gelu(patch: pytest.MonkeyPatch, tokens: Tokens, text: Text) -> tuple[Tokens, Text]:
    patch.setattr(dit_module, "F", SimpleNamespace(gelu=lambda x, approximate: F.gelu(x), silu=F.silu))
    return tokens, text


@pytest.mark.parametrize(
    "damage",
    [
        swap_shift_and_scale, split_heads_in_halves, swap_height_and_width, drop_the_padding, one_row_of_padding,
        take_the_exact_gelu,
    ],
)  # fmt: skip
@torch.no_grad()
def test_a_wrong_detail_is_noticed(damage: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = twins(TINY)
    x, prompts = inputs(TINY, 3, 10, 6)
    wanted = theirs(x, torch.tensor([637.0, 637.0]), padded(prompts, TINY.text_length)).sample
    tokens, text = damage(monkeypatch, pack(list(x), TINY.patch), pack_text(prompts, TINY.text_length))
    assert apart(velocity(ours, tokens, torch.tensor(0.637, dtype=torch.float64), text), wanted) > 2 * BOUND


# ---- names


@pytest.mark.parametrize("name, tensors", [("wan2.1-t2v-1.3b", 825), ("wan2.2-ti2v-5b", 825), ("wan2.1-t2v-14b", 1095)])
def test_full_size_names_and_shapes_are_a_bijection(name: str, tensors: int) -> None:
    with torch.device("meta"):
        theirs, ours = reference(preset(name).dit).state_dict(), DiT(preset(name).dit)
    assert len(theirs) == tensors
    renamed = folded(theirs, ours)
    assert {name: tensor.shape for name, tensor in renamed.items()} == {
        name: tensor.shape for name, tensor in ours.state_dict().items()
    }


def test_official_names_are_what_the_reference_s_converter_takes() -> None:
    names = DiT(TINY).state_dict()
    official, theirs = spell(names, DIT_OFFICIAL), spell(names, DIT_DIFFUSERS)
    assert {"head.modulation", "blocks.1.self_attn.o.weight", "blocks.0.norm3.bias"} <= set(official.values())
    converted = convert_wan_transformer_to_diffusers({other: name for name, other in official.items()})
    assert converted == {other: name for name, other in theirs.items()}
