"""The fast training step of tests/benchmarks is the package's: the same answer, optimiser and convolution."""

import copy
from dataclasses import replace

import pytest
import torch

from minisora.core.recipe import Recipe
from minisora.models.dit import DiT, DiTConfig
from minisora.models.vae import VAE, VAEConfig
from minisora.nn.causal import CausalConv
from minisora.tokens.known import Known, paint
from minisora.tokens.packing import Text, Tokens, pack_text
from minisora.train.ema import follow, kept
from minisora.train.optim import optimisers, set_rate
from tests.benchmarks import recorded, static
from tests.benchmarks.static import Captions, Group, Pool
from tests.benchmarks.wider import wider_dit, wider_vae

CONFIG = DiTConfig(
    channels=8, patch=(1, 1, 1), width=64, heads=2, layers=2, mlp=96, text_width=24, text_length=16, theta=10.0,
    padded=False, places=True, pooled=True,
)  # fmt: skip


@pytest.fixture
def dit() -> DiT:
    torch.manual_seed(0)
    model = DiT(CONFIG)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.2)
    return model


def pool(grid: tuple[int, int, int], known: bool = False) -> Pool:
    n, (t, h, w) = 5, grid
    frames = torch.stack([16 * torch.ones(n), torch.randint(1, 16, (n,)), *torch.randint(1, 16, (2, n))], 1).long()
    extra = (torch.randn(n, 4, h * w, 8), frames, torch.randn(n, t * h * w, 8)) if known else ()
    return Pool(torch.randn(n, t * h * w, 8), grid, torch.randint(6, (n,)), *extra)


@pytest.fixture
def groups() -> list[Group]:
    torch.manual_seed(1)
    some = pool((5, 4, 4), known=True)
    return [
        static.plain(pool((1, 4, 4)), 3), static.plain(pool((4, 4, 4)), 2, ring=True),
        static.plain(pool((5, 2, 4)), 2, 0.5), static.plain(some, 6, 0.5), static.with_frames(some, 2, 4, ends=True),
        static.with_frames(some, 2, 4, ends=False), static.with_region(some, 2), static.between(some, 2, 4, 1),
    ]  # fmt: skip


@pytest.fixture
def captions() -> Captions:
    return Captions(torch.randn(6, 16, 24), torch.randint(2, 14, (6,)))


