"""How fast clips are loaded:   python -m tests.benchmarks.loader [--size 16x64x64] [--seconds 4] [--workers 0 2]

Clips of the shapes world lie in local parquet, as mp4 bytes and as raw bytes, and are read in a shuffled order. `cpu`
is clips a second of this process alone, which other programs on the machine disturb less than the clock.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from minisora.core.machine import describe
from minisora.data.clip import Clip, parse_size
from minisora.data.datasets import WorldClips
from minisora.data.folder import VideoFolder
from minisora.data.hub import HubClips, HubStream
from minisora.data.loader import Loader
from minisora.data.mp4 import encode_mp4
from minisora.data.video_io import write_video

BATCH = 16


def write(folder: Path, clips: Sequence[Clip], copies: int) -> None:
    """The same clips several times over, so that the set is longer than what is read of it."""
    words = [clip.caption for clip in clips] * copies
    films = [encode_mp4(clip) for clip in clips]
    frames = [clip.frames.numpy().tobytes() for clip in clips]
    pq.write_table(pa.table({"mp4": films * copies, "caption": words}), folder / "mp4.parquet")
    table = pa.table({"frames": frames * copies, "size": [clips[0].size] * len(words), "caption": words})
    pq.write_table(table, folder / "raw.parquet", compression="none", row_group_size=100)
    (folder / "videos").mkdir()
    for number, clip in enumerate(clips):
        write_video(folder / "videos" / f"{number}.mp4", clip)
    print(f"{len(clips)} clips of {clips[0].size}: {sum(map(len, films)) / len(films) / 1024:.1f} KiB each as mp4")


def measure(name: str, loader: Loader, seconds: float) -> None:
    batches = loader.batches()
    for _ in range(4 * loader.workers + 2):  # workers start, files come into memory
        next(batches)
    wall, cpu, clips = time.perf_counter(), time.process_time(), 0
    while (spent := time.perf_counter() - wall) < seconds:
        clips += len(next(batches))
    computed = f"{clips / (time.process_time() - cpu):8.0f}" if not loader.workers else " " * 8
    print(f"{name:28s} {loader.workers} workers {clips / spent:8.0f} clips/s   cpu {computed}", flush=True)
    batches.close()  # type: ignore[attr-defined]


def measure_stream(name: str, stream: HubStream, seconds: float) -> None:
    wall, cpu, clips = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        for _ in stream:
            clips += 1
            if time.perf_counter() - wall > seconds:
                break
    spent = time.perf_counter() - wall
    print(
        f"{name:28s}           {clips / spent:8.0f} clips/s   cpu {clips / (time.process_time() - cpu):8.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="16x64x64")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, os.cpu_count() or 1])
    options = parser.parse_args()
    import datasets

    torch.set_num_threads(1)
    print(
        ", ".join(f"{name}: {value}" for name, value in describe().items() if name in ("device", "cores", "libraries"))
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        datasets.config.HF_DATASETS_CACHE = folder / "cache"
        size = parse_size(options.size)
        write(folder, list(WorldClips("shapes", 60, sizes=[size])), copies=50)
        sets = {
            "mp4 bytes, by index": HubClips(folder / "mp4.parquet"),
            "raw bytes, by index": HubClips(folder / "raw.parquet"),
            "folder of mp4 files": VideoFolder(folder / "videos", captions="none"),
            "shapes, rendered": WorldClips("shapes", 10**6, sizes=[size]),
        }
        for title, clips in sets.items():
            for workers in options.workers:
                measure(title, Loader(clips, BATCH, workers=workers), options.seconds)
        measure_stream("mp4 bytes, streamed", HubStream(folder / "mp4.parquet"), options.seconds)
        measure_stream("raw bytes, streamed", HubStream(folder / "raw.parquet"), options.seconds)


if __name__ == "__main__":
    main()
