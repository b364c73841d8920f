"""How the bundled `toy` is trained on one GPU, in ten minutes or more: clips, VAE, latents, transformer.

    python -m tests.benchmarks.toy --out OUT [--vae-seconds 90] [--seconds 560] [--init toy]

With --init it goes on from a model; its VAE keeps its encoder if no transformer is trained after it. The text encoder
is the bundled one (`minisora train toy --stage text`). What comes out is a folder for `--preset`.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from minisora.core.recipe import Recipe
from minisora.core.runtime import pick_device
from minisora.data.clip import parse_size
from minisora.data.datasets import WorldClips
from minisora.generate import folder as folders
from minisora.models.dit import DiT
from minisora.models.text import TextEncoder
from minisora.models.vae import VAE
from minisora.nn.causal import CausalConv
from minisora.train import vae as vae_stage
from minisora.train.distributed import join
from minisora.train.latents import region, singles
from minisora.zoo.presets import preset
from tests.benchmarks import recorded, static
from tests.benchmarks.artists import CHUNK, Artists, Wanted
from tests.benchmarks.static import Captions, Group, Pool
from tests.benchmarks.wider import wider_dit, wider_vae

BEGUN = time.monotonic()
SEED, ROUGH, TOGETHER = 20261126, 0.03, 4096
LATER = 0.5
"""Spread of channels that are added to a trained model: they are of details, so the others are to be made first."""
ALL = ("shapes", "shapes", "physics", "occlusion", "painter", "painter", "craft", "orbit", "orbit", "orbit")
OTHERS = ("physics", "occlusion", "painter", "craft", "orbit")
SIDES = {"wide": "17x48x80", "tall": "17x80x48", "broad": "17x64x96", "high": "17x96x64"}
WANTED = {
    "pixels": Wanted(12_000, ALL),
    "pixels small": Wanted(6_000, size=SIDES["wide"], only={"size": "small"}),
    "pixels film": Wanted(6_000, size=SIDES["wide"], only={"style": "film"}),
    "pixels turning": Wanted(3_000, turning=(2, 14)),
    "given": Wanted(16_000),
    "gaps": Wanted(8_000, known=(12, 13, 14, 15, 16)),
    "connected": Wanted(12_000, turning=(4, 12), known=(12, 14, 16)),
    "blended": Wanted(12_000, turning=(0, 16), known=(16,)),
    "ring": Wanted(8_000, only={"motion": ["clockwise", "counterclockwise"]}),
    "squares": Wanted(60_000),
    "two": Wanted(20_000, only={"count": 2}),
    "three": Wanted(40_000, only={"count": 3}),
    **{f"{name} three": Wanted(9_000, size=size, only={"count": 3}) for name, size in SIDES.items()},
    **{name: Wanted(15_000, size=size) for name, size in SIDES.items()},
    "pictures": Wanted(40_000, size="1x64x64"),
    **{world: Wanted(6_000, (world,)) for world in OTHERS},
}
PIXELS = {"pixels": 0.65, "pixels small": 0.15, "pixels film": 0.15, "pixels turning": 0.05}
"""What the VAE learns from, and each one's share of a batch."""
MERGED = {
    "squares": ("squares", "two", "three"), "others": OTHERS, **{name: (name, f"{name} three") for name in SIDES}
}  # fmt: skip


def tell(stage: str, **what: object) -> None:
    print(json.dumps({"stage": stage, **what}), flush=True)


def pixels(frames: Tensor, device: torch.device) -> Tensor:
    """uint8 (b, t, h, w, 3) → (b, 3, t, h, w) in -1 … 1."""
    return frames.to(device, non_blocking=True).movedim(-1, 1).float() / 127.5 - 1


def crops(frames: Tensor, count: int, side: int) -> Tensor:
    """Random squares of random clips, as pixels."""
    device, (n, length, height, width, _) = frames.device, frames.shape
    index = torch.randint(n, (count,), device=device)[:, None, None, None]
    top, left = (torch.randint(size - side + 1, (count,), device=device) for size in (height, width))
    moments, along = torch.arange(length, device=device), torch.arange(side, device=device)
    rows, columns = (top[:, None] + along)[:, None, :, None], (left[:, None] + along)[:, None, None, :]
    return pixels(frames[index, moments[None, :, None, None], rows, columns], device)


