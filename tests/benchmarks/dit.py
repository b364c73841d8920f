"""The transformer against diffusers' one, same weights and inputs:   python -m tests.benchmarks.dit [toy] [full]

`toy` is 48 clips of 80 tokens at width 192, forward and with the gradient; `full` is 1,950 tokens at width 1536 and two
layers. There the time of its matrix products and attention alone, run one after the other, bounds what can be had.
Needs the extra `parity`.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from torch import Tensor

from minisora.models.dit import DiT, DiTConfig
from minisora.tokens.packing import Text, pack, pack_text, unpack
from minisora.zoo.names import DIT_DIFFUSERS
from tests.benchmarks.timing import start, take_turns
from tests.carrying import carry

TOY = DiTConfig(width=192, heads=6, layers=6, mlp=768, text_width=128, text_length=64)
FULL = DiTConfig(width=1536, heads=12, layers=2, mlp=8960, text_width=4096, text_length=512)


def both(config: DiTConfig, dtype: torch.dtype) -> tuple[DiT, WanTransformer3DModel]:
    theirs = WanTransformer3DModel(
        num_attention_heads=config.heads, attention_head_dim=config.width // config.heads, ffn_dim=config.mlp,
        in_channels=config.channels, out_channels=config.channels, text_dim=config.text_width,
        num_layers=config.layers, cross_attn_norm=True, rope_max_seq_len=64,
    )  # fmt: skip
    ours = DiT(config)
    carry(ours, theirs, DIT_DIFFUSERS)
    for name, module in theirs.named_modules():  # fp32 is kept where diffusers keeps it
        if isinstance(module, torch.nn.Linear | torch.nn.RMSNorm | torch.nn.Conv3d) and "time_embedder" not in name:
            module.to(dtype)
    return ours.lower(dtype), theirs


def inputs(config: DiTConfig, clips: int, grid: tuple[int, int, int], rows: int, dtype: torch.dtype):
    latents = torch.randn(clips, config.channels, *grid, dtype=dtype)
    prompts = torch.randn(clips, rows, config.text_width, dtype=dtype)
    return latents, prompts, torch.rand(clips, dtype=torch.float64)


def contest(config: DiTConfig, clips: int, grid: tuple[int, int, int], rows: int, dtype: torch.dtype, gradient: bool):
    """The same latents in, the same velocities out. Both get text without padding, so that both attend to the same."""
    ours, theirs = both(config, dtype)
    latents, prompts, t = inputs(config, clips, grid, rows, dtype)
    text = Text(prompts.flatten(0, 1), (rows,) * clips, torch.zeros(clips * rows))

    def run_ours() -> Tensor:
        tokens = pack(latents, config.patch)
        times = t.repeat_interleave(torch.tensor(tokens.lengths))
        return torch.stack(unpack(tokens.with_x(ours(tokens, times, text)), config.patch))

    def run_theirs() -> Tensor:
        return theirs(latents, 1000 * t, prompts, return_dict=False)[0]

    def learning(run: Callable[[], Tensor], model: torch.nn.Module) -> Callable[[], None]:
        def step() -> None:
            run().float().square().mean().backward()
            model.zero_grad()

        return step

    if gradient:
        return take_turns({"ours": learning(run_ours, ours), "diffusers": learning(run_theirs, theirs)})
    with torch.no_grad():
        a, b = run_ours().float(), run_theirs().float()
        print(f"  rel difference {((a - b).norm() / b.norm()).item():.1e}")
        return take_turns({"ours": run_ours, "diffusers": run_theirs})


def report(title: str, seconds: dict[str, float]) -> None:
    times = "  ".join(f"{name} {value * 1000:8.1f} ms" for name, value in seconds.items())
    print(f"{title:34s} {times}   ratio {seconds['diffusers'] / seconds['ours']:.2f}", flush=True)


@torch.no_grad()
def bounded(dtype: torch.dtype) -> None:
    """Full width once more, beside the bare products, and with a real prompt of 40 rows among 472 of padding."""
    config, n, rows = FULL, 1950, 512
    ours, theirs = both(config, dtype)
    latents, prompts, _ = inputs(config, 1, (6, 26, 50), rows, dtype)
    text = Text(prompts[0], (rows,), torch.zeros(rows))
    short = pack_text([prompts[0, :40]], rows)
    padded = F.pad(prompts[:, :40], (0, 0, 0, rows - 40))
    tokens, t = pack(latents, config.patch), torch.tensor(0.5, dtype=torch.float64)
    heads = config.heads, config.width // config.heads
    x, y = (torch.randn(count, config.width, dtype=dtype) for count in (n, rows))
    hidden = torch.randn(n, config.mlp, dtype=dtype)
    q, k = (z.unflatten(-1, heads).transpose(0, 1)[None] for z in (x, y))

    def products() -> None:
        ours.embed(tokens.x)
        for layer, source in ((ours.embed_text[0], prompts[0]), (ours.embed_text[2], y), (ours.head, x)):
            layer(source)
        for block in ours.blocks:
            for layer in (block.attend.q, block.attend.k, block.attend.v, block.attend.out):
                layer(x)
            for layer, source in ((block.read.q, x), (block.read.k, y), (block.read.v, y), (block.read.out, x)):
                layer(source)
            F.scaled_dot_product_attention(q, q, q)
            F.scaled_dot_product_attention(q, k, k)
            block.mlp_in(x)
            block.mlp_out(hidden)

    seconds = take_turns(
        {
            "ours": lambda: ours(tokens, t, text),
            "products": products,
            "diffusers": lambda: theirs(latents, 1000 * t[None], prompts, return_dict=False)[0],
            "ours, 40 rows": lambda: ours(tokens, t, short),
            "diffusers, 40 rows padded": lambda: theirs(latents, 1000 * t[None], padded, return_dict=False)[0],
        }
    )
    report(f"full width {dtype}, 512 rows", {name: seconds[name] for name in ("ours", "diffusers")})
    print(
        f"  its products and attention alone {seconds['products'] * 1000:.1f} ms: "
        f"{seconds['products'] / seconds['ours']:.0%}"
    )
    print(f"  a prompt of 40 rows: ratio {seconds['diffusers, 40 rows padded'] / seconds['ours, 40 rows']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["toy", "full"], help="toy, full")
    what = parser.parse_args().what
    start()
    for dtype in (torch.float32, torch.bfloat16):
        if "toy" in what:
            report(f"toy {dtype} forward", contest(TOY, 48, (5, 8, 8), 17, dtype, gradient=False))
            report(f"toy {dtype} forward and backward", contest(TOY, 48, (5, 8, 8), 17, dtype, gradient=True))
        if "full" in what:
            bounded(dtype)


if __name__ == "__main__":
    main()
