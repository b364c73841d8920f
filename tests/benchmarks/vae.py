"""The video VAE against diffusers' one, same weights and inputs:   python -m tests.benchmarks.vae [toy] [full]

`toy` is 8 clips of 17x64x64 in the bundled model's layout; `full` are the open 2.1 and 2.2 layouts on 5x128x128.
`memory` is the peak memory of streamed and of whole decoding at 17, 65 and 257 frames. Needs the extra `parity`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan

from minisora.models.vae import VAE, VAEConfig
from minisora.zoo.names import vae_diffusers
from minisora.zoo.presets import WAN21_VAE, WAN22_VAE, preset
from tests.benchmarks.timing import start, take_turns
from tests.carrying import carry


def both(config: VAEConfig, dtype: torch.dtype) -> tuple[VAE, AutoencoderKLWan]:
    folded = 3 * config.patch**2
    theirs = AutoencoderKLWan(
        base_dim=config.base, decoder_base_dim=config.decoder_base or config.base, z_dim=config.channels,
        dim_mult=list(config.stages), num_res_blocks=config.blocks, temperal_downsample=list(config.time),
        is_residual=config.shortcuts, patch_size=config.patch if config.patch > 1 else None,
        in_channels=folded, out_channels=folded,
        latents_mean=[0.0] * config.channels, latents_std=[1.0] * config.channels,
    )  # fmt: skip
    ours = VAE(config)
    carry(ours, theirs, vae_diffusers(config))
    return ours.to(dtype).eval(), theirs.to(dtype).eval()


@torch.no_grad()
def contest(title: str, config: VAEConfig, clips: int, size: tuple[int, int, int], dtype: torch.dtype, rounds: int):
    ours, theirs = both(config, dtype)
    x = torch.rand(clips, 3, *size, dtype=dtype) * 2 - 1
    z = theirs.encode(x).latent_dist.mean
    normal = ours.normalise(z)
    runs = {
        "encode": {"ours": lambda: ours.encode(x), "diffusers": lambda: theirs.encode(x).latent_dist.mean},
        "decode": {"ours": lambda: ours.decode(normal), "diffusers": lambda: theirs.decode(z).sample},
    }
    for what, pair in runs.items():
        seconds = take_turns(pair, rounds)
        times = "  ".join(f"{name} {value * 1000:8.1f} ms" for name, value in seconds.items())
        print(f"{title} {dtype} {what:7s} {times}   ratio {seconds['diffusers'] / seconds['ours']:.2f}", flush=True)


@torch.no_grad()
def peak(frames: int, streamed: bool) -> None:
    """In a process of its own: decode a video and print the largest memory used beyond what loading took, in MiB."""
    torch.set_num_threads(2)
    vae = VAE(VAEConfig(base=16, channels=8)).eval()
    vae.decode(torch.zeros(1, 8, 1, 8, 8))  # libraries are loaded
    before = high_water()
    z = torch.zeros(1, 8, 1 + (frames - 1) // 4, 32, 32)
    for _ in vae.decode_chunks(z) if streamed else [vae.decode(z)]:
        pass  # a writer would take the frames here
    print(f"{high_water() - before:.0f}")


def high_water() -> float:
    """The largest memory this program has had, in MiB (Linux). What getrusage says begins with the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def memory() -> None:
    for streamed in (True, False):
        used = [
            subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.vae", "peak", str(frames), str(int(streamed))],
                capture_output=True, text=True, check=True,
            ).stdout.strip()
            for frames in (17, 65, 257)
        ]  # fmt: skip
        print(f"decoding {'streamed' if streamed else 'whole':8s} 17, 65, 257 frames of 256x256: {', '.join(used)} MiB")


def main() -> None:
    if sys.argv[1:2] == ["peak"]:
        return peak(int(sys.argv[2]), bool(int(sys.argv[3])))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["toy", "full", "memory"], help="toy, full, memory")
    what = parser.parse_args().what
    start()
    for dtype in (torch.float32, torch.bfloat16):
        if "toy" in what:
            contest("toy", preset("toy").vae, 8, (17, 64, 64), dtype, rounds=5)
        if "full" in what:
            contest("full 2.1", WAN21_VAE, 1, (5, 128, 128), dtype, rounds=3)
            contest("full 2.2", WAN22_VAE, 1, (5, 128, 128), dtype, rounds=3)
    if "memory" in what:
        memory()


if __name__ == "__main__":
    main()