def vae_loss(vae: VAE, x: Tensor, rough: float) -> Tensor:
    """The loss of minisora/train/vae.py, for clips of one size."""
    with static.autocast(x.device):
        mean, log_variance = (part.float() for part in vae.posterior(x))
        log_variance = log_variance.clamp(-20, 10)
        z = vae.normalise(mean + (log_variance / 2).exp() * torch.randn_like(mean))
        if rough:
            z = z + rough * torch.rand(len(z), 1, 1, 1, 1, device=x.device) * torch.randn_like(z)
        y = vae.decode(z).float()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    error = y - x
    return error.abs().mean() + error.square().mean() + error.diff(dim=2).abs().sum() / x.numel() + vae_stage.KL * kl


def train_vae(
    vae: VAE, frames: list[Tensor], recipe: Recipe, seconds: float, begun: int, decoder_only: bool
) -> VAE:  # fmt: skip
    """The average of its weights; channels that are begun keep their scale, and it learns to mend rough latents."""
    if decoder_only:
        vae_stage.freeze_encoder(vae)
    if not begun and vae.components is not None:
        vae_stage.measure_components(vae.components, list(WorldClips(ALL, 256, SEED)))
    average = copy.deepcopy(vae).requires_grad_(False).eval()

    def loss() -> Tensor:
        counts = [round(share * recipe.batch) for share in PIXELS.values()]
        x = torch.cat([crops(some, max(1, count), 32) for some, count in zip(frames, counts, strict=True)])
        return vae_loss(vae, x, ROUGH if begun else 0.0)

    recorded.train(vae, average, loss, recipe, seconds, lambda record: tell("vae", **record))
    if begun < vae.config.channels:
        measure(average, frames[0][:1024], begun)
    return average


@torch.no_grad()
def measure(vae: VAE, frames: Tensor, begun: int) -> None:
    """As `measure_latents`: mean and spread of each new channel."""
    with static.autocast(frames.device):
        raw = [vae.posterior(pixels(part, frames.device))[0].double() for part in frames.split(64)]
    channels = torch.cat([part.movedim(1, 0).flatten(1) for part in raw], 1)
    vae.mean[begun:] = channels[begun:].mean(1).to(vae.mean)
    vae.std[begun:] = channels[begun:].std(1).to(vae.std) / (LATER if begun else 1)


@torch.no_grad()
def encoded(vae: VAE, x: Tensor) -> Tensor:
    """Latents as tokens, (b, n, c)."""
    with static.autocast(x.device):
        z = torch.cat([vae.encode(part) for part in x.split(CHUNK)])
    return z.movedim(1, -1).flatten(1, -2).bfloat16()


