"""One minute from one second: is it the same thing after every hop, do its colors drift, does memory grow?

    python -m tests.benchmarks.minute [--n 50] [--first 0] [--rough 0.1] [--steps 20] [--out out/minute]

One flat thing of the shapes world that goes round or swings, so that it can go on for ever; nine real frames are given.
Retention is the share of hops whose eight new frames show the thing with its number, shape, color and size, of those
whose hop before did. Color drift is how far its mean color is from that of the given frames, in gray levels; beside it
stands how far it is when the real minute is decoded from its latents, hop by hop. Each case leaves a file in `--out`:
another run goes on from there, and with `--first` a second process does other cases.
"""

import argparse
import resource
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor
from tqdm import tqdm

from minisora.core.checkpoint import load_json, save_json
from minisora.core.machine import describe
from minisora.data.clip import Clip
from minisora.data.datasets import rendered
from minisora.evaluate import fidelity
from minisora.evaluate.cases import GIVEN, LENGTH, SIDE, Case
from minisora.evaluate.fidelity import APART, read_backdrop
from minisora.evaluate.seams import same_thing
from minisora.evaluate.shares import Share
from minisora.generate import direct
from minisora.generate.credits import write_take
from minisora.generate.sora import Sora
from minisora.viz.style import use_style

MINUTE = 480
HOP = LENGTH - GIVEN
MOTIONS = ("clockwise", "counterclockwise", "sway", "bob")


def color(frames: Tensor) -> Tensor:
    """(3,) the mean color of what differs from the background."""
    *_, backdrop = read_backdrop(frames)
    seen = (frames.float() - backdrop).norm(dim=-1) > APART
    return frames.float()[seen].mean(0) if seen.any() else backdrop.mean((0, 1))


def minute(sora: Sora, number: int, rough: float, steps: int | None, out: Path) -> dict[str, object]:
    case = Case.draw(number, MOTIONS)
    given = Clip(case.real.frames[:GIVEN], case.real.fps)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = direct.extend(sora, given, case.prompt, MINUTE - GIVEN, seed=number, rough=rough, steps=steps)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if number < 4:
        write_take(out / f"{number:03d}.mp4", made)
    real = rendered(case.scene, (MINUTE, SIDE, SIDE)).frames
    starts, begun = range(GIVEN, MINUTE - HOP + 1, HOP), color(given.frames)
    same = [same_thing(fidelity.read(made.frames[at : at + HOP], made.fps), case.scene) for at in starts]
    drift = [float((color(made.frames[at : at + HOP]) - begun).norm()) for at in starts]
    coded = [sora.decode(sora.encode(Clip(real[at - GIVEN : at + HOP]))).frames[GIVEN:] for at in starts]
    return {
        "same": same,
        "drift": drift,
        "floor": [float((color(some) - begun).norm()) for some in coded],
        "MiB": grown,
    }


def table(results: list[dict]) -> str:
    pairs = [pair for result in results for pair in zip(result["same"], result["same"][1:], strict=False)]
    began = [after for before, after in pairs if before]
    lines = [f"retention per hop {Share(sum(began), max(1, len(began)))} % of {len(began)} hops"]
    for second in (2, 5, 10, 20, 40, 58):
        at = min((second * 8 - GIVEN) // HOP, len(results[0]["same"]) - 1)
        still = Share(sum(result["same"][at] for result in results), len(results))
        away, floor = (torch.tensor([result[name][at] for result in results]).median() for name in ("drift", "floor"))
        lines.append(f"at second {second:3d}: same thing {still} %, median color drift {away:.1f}, floor {floor:.1f}")
    memory = [result["MiB"] for result in results]
    lines.append(
        f"memory grew by {max(memory[:1]):.0f} MiB in the first minute and {max(memory[1:] or [0]):.0f} in any other"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="toy")
    parser.add_argument("--n", type=int, default=50)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--rough", type=float, default=0.1)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, default=Path("out/minute"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sora = Sora.from_pretrained(options.preset)
    how = {"weights": sora.weights, "rough": options.rough, "steps": options.steps}
    for number in tqdm(range(options.first, options.n), "minutes", disable=None):
        path = options.out / f"{number:03d}.json"
        if not path.exists():
            save_json(path, how | minute(sora, number, options.rough, options.steps, options.out))
    results = [load_json(path) for path in sorted(options.out.glob("*.json"))]
    for result in results:
        if {name: result[name] for name in how} != how:
            parser.error(f"{options.out} holds minutes of other weights or settings: name another folder")
    print(f"{len(results)} minutes of {describe()['device']}, rough {options.rough}\n{table(results)}")
    use_style()
    figure, ax = plt.subplots(figsize=(6, 3))
    drift = torch.tensor([result["drift"] for result in results])
    seconds = (GIVEN + torch.arange(drift.shape[1]) * HOP) / 8
    for share, style in ((0.25, ":"), (0.5, "-"), (0.75, ":")):
        ax.plot(seconds, drift.quantile(share, 0), style, color="#0072B2")
    ax.set(xlabel="seconds", ylabel="gray levels", title="How far colors drift: median and quartiles")
    figure.savefig(options.out / "drift.png", dpi=100, bbox_inches="tight")
    print(f"figure: {(options.out / 'drift.png').resolve()}")


if __name__ == "__main__":
    main()