def test_its_velocity_is_the_models(dit: DiT, groups: list[Group], captions: Captions) -> None:
    read = [captions.of(group.text, dropped=0.3) for group in groups]
    x = torch.cat([group.x.flatten(0, 1) for group in groups])
    t = torch.rand(len(x) // static.UNIT)
    prompts = [some[:count] for rows, bias, _ in read for some, count in zip(rows, (bias == 0).sum(1), strict=True)]
    lengths = [group.x.shape[1] for group in groups for _ in group.x]
    rings = [group.ring for group in groups for _ in group.x]
    grids = tuple((ring or 5, 1, 1) for ring in rings)
    pos = torch.cat([group.pos.flatten(0, 1) for group in groups])
    tokens = Tokens(x, pos, grids, tuple(lengths), tuple(ring > 0 for ring in rings))
    counts = tuple(len(prompt) for prompt in prompts)
    with torch.no_grad():
        fast = static.velocity_of(dit, static.run_block, groups, x, t, read)
        exact = dit(
            tokens, t.repeat_interleave(static.UNIT), Text(torch.cat(prompts), counts, torch.zeros(sum(counts)))
        )
    assert (fast - exact).abs().max() < 1e-5 * exact.abs().max()


def test_its_prompts_are_packed_as_the_package_packs_them(captions: Captions) -> None:
    index = torch.arange(6)
    rows, bias, mean = captions.of(index, dropped=0.0)
    text = pack_text(
        [row[:count] for row, count in zip(captions.rows, captions.lengths, strict=True)], 16, padded=False
    )
    assert torch.equal(rows[bias == 0], text.x)
    assert torch.allclose(mean, torch.stack([part.mean(0) for part in text.x.split(text.lengths)]), atol=1e-6)


def test_known_frames_stand_where_the_package_puts_them() -> None:
    some = pool((5, 4, 4), known=True)
    assert some.images is not None and some.frames is not None
    group = static.with_frames(replace(some, z=some.z[:1]), 1, 4, ends=True)
    z = some.z[0].T.unflatten(1, some.grid)
    image = some.images[0, 0].T.unflatten(1, (1, 4, 4))
    canvas = paint([z], [Known(prefix=None, frames={int(some.frames[0, 0]): image})], (1, 1, 1), 4)
    assert torch.equal(group.x[0], canvas.tokens.x) and torch.equal(group.pos[0], canvas.tokens.pos)


def test_both_sides_of_a_connection_stand_where_the_package_puts_them() -> None:
    some = pool((5, 4, 4), known=True)
    assert some.images is not None and some.frames is not None
    frames = torch.tensor([12, 14, 16])
    some = replace(some, z=some.z[:1], images=some.images[:, :3], frames=frames.expand(5, -1))
    group = static.between(some, 1, 4, before=2)
    z, images = some.z[0].T.unflatten(1, some.grid), some.images[0].transpose(1, 2).unflatten(2, (1, 4, 4))
    known = Known(prefix=z[:, :2], frames=dict(zip(frames.tolist(), images, strict=True)))
    canvas = paint([z], [known], (1, 1, 1), 4)
    assert torch.equal(group.x[0], canvas.tokens.x) and torch.equal(group.pos[0], canvas.tokens.pos)
    assert torch.equal(group.unknown[0], canvas.unknown)


def test_its_optimiser_takes_the_packages_steps(
    dit: DiT, groups: list[Group], captions: Captions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minisora.train.optim.bf16_pays", lambda device: False)  # bf16 would round each its own way
    recipe = Recipe(steps=10, rate=1e-3, matrix_rate=0.02, weight_decay=0.1, ema=0.9)
    start, other, ours, theirs = (copy.deepcopy(dit) for _ in range(4))
    for average in (ours, theirs):
        average.requires_grad_(False)
    fast, usual = recorded.Optimiser(dit, ours, recipe), optimisers(other, recipe)
    for step in range(3):
        for model in (dit, other):
            torch.manual_seed(step)
            static.lesson(model, static.run_block, groups, captions, 5.0, half=False).backward()
        fast.scale.fill_(0.5)
        fast.keep.fill_(kept(recipe.ema, step))
        fast.step()
        torch.nn.utils.clip_grad_norm_(other.parameters(), recipe.clip)
        for each in usual:
            set_rate(each, 0.5)
            each.step()
        other.zero_grad()
        follow(theirs, other, kept(recipe.ema, step))
    for one, two in ((dit, other), (ours, theirs)):
        for a, b, before in zip(one.parameters(), two.parameters(), start.parameters(), strict=True):
            assert (b - before).norm() > 0 and (a - b).norm() < 1e-3 * (b - before).norm()


def test_its_convolution_is_the_vaes(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    vae = VAE(
        VAEConfig(channels=4, base=8, stages=(1, 1, 1), space=(True, False), time=(True, True), blocks=1, patch=4)
    )
    x = torch.rand(2, 3, 9, 16, 16) * 2 - 1
    with torch.no_grad():
        z = vae.encode(x)
        y = vae.decode(z)
        monkeypatch.setattr(CausalConv, "forward", static.flat_forward)
        assert torch.allclose(vae.encode(x), z, atol=1e-5) and torch.allclose(vae.decode(z), y, atol=1e-5)


def test_it_learns(dit: DiT, groups: list[Group], captions: Captions) -> None:
    losses: list[float] = []
    recipe = Recipe(steps=200, rate=1e-3, matrix_rate=0.02, warmup=5, ema=0.9)
    average = copy.deepcopy(dit).requires_grad_(False)

    def loss() -> torch.Tensor:
        value = static.lesson(dit, static.run_block, groups, captions, shift=1.0)
        losses.append(value.item())
        return value

    optimiser, total, once = recorded.prepare(dit, average, loss, recipe)
    optimiser.scale.fill_(1.0)
    optimiser.keep.fill_(recipe.ema)
    for _ in range(40):
        once()
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5]) and abs(total.item() - sum(losses)) < 1e-3 * sum(losses)


def test_a_wider_model_says_what_it_said_and_can_learn_more(dit: DiT, groups: list[Group], captions: Captions) -> None:
    torch.manual_seed(3)
    narrow = VAE(VAEConfig(channels=4, base=8, stages=(1, 1), time=(True,), patch=2, shortcuts=True, components=True))
    for parameter in narrow.parameters():
        parameter.data.normal_(0, 0.1)
    narrow.std.uniform_(0.5, 2.0)
    wide, x = wider_vae(narrow, 6), torch.rand(2, 3, 9, 32, 32) * 2 - 1
    z = wide.encode(x)
    assert torch.allclose(z[:, :4], narrow.encode(x), atol=1e-5)
    assert z[:, 4:].std((0, 2, 3, 4)).min() > 0  # there is something to find in the new channels
    assert torch.allclose(wide.decode(z), narrow.decode(z[:, :4]), atol=1e-5)
    (wide.decode(z) - x).square().mean().backward()
    assert wide.decoder.first.weight.grad[:, 4:].abs().amax((0, 2, 3, 4)).min() > 0  # type: ignore[index]

    xs, read = torch.cat([group.x.flatten(0, 1) for group in groups]), [captions.of(group.text) for group in groups]
    t = torch.rand(len(xs) // static.UNIT)
    v = static.velocity_of(
        wider_dit(dit, 10),
        static.run_block,
        groups,
        torch.randn(len(xs), 10).index_copy(1, torch.arange(8), xs),
        t,
        read,
    )
    assert torch.allclose(v[:, :8], static.velocity_of(dit, static.run_block, groups, xs, t, read), atol=1e-4)
    assert not v[:, 8:].any()