def pool(vae: VAE, artists: Artists, name: str, words: dict[str, int], device: torch.device) -> Pool:
    """All of a kind as latents; a ring is the second of two laps, and clips with known parts come with them."""
    time_, side, _ = vae.config.compression
    wanted = artists.wanted[name]
    length, height, width = parse_size(wanted.size)
    grid = (1 + (length - 1) // time_, height // side, width // side)
    laps, parts = (grid[0] - 1, *grid[1:]), dict[str, list[Tensor]]()

    def put(**what: Tensor) -> None:
        for key, value in what.items():
            parts.setdefault(key, []).append(value)

    for frames, captions in artists.take(name):
        x = pixels(frames, device)
        text = torch.tensor([words.setdefault(caption, len(words)) for caption in captions], device=device)
        if wanted.edited:
            x, old = x.split(length, 2)
            put(region=encoded(vae, old))
        if name == "ring":
            closed = goes_round(x)
            x, text = torch.cat([x, x[:, :, 1:]], 2)[closed], text[closed]
            put(z=encoded(vae, x)[:, -laps[0] * laps[1] * laps[2] :], text=text)
        else:
            put(z=encoded(vae, x), text=text)
        if name == "given":
            put(**views(vae, x, len(parts["z"])))
        if wanted.known:
            put(**images(vae, x, torch.tensor(wanted.known, device=device).expand(len(x), -1)))
    whole = {key: torch.cat(value) for key, value in parts.items()}
    return Pool(grid=laps if name == "ring" else grid, **whole)


def goes_round(x: Tensor) -> Tensor:
    """As in minisora/train/latents.py, for clips (b, 3, t, h, w)."""
    first, middle, last = x[:, :, 0], x[:, :, x.shape[2] // 2], x[:, :, -1]
    closing, moving = ((first - other).abs().amax((1, 2, 3)) * 127.5 for other in (last, middle))
    return (closing <= 2.5) & (moving > 2.5)


def views(vae: VAE, x: Tensor, number: int) -> dict[str, Tensor]:
    """Single frames of clips, and the clips with a box painted grey."""
    sources = [torch.Generator().manual_seed(number * CHUNK + place) for place in range(len(x))]
    frames = torch.tensor([singles(x.shape[2], source) for source in sources], device=x.device)
    hidden = torch.cat([region(tuple(x.shape[2:]), source) for source in sources]).to(x.device)
    return images(vae, x, frames) | {"region": encoded(vae, x * ~hidden)}


def images(vae: VAE, x: Tensor, frames: Tensor) -> dict[str, Tensor]:
    """Some frames (b, k) of clips, each encoded alone."""
    single = x[torch.arange(len(x), device=x.device)[:, None], :, frames].flatten(0, 1)[:, :, None]
    return {"images": encoded(vae, single).unflatten(0, frames.shape), "frames": frames}


@torch.no_grad()
def read(text: TextEncoder, ids: list[list[int]]) -> Captions:
    """Every caption's rows, once."""
    device, lengths = text.embedding.weight.device, torch.tensor([len(each) for each in ids])
    most = -(-(int(lengths.max()) + 1) // 8) * 8  # attention on a GPU wants multiples of 8
    rows = torch.zeros(len(ids), most, text.config.width, dtype=torch.bfloat16, device=device)
    for some in lengths.argsort().split(TOGETHER):
        padded = pad_sequence(text([ids[index] for index in some]), batch_first=True)
        rows[some.to(device), : padded.shape[1]] = padded.bfloat16()
    return Captions(rows, lengths.to(device))


def merged(*pools: Pool) -> Pool:
    return Pool(torch.cat([each.z for each in pools]), pools[0].grid, torch.cat([each.text for each in pools]))


def groups(pools: dict[str, Pool], stride: int, scale: float = 1.0) -> list[Group]:
    """The clips of one step, in order of their lengths: 16 times 4096 tokens, since compilers like round numbers."""

    def some(count: int) -> int:
        return max(1, int(count * scale))

    return [
        static.plain(pools["pictures"], some(32)),
        static.plain(pools["ring"], some(8), ring=True),
        static.plain(pools["wide"], some(16), 0.1),
        static.plain(pools["tall"], some(16), 0.1),
        static.plain(pools["squares"], some(50), 0.15),
        static.plain(pools["others"], some(14), 0.1),
        static.with_frames(pools["given"], some(8), stride, ends=True),
        static.with_frames(pools["given"], some(6), stride, ends=False),
        static.plain(pools["broad"], some(12), 0.1),
        static.plain(pools["high"], some(12), 0.1),
        static.with_region(pools["given"], some(6)),
        static.between(pools["gaps"], some(6), stride, 2),
        static.between(pools["connected"], some(8), stride, 2),
        static.between(pools["blended"], some(6), stride, 1),
    ]


def train_dit(
    dit: DiT, make_groups: Callable[[], list[Group]], captions: Captions, recipe: Recipe, left: Callable[[], float],
    shift: float, plain: bool = False, stage: str = "dit",
) -> DiT:  # fmt: skip
    """The average of its weights, after as many seconds as are `left` once the compiler is done."""
    average = copy.deepcopy(dit).requires_grad_(False).eval()
    block = static.run_block if plain else torch.compile(static.run_block, fullgraph=True, dynamic=False)

    def loss() -> Tensor:
        return static.lesson(dit, block, make_groups(), captions, shift)

    loss().backward()  # the compiler works before the clock starts
    dit.zero_grad()
    recorded.train(dit, average, loss, recipe, left(), lambda record: tell(stage, **record))
    return average


def begin(asked: argparse.Namespace) -> tuple[folders.Stored, int]:
    """The model to go on with, or a new one with the bundled text encoder; how many of its channels have a scale."""
    own, bundled = preset("toy"), folders.bundled("toy")
    stored = folders.load(bundled if asked.init in (None, "toy") else Path(asked.init), torch.float32, "cpu")
    if asked.init is None:
        torch.manual_seed(SEED)
        stored = replace(stored, preset=replace(own, text=stored.preset.text), vae=VAE(own.vae), dit=DiT(own.dit))
    vae, dit = stored.vae, stored.dit
    begun = vae.config.channels if asked.init else 0
    if asked.channels > vae.config.channels:
        vae, dit = wider_vae(vae, asked.channels), wider_dit(dit, asked.channels)
    kept = replace(stored.preset, vae=vae.config, dit=dit.config, recipes=own.recipes, sampling=own.sampling, late=None)
    return replace(stored, vae=vae, dit=dit, late=None, preset=kept), begun


def main() -> None:
    asked = arguments()
    device, torch.backends.cudnn.benchmark = pick_device(), True
    torch.set_float32_matmul_precision("high")
    CausalConv.forward = static.flat_forward  # type: ignore[method-assign]
    wanted = {name: replace(kind, count=int(kind.count * asked.scale)) for name, kind in WANTED.items()}
    if not asked.vae_seconds:
        wanted = {name: kind for name, kind in wanted.items() if name not in PIXELS}
    rank = join().rank
    torch.manual_seed(SEED + rank)
    model, begun = begin(asked)
    artists = Artists(wanted, SEED + 100 * asked.seed + 1000 * rank, asked.folder / str(rank))
    try:
        made = train(asked, model, begun, artists, device)
    finally:
        artists.pool.shutdown(cancel_futures=True)
    if join().main:
        folders.save(asked.out, "toy", model.preset, made, model.tokenizer, torch.float32)


def train(
    asked: argparse.Namespace, model: folders.Stored, begun: int, artists: Artists, device: torch.device
) -> dict[str, nn.Module]:
    """All stages; the models as they are at the end."""
    recipes = {name: faster(recipe, asked.rate) for name, recipe in model.preset.recipes.items()}

    vae = model.vae.to(device)
    if asked.vae_seconds:
        frames = [torch.cat([some.to(device) for some, _ in artists.take(name)]) for name in PIXELS]
        recipe = replace(recipes["vae"], batch=asked.vae_batch, decay=0.7, ema=0.998)
        decoder_only = asked.init is not None and not asked.seconds
        vae = train_vae(vae.requires_grad_(True), frames, recipe, asked.vae_seconds, begun, decoder_only)
        del frames

    words: dict[str, int] = {}
    pools = {name: pool(vae.eval(), artists, name, words, device) for name in WANTED if name not in PIXELS}
    pools |= {name: merged(*(pools.pop(part) for part in parts)) for name, parts in MERGED.items()}
    captions = read(model.text.to(device).eval(), artists.spell(model.tokenizer, words))
    tell("encoded", captions=len(words), clips={name: len(each.z) for name, each in pools.items()})

    recipe = replace(recipes["dit"], warmup=asked.warmup, decay=asked.decay, ema=asked.ema)
    stride = model.preset.vae.compression[0]
    dit = model.dit.float().to(device).requires_grad_(True)
    if asked.seconds:
        dit = train_dit(
            dit, lambda: groups(pools, stride, asked.batch_scale), captions, recipe,
            lambda: max(1.0, asked.seconds - (time.monotonic() - BEGUN)), asked.shift, asked.no_compile,
        )  # fmt: skip
    return {"vae": vae, "dit": dit, "text": model.text}


def faster(recipe: Recipe, factor: float) -> Recipe:
    return replace(recipe, rate=factor * recipe.rate, matrix_rate=factor * (recipe.matrix_rate or 0.0))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", help="a model's folder, or toy")
    parser.add_argument("--channels", type=int, default=0, help="of a latent, if more than --init has")
    parser.add_argument("--vae-seconds", type=float, default=90)
    parser.add_argument("--vae-batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=560, help="for all; the transformer has what is left")
    parser.add_argument("--rate", type=float, default=1.0, help="times the preset's learning rates")
    parser.add_argument("--warmup", type=int, default=300, help="steps")
    parser.add_argument("--decay", type=float, default=0.5, help="the last share of the time, in which rates fall")
    parser.add_argument("--ema", type=float, default=0.9993)
    parser.add_argument("--shift", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0, help="other clips; the bundled model saw those of 0, 4 and 5")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the clips to draw")
    parser.add_argument("--batch-scale", type=float, default=1.0, help="share of the clips in a step")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/toy"), help="where drawn clips wait")
    return parser.parse_args()


if __name__ == "__main__":
    main()
