"""The transformer: a packed batch is its clips one by one, time belongs to tokens, and rounding stays small."""

import math
from collections import Counter, defaultdict
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from minisora.core.errors import MinisoraError
from minisora.diffusion.flow import clean
from minisora.models.dit import FP32, DiT, DiTConfig, finer
from minisora.nn.modulation import Times, gated, modulate, time_features
from minisora.nn.norm import RMSNorm
from minisora.tokens.packing import Text, Tokens, pack, pack_text, unpack
from minisora.tokens.patches import Grid, patchify, unpatchify

CONFIG = DiTConfig(
    channels=3, width=48, heads=3, layers=3, mlp=64, text_width=10, text_length=9, time_features=32, recompute=False
)
SIZES = [(3, 4, 6), (1, 4, 4), (1, 4, 4), (2, 8, 4), (3, 4, 6)]
"""Latents of clips and images, neighbours of one size among them."""
ROWS = [4, 0, 9, 1, 0]
"""Rows of their prompts: dropped ones, and one that is as long as allowed."""
EVERYWHERE = ("auto", "runs", "loop", "mask")
MORE = {"places": True, "pooled": True}
"""What a token may be told before the first block."""


def built(seed: int = 0, **changes) -> DiT:
    """Every parameter random, norms around 1: a fresh table of zeros would hide what it does."""
    model = DiT(replace(CONFIG, **changes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 0.1 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5
            parameter.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, spread, generator=generator)
    return model


Clip = tuple[Tensor, Tensor, Tensor, tuple[int, int, int], Tensor]
"""Tokens, positions, times, grid, prompt."""


def clips() -> list[Clip]:
    """A time for each clip. In one the first frame is known, to another a known frame is appended, both at t = 0."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for index, (size, rows) in enumerate(zip(SIZES, ROWS, strict=True)):
        tokens = pack([torch.randn(CONFIG.channels, *size, generator=generator)], CONFIG.patch)
        x, pos, t = tokens.x, tokens.pos, torch.full((len(tokens.x),), 0.15 + 0.2 * index)
        if index == 0:
            t[tokens.pos[:, 0] == 0] = 0.0
        if index == 3:
            image = tokens.pos[:, 0] == 0
            x = torch.cat([x, torch.randn(x[image].shape, generator=generator)])
            pos = torch.cat([pos, pos[image] + torch.tensor([1.125, 0.0, 0.0])])
            t = torch.cat([t, torch.zeros(int(image.sum()))])
        prompt = torch.randn(rows, CONFIG.text_width, generator=generator)
        made.append((x, pos, t, tokens.grids[0], prompt))
    return made


def together(some: list[Clip]) -> tuple[Tokens, Tensor, Text]:
    x, pos, t, grids, prompts = zip(*some, strict=True)
    tokens = Tokens(torch.cat(x), torch.cat(pos), grids, tuple(map(len, x)))
    return tokens, torch.cat(t), pack_text(prompts, CONFIG.text_length)


def loss(model: DiT, some: list[Clip], weights: Tensor) -> Tensor:
    return (model(*together(some)) * weights).sum()


def all_gradients(model: DiT) -> dict[str, Tensor]:
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    assert all(gradient is not None and gradient.any() for gradient in found.values())
    return {name: gradient for name, gradient in found.items() if gradient is not None}


def relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).double().norm() / b.double().norm()).item()


# ---- packing


@pytest.mark.parametrize("told", [{}, MORE])
@pytest.mark.parametrize("backend", EVERYWHERE)
def test_a_packed_batch_is_its_clips_one_by_one(backend: str, told: dict[str, bool]) -> None:
    model = built(backend=backend, **told)
    with torch.no_grad():
        packed = model(*together(clips()))
        alone = torch.cat([model(*together([clip])) for clip in clips()])
    assert relative(packed, alone) < 1e-5
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("told", [{}, MORE])
@pytest.mark.parametrize("backend", EVERYWHERE)
def test_the_gradients_of_a_packed_batch_are_the_sum_of_its_clips(backend: str, told: dict[str, bool]) -> None:
    model, plain = built(backend=backend, **told), built(**told)
    tokens = together(clips())[0]
    weights = torch.randn(tokens.x.shape, generator=torch.Generator().manual_seed(2))
    loss(model, clips(), weights).backward()
    packed = all_gradients(model)
    for clip, part in zip(clips(), weights.split(tokens.lengths), strict=True):
        loss(plain, [clip], part).backward()
    alone = all_gradients(plain)
    assert packed.keys() == alone.keys()
    for name, gradient in packed.items():
        assert relative(gradient, alone[name]) < 2e-5, name


def test_clips_can_come_in_any_order() -> None:
    model, some, order = built(), clips(), [3, 0, 4, 2, 1]
    lengths = together(some)[0].lengths
    with torch.no_grad():
        before = model(*together(some)).split(lengths)
        after = model(*together([some[i] for i in order])).split([lengths[i] for i in order])
    for place, index in enumerate(order):
        torch.testing.assert_close(after[place], before[index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("told", [{}, MORE])
@pytest.mark.parametrize("changed", range(len(SIZES)))
def test_a_clip_sees_its_own_tokens_times_and_prompt_and_no_others(changed: int, told: dict[str, bool]) -> None:
    model, some = built(**told), clips()
    lengths = together(some)[0].lengths
    with torch.no_grad():
        before = model(*together(some)).split(lengths)
        x, pos, t, grid, prompt = some[changed]
        longer = prompt + 3 if len(prompt) else torch.ones(2, CONFIG.text_width)
        for clip in [(x + 3, pos, t, grid, prompt), (x, pos, (t + 0.5) % 1, grid, prompt), (x, pos, t, grid, longer)]:
            after = model(*together([*some[:changed], clip, *some[changed + 1 :]])).split(lengths)
            for index, pair in enumerate(zip(after, before, strict=True)):
                assert (relative(*pair) > 1e-3) if index == changed else (relative(*pair) < 1e-6)


def test_every_linear_layer_runs_once_over_the_whole_batch() -> None:
    model, rows = built(), defaultdict[str, list[int]](list)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda _, given, __, name=name: rows[name].append(len(given[0])))
    tokens, t, text = together(clips())
    model(tokens, t, text)
    layers = {name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    assert len(layers) == 7 + 10 * CONFIG.layers and rows.keys() == layers
    runs = len(torch.unique_consecutive(t))
    assert runs == 7
    for name, seen in rows.items():
        of_text = "embed_text" in name or name.endswith(("read.k", "read.v"))
        of_time = "embed_time" in name or name == "modulation"
        assert seen == [len(text.x) if of_text else runs if of_time else len(tokens.x)], name


def test_only_the_distance_between_tokens_counts() -> None:
    model, (tokens, t, text) = built(), together(clips())
    moved = replace(tokens, pos=tokens.pos + torch.tensor([3.25, -2.0, 11.0]))
    stretched = replace(tokens, pos=tokens.pos * 1.5)
    with torch.no_grad():
        here = model(tokens, t, text)
        assert relative(model(moved, t, text), here) < 1e-5
        assert relative(model(stretched, t, text), here) > 1e-3


def test_a_token_can_be_told_where_it_stands() -> None:
    model, (tokens, t, text) = built(places=True), together(clips())
    moved = replace(tokens, pos=tokens.pos + torch.tensor([0.0, 0.0, 2.0]))
    silent = deepcopy(model)
    with torch.no_grad():
        for parameter in silent.embed_place.parameters():
            parameter.zero_()
        assert relative(model(moved, t, text), model(tokens, t, text)) > 1e-3
        assert relative(silent(moved, t, text), silent(tokens, t, text)) < 1e-5
        plain = built()
        plain.load_state_dict({name: weight for name, weight in silent.state_dict().items() if "place" not in name})
        assert torch.equal(silent(tokens, t, text), plain(tokens, t, text))


def test_a_pooled_prompt_counts_where_nobody_reads_it_and_word_order_does_not() -> None:
    model, (tokens, t, text) = built(pooled=True), together(clips()[:1])
    with torch.no_grad():
        for block in model.blocks:
            block.read.out.weight.zero_()
        here = model(tokens, t, text)
        assert relative(model(tokens, t, replace(text, x=text.x.flip(0))), here) < 1e-5
        assert relative(model(tokens, t, replace(text, x=text.x + 1)), here) > 1e-3
        model.embed_prompt.weight.zero_()
        assert torch.equal(model(tokens, t, text), model(tokens, t, replace(text, x=text.x + 1)))


# ---- time


def test_one_time_for_all_is_that_time_for_each() -> None:
    model, (tokens, _, text) = built(), together(clips())
    with torch.no_grad():
        scalar = model(tokens, torch.tensor(0.3), text)
        assert torch.equal(scalar, model(tokens, torch.full((len(tokens.x),), 0.3), text))
        assert relative(model(tokens, torch.tensor(0.31), text), scalar) > 1e-4


times = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=24).map(torch.tensor)


@given(times)
def test_times_are_runs_of_equal_ones(t: Tensor) -> None:
    runs = Times.of(t, len(t))
    counts = torch.tensor(runs.counts)
    assert torch.equal(runs.values.repeat_interleave(counts), t) and (counts > 0).all()
    assert not (runs.values.diff() == 0).any(), "neighbours that are equal are one run"
    if runs.index is None:
        assert len(set(runs.counts)) == 1
    else:
        assert torch.equal(runs.values[runs.index], t)
    one = Times.of(t[0], len(t))
    assert torch.equal(one.values, t[:1]) and one.counts == (len(t),)


@given(times, st.booleans())
def test_modulation_of_runs_is_modulation_of_each_token(t: Tensor, half: bool) -> None:
    runs, generator = Times.of(t, len(t)), torch.Generator().manual_seed(0)
    x, update = torch.randn(2, len(t), 6, generator=generator)
    shift, scale, gate = torch.randn(3, len(runs.values), 6, generator=generator)
    which = torch.arange(len(runs.values)).repeat_interleave(torch.tensor(runs.counts))
    normed = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(modulate(x, shift, scale, runs, 1e-6), normed * (1 + scale[which]) + shift[which])
    torch.testing.assert_close(gated(x, update, gate, runs), x + gate[which] * update)
    if half:
        low = gated(x.bfloat16(), update.bfloat16(), gate, runs)
        assert low.dtype == torch.bfloat16 and relative(low.float(), x + gate[which] * update) < 0.01
        low = modulate(x.bfloat16(), shift, scale, runs, 1e-6)
        assert low.dtype == torch.bfloat16


@given(st.floats(0, 1), st.sampled_from([2, 8, 256]))
def test_time_features_are_cosines_then_sines_of_a_thousand_times_t(t: float, width: int) -> None:
    features = time_features(torch.tensor([t, 0.0], dtype=torch.float64), width)
    angles = [1000 * t / 10000 ** (i / (width // 2)) for i in range(width // 2)]
    expected = [math.cos(angle) for angle in angles] + [math.sin(angle) for angle in angles]
    torch.testing.assert_close(features[0], torch.tensor(expected), rtol=0, atol=1e-6)
    assert features[1].tolist() == [1.0] * (width // 2) + [0.0] * (width // 2)
    assert features.dtype == torch.float32


# ---- memory and precision


def test_recomputing_changes_nothing_but_memory() -> None:
    weights = torch.randn(together(clips())[0].x.shape, generator=torch.Generator().manual_seed(2))
    results, ran = [], Counter()
    for recompute in (False, True):
        model = built(recompute=recompute)
        model.blocks[0].register_forward_pre_hook(lambda *_, key=recompute: ran.update([key]))
        value = loss(model, clips(), weights)
        value.backward()
        results.append((value.detach(), all_gradients(model)))
    (plain, gradients), (again, recomputed) = results
    assert ran == {False: 1, True: 2}
    assert torch.equal(plain, again)
    assert all(torch.equal(gradients[name], recomputed[name]) for name in gradients)


def halved(tokens: Tokens, text: Text) -> tuple[Tokens, Text]:
    return tokens.with_x(tokens.x.bfloat16()), replace(text, x=text.x.bfloat16())


def test_a_lowered_model_keeps_time_and_tables_in_fp32() -> None:
    model, low = built(), built().lower(torch.bfloat16)
    kept = {name for name, parameter in low.named_parameters() if parameter.dtype == torch.float32}
    assert kept == {name for name, _ in model.named_parameters() if FP32.search(name)}
    parts = {name.split(".")[-2 if name.endswith(("weight", "bias")) else -1] for name in kept}
    assert parts == {"0", "2", "modulation", "norm_text", "table"}, "the time MLP, the tables, the affine norms"
    assert {p.dtype for name, p in low.named_parameters() if name not in kept} == {torch.bfloat16}

    tokens, t, text = together(clips())
    low_tokens, low_text = halved(tokens, text)
    with torch.no_grad():
        exact, rounded = model(tokens, t, text), low(low_tokens, t, low_text)
    assert rounded.dtype == torch.bfloat16
    error = relative(rounded.float(), exact)
    print(f"bf16 weights: {error:.2%} off")
    assert 1e-4 < error < 0.03


def test_lowering_rounds_nothing_that_stays_in_fp32() -> None:
    model, low = built(), built().lower(torch.bfloat16)
    before = dict(model.named_parameters())
    for name, parameter in low.named_parameters():
        if FP32.search(name):
            assert torch.equal(parameter, before[name]), f"{name} went through bf16"


def test_autocast_trains() -> None:
    model, some = built(), clips()
    tokens, t, text = together(some)
    weights = torch.randn(tokens.x.shape, generator=torch.Generator().manual_seed(2))
    loss(model, some, weights).backward()
    exact = all_gradients(model)
    with torch.autocast("cpu", torch.bfloat16):
        v = model(tokens, t, text)
        (v * weights).sum().backward()
    assert v.isfinite().all() and relative(v.float(), model(tokens, t, text).detach()) < 0.03
    rough = all_gradients(model)
    for gradient in rough.values():
        assert gradient.isfinite().all() and gradient.dtype == torch.float32
    joined = [torch.cat([gradients[name].flatten() for name in exact]) for gradients in (rough, exact)]
    assert F.cosine_similarity(*joined, dim=0) > 0.99


# ---- the norm with a gradient of its own


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_norm_and_its_gradient_are_torchs(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, out = torch.randn(2, 5, 4, 12, generator=generator, dtype=torch.float64).to(dtype)
    norm = RMSNorm(12, eps=1e-2).to(dtype)
    nn.init.normal_(norm.weight, 1.0, 0.3, generator=generator)
    results = []
    for call in (norm, lambda x: F.rms_norm(x, (12,), norm.weight, 1e-2)):
        leaf = x.clone().requires_grad_()
        norm.zero_grad()
        y = call(leaf)
        y.backward(out)
        results.append((y, leaf.grad, norm.weight.grad))
    bound = 1e-6 if dtype == torch.float32 else 1e-12
    for own, wanted in zip(*results, strict=True):
        assert own.dtype == dtype and relative(own, wanted) < bound


def test_the_gradient_of_the_norm_is_that_of_its_differences() -> None:
    norm = RMSNorm(7, eps=0.1).double()
    nn.init.normal_(norm.weight, 1.0, 0.3, generator=torch.Generator().manual_seed(0))
    x = torch.randn(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    torch.autograd.gradcheck(
        lambda x, weight: torch.func.functional_call(norm, {"weight": weight}, (x,)), (x, norm.weight)
    )


def test_the_norm_keeps_half_precision_and_forgets_scale() -> None:
    x = torch.randn(9, 16, generator=torch.Generator().manual_seed(0))
    norm = RMSNorm(16)
    torch.testing.assert_close(norm(1000 * x), norm(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm(x).square().mean(-1), torch.ones(9), rtol=1e-4, atol=0)
    low = RMSNorm(16).bfloat16()(x.bfloat16())
    assert low.dtype == torch.bfloat16 and relative(low.float(), norm(x)) < 0.01


# ---- mistakes


@pytest.mark.parametrize("width, heads", [(50, 3), (48, 5), (12, 4)])  # the last: heads of odd width
def test_a_width_that_heads_cannot_share_is_refused(width: int, heads: int) -> None:
    with pytest.raises(MinisoraError, match=f"width of {width}.*{heads} heads") as error:
        DiTConfig(width=width, heads=heads)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("backend", EVERYWHERE)
def test_a_prompt_for_every_clip(backend: str) -> None:
    tokens, t, _ = together(clips())
    text = together(clips()[:-1])[2]
    with pytest.raises((ValueError, MinisoraError)):
        built(backend=backend)(tokens, t, text)


# ---- rings, and a head that says what is clean


def test_a_ring_has_no_beginning() -> None:
    """Rolled in time, a ring gives the same velocities, rolled; a clip that begins and ends does not."""
    model, generator = built(), torch.Generator().manual_seed(3)
    clip, line = (torch.randn(CONFIG.channels, 4, 4, 4, generator=generator) for _ in range(2))
    text = pack_text([torch.randn(3, CONFIG.text_width, generator=generator)] * 2, CONFIG.text_length)

    def velocities(shift: int, rings: tuple[bool, ...]) -> list[Tensor]:
        tokens = pack([clip.roll(shift, 1), line], CONFIG.patch, rings)
        return unpack(tokens.with_x(model(tokens, torch.tensor(0.4), text)), CONFIG.patch)

    whole, rolled = velocities(0, (True, False)), velocities(1, (True, False))
    torch.testing.assert_close(rolled[0], whole[0].roll(1, 1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rolled[1], whole[1])  # the neighbour in the batch notices nothing
    opened, opened_rolled = velocities(0, ()), velocities(1, ())
    torch.testing.assert_close(opened[1], whole[1], atol=1e-6, rtol=1e-5)
    assert (opened_rolled[0] - opened[0].roll(1, 1)).abs().max() > 1e-2


def test_a_head_that_says_the_clean_token_gives_the_velocity_to_it() -> None:
    model, tokens = built(), pack([torch.randn(CONFIG.channels, *size) for size in SIZES], CONFIG.patch)
    text = pack_text([torch.zeros(rows, CONFIG.text_width) for rows in ROWS], CONFIG.text_length)
    said = model(tokens, torch.tensor(0.4), text)
    cleaner = built(clean=True)
    for kept in (0.0, 0.25):  # of the noisy token, whatever the time
        nn.init.zeros_(cleaner.keep.weight)
        nn.init.constant_(cleaner.keep.bias, kept)
        whole = clean(tokens.x, cleaner(tokens, torch.tensor(0.4), text), 0.4)
        torch.testing.assert_close(whole, said + kept * tokens.x)
    t = torch.linspace(0, 1, len(tokens.x))
    assert cleaner(tokens, t, text).isfinite().all()


@pytest.mark.parametrize("patch", [(1, 1, 1), (1, 2, 2), (2, 2, 1), (2, 4, 2)])
def test_a_part_of_a_token_is_read_like_a_token_that_is_all_alike_and_says_what_the_whole_said(patch: Grid) -> None:
    torch.manual_seed(0)
    old = DiT(DiTConfig(channels=3, patch=(2, 4, 2), width=24, heads=2, layers=1, mlp=16, text_width=8, clean=True))
    nn.init.normal_(old.keep.weight)
    new = finer(old, patch)
    part = torch.randn(3, *patch)
    whole = part.repeat(1, *(a // b for a, b in zip((2, 4, 2), patch, strict=True)))
    torch.testing.assert_close(new.embed(patchify(part, patch)), old.embed(patchify(whole, (2, 4, 2))))

    h = torch.randn(1, 24)
    for name in ("head", "keep"):
        said = patchify(unpatchify(getattr(old, name)(h), (1, 1, 1), (2, 4, 2)), patch)  # by its parts
        torch.testing.assert_close(getattr(new, name)(h)[0], said.mean(0))
    for name, weight in old.blocks.state_dict().items():
        assert torch.equal(weight, new.blocks.state_dict()[name])
    if patch == (2, 4, 2):
        assert all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))


def test_tokens_do_not_grow_and_are_cut_evenly() -> None:
    dit = DiT(DiTConfig(width=24, heads=2, layers=1, mlp=16, text_width=8))
    for patch in ((1, 4, 4), (2, 2, 2), (1, 3, 1)):
        with pytest.raises(MinisoraError, match="each size has to divide"):
            finer(dit, patch)
