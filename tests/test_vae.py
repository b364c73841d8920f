"""The causal VAE: the past never sees the future, and chunk by chunk is the same as all at once."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip
from minisora.data.datasets import WorldClips
from minisora.models.components import Components
from minisora.models.vae import VAE, VAEConfig
from minisora.nn.causal import Stream, TimeDown, TimeUp
from minisora.train.vae import measure_components

STATS = {"mean": (0.5, -1.0, 0.1, 2.0), "std": (2.0, 0.5, 1.3, 3.0)}
CONFIGS = {
    "wan 2.1": VAEConfig(channels=4, base=8, **STATS),
    "wan 2.2": VAEConfig(channels=4, base=8, decoder_base=12, patch=2, shortcuts=True, **STATS),
    "4x4x4": VAEConfig(channels=4, base=8, stages=(1, 2, 2), time=(True, True), blocks=1, **STATS),
    "2x8x8": VAEConfig(channels=4, base=8, stages=(1, 2, 2), time=(False, True), blocks=1, patch=2, shortcuts=True),
    "no space": VAEConfig(
        channels=4, base=8, stages=(1, 1, 1), space=(False, False), time=(True, True), blocks=1, patch=4, shortcuts=True
    ),
    "components": VAEConfig(
        channels=4,
        base=8,
        stages=(1, 1, 1),
        space=(False, False),
        time=(True, True),
        blocks=1,
        patch=4,
        shortcuts=True,
        components=True,
        **STATS,
    ),
    "space once": VAEConfig(channels=4, base=8, stages=(1, 2, 2), space=(False, True), time=(True, True), blocks=1),
    "1x4x4": VAEConfig(channels=4, base=8, stages=(1, 2, 2), time=(False, False), blocks=1),
}
EXACT = 5e-6
"""Relative: chunks of other sizes are summed in another order, and nothing else differs."""


def built(name: str) -> VAE:
    """Every parameter random, norms around 1."""
    model, generator = VAE(CONFIGS[name]), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for label, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.normal_(1.0 if "norm" in label else 0.0, 0.2, generator=generator)
            else:
                parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=generator)
        for label, buffer in model.named_buffers():
            if label.startswith("components"):
                buffer.normal_(0.0, 0.1, generator=generator)
    return model.requires_grad_(False)


MODELS = {name: built(name) for name in CONFIGS}
models = pytest.mark.parametrize("name", CONFIGS)


def pixels(name: str, latents: int = 4, batch: int = 1, seed: int = 0) -> Tensor:
    """Just enough pixels for so many latents in time, 1 x 2 in space."""
    time, side, _ = CONFIGS[name].compression
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, 1 + time * (latents - 1), side, 2 * side, generator=generator) * 2 - 1


def codes(latents: int = 4, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(batch, 4, latents, 1, 2, generator=torch.Generator().manual_seed(seed))


def relative(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return ((a - b).double().norm() / b.double().norm()).item()


# ---- streams

splits = st.lists(st.integers(1, 3), min_size=1, max_size=4)
"""A video as chunks of so many latents each."""


@models
@settings(max_examples=6)
@given(chunks=splits)
def test_encoding_in_chunks_is_encoding_at_once(name: str, chunks: list[int]) -> None:
    model, time = MODELS[name], CONFIGS[name].compression[0]
    x = pixels(name, sum(chunks))
    frames = [1 + time * (chunks[0] - 1), *(time * latents for latents in chunks[1:])]
    parts = list(model.encode_chunks(x.split(frames, 2)))
    assert [part.shape[2] for part in parts] == chunks
    assert relative(torch.cat(parts, 2), model.encode(x)) < EXACT


@models
@settings(max_examples=6)
@given(chunks=splits)
def test_decoding_in_chunks_is_decoding_at_once(name: str, chunks: list[int]) -> None:
    model, time = MODELS[name], CONFIGS[name].compression[0]
    z, stream = codes(sum(chunks)), Stream()
    parts = [model.decode(part, stream) for part in z.split(chunks, 2)]
    assert [part.shape[2] for part in parts] == [1 + time * (chunks[0] - 1), *(time * n for n in chunks[1:])]
    assert relative(torch.cat(parts, 2), model.decode(z)) < EXACT


@models
@pytest.mark.parametrize("latents", [1, 2, 5])
def test_decode_chunks_takes_a_few_latents_at_a_time(name: str, latents: int) -> None:
    model, z = MODELS[name], codes(5)
    parts = list(model.decode_chunks(z, latents))
    assert len(parts) == -(-5 // latents)
    assert relative(torch.cat(parts, 2), model.decode(z)) < EXACT


@models
def test_streams_are_lazy_and_do_not_mix(name: str) -> None:
    """Two videos in turns, each with its own stream; and nothing is computed before it is asked for."""
    model, (one, two) = MODELS[name], (codes(seed=seed) for seed in (1, 2))
    turns = zip(model.decode_chunks(one), model.decode_chunks(two), strict=True)
    first, second = (torch.cat(parts, 2) for parts in zip(*turns, strict=True))
    assert relative(first, model.decode(one)) < EXACT and relative(second, model.decode(two)) < EXACT

    time, read = CONFIGS[name].compression[0], []
    chunks = model.encode_chunks(read.append(part) or part for part in pixels(name).split([1, time, 2 * time], 2))
    assert not read
    next(chunks)
    assert len(read) == 1


@models
def test_the_last_chunk_may_say_that_nothing_follows(name: str) -> None:
    model, z, stream = MODELS[name], codes(), Stream()
    start = [model.decode(part, stream) for part in z[:, :, :3].split(1, 2)]
    kept, stream.last = dict(stream.frames), True
    end = model.decode(z[:, :, 3:], stream)
    assert relative(torch.cat([*start, end], 2), model.decode(z)) < EXACT
    assert all(stream.frames[owner] is frames for owner, frames in kept.items())


# ---- causality


@models
@pytest.mark.parametrize("frame", range(10))
def test_a_frame_changes_its_own_latent_and_none_before(name: str, frame: int) -> None:
    """With time compressed 4 times: frame 0 lands in latent 0, frames 4 i + 1 … 4 i + 4 in latent i + 1."""
    time = CONFIGS[name].compression[0]
    x = pixels(name, 1 + -(-9 // time))
    own = 0 if frame == 0 else (frame - 1) // time + 1
    assert own == -(-frame // time)
    other = x.clone()
    other[:, :, frame] *= -1
    before, after = MODELS[name].encode(x), MODELS[name].encode(other)
    assert torch.equal(before[:, :, :own], after[:, :, :own])
    assert relative(after[:, :, own], before[:, :, own]) > 1e-4


@models
@pytest.mark.parametrize("latent", range(4))
def test_a_latent_changes_its_own_frames_and_none_before(name: str, latent: int) -> None:
    """With time compressed 4 times: latent 0 is frame 0, latent i + 1 is frames 4 i + 1 … 4 i + 4."""
    time = CONFIGS[name].compression[0]
    z = codes()
    other = z.clone()
    other[:, :, latent] += 1
    before, after = MODELS[name].decode(z), MODELS[name].decode(other)
    start = max(0, time * (latent - 1) + 1)
    assert torch.equal(before[:, :, :start], after[:, :, :start])
    for frame in range(start, 1 + time * latent):
        assert relative(after[:, :, frame], before[:, :, frame]) > 1e-4


@models
def test_an_image_is_the_first_frame_of_a_video(name: str) -> None:
    model, x, z = MODELS[name], pixels(name), codes()
    assert relative(model.encode(x[:, :, :1]), model.encode(x)[:, :, :1]) < EXACT
    assert relative(model.decode(z[:, :, :1]), model.decode(z)[:, :, :1]) < EXACT


def test_steps_in_time_let_frame_0_through_and_go_on_in_pairs() -> None:
    """Down: output i + 1 is made of frames 2 i, 2 i + 1, 2 i + 2. Up: one frame makes two, and none sees frame 0."""
    torch.manual_seed(0)
    down, up = TimeDown(3).requires_grad_(False), TimeUp(3).requires_grad_(False)
    x = torch.randn(1, 3, 7, 2, 2)
    fewer, more = down(x, Stream()), up(x, Stream())
    assert fewer.shape[2] == 4 and more.shape[2] == 13
    assert torch.equal(fewer[:, :, 0], x[:, :, 0]) and torch.equal(more[:, :, 0], x[:, :, 0])
    for i in range(3):
        seen = down.conv(x[:, :, 2 * i : 2 * i + 3])
        torch.testing.assert_close(fewer[:, :, i + 1 : i + 2], seen)
    late = F.pad(x[:, :, 1:], (0, 0, 0, 0, 2, 0))  # instead of frames 0 and -1 there is nothing
    for i in range(6):
        pair = F.conv3d(late[:, :, i : i + 3], up.conv.weight, up.conv.bias)[:, :, 0]
        torch.testing.assert_close(more[:, :, 2 * i + 1 : 2 * i + 3].movedim(2, 1).flatten(1, 2), pair)


# ---- shapes


@pytest.mark.parametrize("name, compression", [
    ("wan 2.1", (4, 8, 8)), ("wan 2.2", (4, 16, 16)), ("4x4x4", (4, 4, 4)), ("2x8x8", (2, 8, 8)), ("1x4x4", (1, 4, 4)),
])  # fmt: skip
def test_shapes_follow_from_the_compression(name: str, compression: tuple[int, int, int]) -> None:
    time, side, _ = compression
    assert CONFIGS[name].compression == compression and VAEConfig().compression == (4, 8, 8)
    for k, h, w in [(0, 1, 1), (1, 2, 1), (2, 1, 3)]:
        x = torch.zeros(2, 3, 1 + time * k, side * h, side * w)
        z = MODELS[name].encode(x)
        assert z.shape == (2, 4, 1 + k, h, w) and MODELS[name].decode(z).shape == x.shape
        mean, log_variance = MODELS[name].posterior(x)
        assert mean.shape == log_variance.shape == z.shape


@models
def test_a_batch_is_its_clips_one_by_one(name: str) -> None:
    model, x, z = MODELS[name], pixels(name, 3, batch=3), codes(3, batch=3)
    assert relative(model.encode(x), torch.cat([model.encode(clip[None]) for clip in x])) < EXACT
    assert relative(model.decode(z), torch.cat([model.decode(clip[None]) for clip in z])) < EXACT
    assert relative(model.encode(x)[1:], model.encode(x)[:1].expand(2, -1, -1, -1, -1)) > 0.01


def refused(call) -> str:
    with pytest.raises(MinisoraError) as error:
        call()
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@models
def test_sizes_that_cannot_be_encoded_are_refused(name: str) -> None:
    model, (time, side, _) = MODELS[name], CONFIGS[name].compression
    shapes = [
        (1, 3, 1, side + 1, side), (1, 3, 1, side, side - 1), (1, 3, 1, side, side // 2),
        (1, 4, 1, side, side), (3, 1, side, side), (1, 3, 0, side, side),
    ]  # fmt: skip
    shapes += [(1, 3, frames, side, side) for frames in range(2, 10) if (frames - 1) % time]
    for shape in shapes:
        message = refused(lambda shape=shape: model.encode(torch.zeros(shape)))
        assert str(shape) in message and f"{time}k + 1 frames" in message and f"multiples of {side}" in message


@models
def test_a_stream_refuses_what_it_cannot_go_on_with_and_is_none_the_worse_for_it(name: str) -> None:
    model, (time, side, _) = MODELS[name], CONFIGS[name].compression
    x, stream = pixels(name, 3), Stream()
    assert refused(lambda: model.encode(x[:, :, :0], stream))
    parts = [model.encode(x[:, :, :1], stream)]
    bad = [(0, side)] + [(frames, side) for frames in (1, time - 1, time + 1) if frames % time] + [(time, side + 1)]
    for frames, height in bad:
        chunk = torch.ones(1, 3, frames, height, side)
        message = refused(lambda chunk=chunk: model.encode(chunk, stream))
        assert f"{time}k frames" in message
    parts.append(model.encode(x[:, :, 1:], stream))
    assert relative(torch.cat(parts, 2), model.encode(x)) < EXACT


@pytest.mark.parametrize("changes", [{"time": (True,)}, {"mean": (0.0,)}, {"std": (1.0, 1.0)}, {"stages": (1, 2)}])
def test_a_config_that_does_not_add_up_is_refused(changes: dict) -> None:
    assert refused(lambda: VAEConfig(**changes))


# ---- numbers


@models
@settings(max_examples=10)
@given(seed=st.integers(0, 99))
def test_normalise_and_denormalise_are_inverse(name: str, seed: int) -> None:
    model, z = MODELS[name], codes(2, 2, seed)
    torch.testing.assert_close(model.denormalise(model.normalise(z)), z)
    torch.testing.assert_close(model.normalise(model.denormalise(z)), z)
    mean, std = (torch.tensor(values) for values in (STATS["mean"], STATS["std"]))
    if CONFIGS[name].mean:
        raw = torch.randn(5, 4, 6, 7, 8, generator=torch.Generator().manual_seed(seed)) * std.view(4, 1, 1, 1)
        normal = model.normalise(raw + mean.view(4, 1, 1, 1))
        torch.testing.assert_close(normal.mean((0, 2, 3, 4)), torch.zeros(4), rtol=0, atol=0.1)
        torch.testing.assert_close(normal.std((0, 2, 3, 4)), torch.ones(4), rtol=0, atol=0.1)
    x = pixels(name, 2, seed=seed)
    assert torch.equal(model.encode(x), model.normalise(model.posterior(x)[0]))


@models
def test_pixels_are_encoded_to_and_decoded_from_normalised_latents(name: str) -> None:
    model, raw = MODELS[name], VAE(replace(CONFIGS[name], mean=(), std=())).requires_grad_(False)
    raw.load_state_dict({**model.state_dict(), "mean": raw.mean, "std": raw.std})
    x, z = pixels(name), codes()
    assert torch.equal(raw.encode(x), raw.posterior(x)[0])
    assert relative(model.denormalise(model.encode(x)), raw.encode(x)) < EXACT
    assert relative(model.decode(z), raw.decode(model.denormalise(z))) < EXACT


@models
def test_gradients_reach_every_parameter(name: str) -> None:
    model = built(name).requires_grad_()
    x = pixels(name)
    mean, log_variance = model.posterior(x)
    (model.decode(model.normalise(mean)).square().sum() + log_variance.square().sum()).backward()
    silent = [
        label
        for label, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any() or not parameter.grad.isfinite().all()
    ]
    assert not silent


# ---- memory


def held(stream: Stream) -> int:
    return sum(frames.untyped_storage().nbytes() for frames in stream.frames.values())


@models
def test_what_a_stream_remembers_does_not_grow_and_keeps_nothing_else_alive(name: str) -> None:
    """The second chunk is the first that goes through a step up in time: from then on it stays the same."""
    model, (time, *_) = MODELS[name], CONFIGS[name].compression
    x, sizes = pixels(name, 21), {}
    for way in ("encode", "decode"):
        stream = Stream()
        pieces = x.split([1] + [time] * 20, 2) if way == "encode" else codes(21).split(1, 2)
        for count, piece in enumerate(pieces, 1):
            getattr(model, way)(piece, stream)
            sizes[way, count] = held(stream)
        for frames in stream.frames.values():
            assert frames.untyped_storage().nbytes() == frames.numel() * frames.element_size(), "a view pins its chunk"
            assert frames.shape[2] <= 2
        assert all(isinstance(owner, nn.Module) for owner in stream.frames)
        assert 0 < sizes[way, 1] <= sizes[way, 2] == sizes[way, 5] == sizes[way, 20] == sizes[way, 21]
        whole = Stream(last=True)
        getattr(model, way)(x if way == "encode" else codes(21), whole)
        assert not whole.frames, "where nothing follows, nothing is kept"


PEAK = """
import torch
from minisora.models.vae import VAE, VAEConfig
torch.set_num_threads(1)
model = VAE(VAEConfig(channels=4, base=8, stages=(1, 2, 4, 4), blocks=1)).requires_grad_(False)
def peak():
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024
def run(frames):
    for chunk in model.decode_chunks(torch.randn(1, 4, 1 + frames // 4, 20, 20)):
        del chunk
    return peak()
run(5)  # a chunk of one frame and a full one
print(run(17), run(65), run(257), flush=True)
model.decode(torch.randn(1, 4, 17, 20, 20))
print(peak())
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory of a process from /proc")
def test_the_memory_of_decoding_a_stream_is_that_of_a_chunk() -> None:
    """Peak resident MiB of a process of its own (VmHWM: what getrusage says would begin at the peak of its parent)."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    *streamed, whole = map(int, done.stdout.split())
    print(f"17, 65, 257 frames of 160x160 in chunks: {streamed} MiB; 65 at once: {whole} MiB")
    # The allocator's own ups and downs are within a quarter.
    assert max(streamed) <= 1.25 * min(streamed)
    assert whole > 1.3 * streamed[-1]


# ---- principal components


def test_a_fresh_network_leaves_everything_to_the_components() -> None:
    torch.manual_seed(0)
    model, x = VAE(CONFIGS["components"]), pixels("components", batch=2)
    assert model.components is not None
    torch.testing.assert_close(model.posterior(x)[0], model.components.encode(x, False))
    z = codes(batch=2)
    torch.testing.assert_close(model.decode(z), model.components.decode(model.denormalise(z), False))


def test_no_other_projection_loses_less_than_measured_components() -> None:
    """Against random ones, and against the measured ones turned a little out of their plane."""
    clips = [WorldClips("shapes", 6, sizes=["5x16x24"])[index] for index in range(6)]
    x = torch.cat([clip.pixels() for clip in clips])
    components = Components(6, (4, 4, 4))
    measure_components(components, clips)

    def lost() -> float:
        return (components.decode(components.encode(x, False), False) - x).square().mean().item()

    generator, best = torch.Generator().manual_seed(0), components.later_basis.clone()
    torch.testing.assert_close(best.T @ best, torch.eye(6), atol=1e-5, rtol=0)
    least = lost()
    for size in (0.01, 0.1, 100.0):
        turned = best + size * torch.randn(best.shape, generator=generator) / len(best) ** 0.5
        components.later_basis.copy_(torch.linalg.qr(turned).Q)
        assert lost() > least
    whole = Components(48, (4, 4, 4))  # as many as frame 0 has numbers in a box
    measure_components(whole, clips)
    torch.testing.assert_close(whole.decode(whole.encode(x[:, :, :1], False), False), x[:, :, :1], atol=1e-4, rtol=0)


def test_components_of_images_alone_are_those_of_frame_0() -> None:
    clips = [WorldClips("shapes", 6, sizes=["5x16x24"])[index] for index in range(6)]
    images = [Clip(clip.frames[:1]) for clip in clips]
    of_images, of_clips = Components(6, (4, 4, 4)), Components(6, (4, 4, 4))
    later = of_images.later_basis.clone()
    measure_components(of_images, images)
    measure_components(of_clips, clips)
    x = torch.cat([image.pixels() for image in images])
    torch.testing.assert_close(of_images.first_mean, of_clips.first_mean)
    plane, other = (basis @ basis.T for basis in (of_images.first_basis, of_clips.first_basis))
    torch.testing.assert_close(plane, other, atol=1e-4, rtol=0)  # the same space, turned otherwise
    assert torch.equal(of_images.later_basis, later) and of_images.encode(x, False).isfinite().all()


def test_a_still_clip_is_one_latent_again_and_again() -> None:
    """As nearly as a rotation can make it; with another rotation of frame 0's basis it is not."""
    clips = [WorldClips("shapes", 12, sizes=["5x16x24"])[index] for index in range(12)]
    components = Components(12, (4, 4, 4))
    measure_components(components, clips)
    still = torch.cat([clip.pixels()[:, :, :1].expand(-1, -1, 5, -1, -1) for clip in clips])

    def apart() -> float:
        z = components.encode(still, False)
        return relative(z[:, :, 0], z[:, :, 1])

    near = apart()
    assert near < 0.3
    components.first_basis.copy_(components.first_basis.flip(1))
    assert apart() > 3 * near
