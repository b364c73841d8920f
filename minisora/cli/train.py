"""minisora train: a preset's two stages, the video VAE and the transformer."""

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from minisora.core.recipe import Run


def train(
    name: Annotated[Positional[str], arg(metavar="PRESET", help="tiny, toy, small: `minisora info` lists them.")],
    stage: Annotated[str, arg(help="vae, then dit.")] = "vae",
    out: Annotated[Path, arg(help="Where checkpoints, logs and prepared clips go.")] = Path("out/train"),
    steps: Annotated[int | None, arg(help="Steps, if not as many as the preset says.")] = None,
    batch: Annotated[int | None, arg(help="Clips in a step, if not as many as the preset says.")] = None,
    worlds: Annotated[tuple[str, ...], arg(help="The toy worlds to learn, one more often if named twice.")] = (),
    clips: Annotated[int, arg(help="Clips to render once and train on.")] = 6000,
    sizes: Annotated[tuple[str, ...], arg(help="frames x height x width, several if you like.")] = (),
    side: Annotated[int | None, arg(help="Train the VAE on random squares of this side.")] = None,
    perceptual: Annotated[float, arg(help="For the VAE: weight of the features that a critic sees.")] = 0.0,
    adversarial: Annotated[float, arg(help="For the VAE: weight of what a critic takes for real.")] = 0.0,
    rough: Annotated[
        float, arg(help="For a trained VAE (--init): leave its encoder, and let the decoder mend latents so noisy.")
    ] = 0.0,
    run: Annotated[Run, OmitArgPrefixes] = Run(),
) -> None:
    """Train a preset on the toy worlds: first the video VAE, then the transformer on its latents."""
    from dataclasses import replace

    from minisora.core.errors import check_choice
    from minisora.core.runtime import ranks
    from minisora.data.datasets import WorldClips
    from minisora.evaluate.reconstruction import reconstruct
    from minisora.train import stages
    from minisora.train.critic import Terms
    from minisora.viz.curves import write_curves
    from minisora.worlds import WORLDS
    from minisora.zoo.presets import preset

    chosen = preset(name)
    check_choice("stage", stage, ("vae", "dit"))
    changed = {"steps": steps, "batch": batch}
    recipe = replace(chosen.recipes[stage], **{key: value for key, value in changed.items() if value is not None})
    data = WorldClips(worlds or WORLDS, clips, sizes=sizes or (chosen.size,), fps=chosen.fps, detail="either")
    if stage == "vae":
        terms = Terms(perceptual, adversarial)
        vae = stages.train_vae(chosen, data, out, recipe=recipe, run=run, side=side, terms=terms, rough=rough)
        if not ranks().main:
            return
        for world in dict.fromkeys(data.names):
            print(reconstruct(vae, world, 10, data.sizes[0], data.fps))
        print(f"curves: {write_curves(out / 'vae', out / 'vae.png').resolve()}")
    else:
        _train_dit(name, chosen, data, out, recipe, run)


def _train_dit(name: str, chosen: Any, data: Any, out: Path, recipe: Any, run: Run) -> None:
    """Train the transformer, with sheets of samples on the way, and put a model together that generates."""
    from dataclasses import replace

    from minisora.core.runtime import ranks
    from minisora.generate.sora import Sora
    from minisora.train import stages
    from minisora.viz.curves import write_curves
    from minisora.viz.sheets import write_sheet

    def sora(vae: Any, learner: Any, tokenizer: Any) -> Sora:
        return Sora.assemble(name, chosen, vae, learner.dit, learner.text, tokenizer)

    brief = replace(data, detail="short", count=min(4, len(data)))
    shown = [brief[index] for index in range(len(brief))]

    def samples(steps: int, *trained: Any) -> None:
        takes = sora(*trained).generate([clip.caption for clip in shown], seed=0, steps=10)
        write_sheet(out / "samples" / f"{steps:06d}.png", takes)

    trained = stages.train_dit(chosen, data, out, recipe=recipe, run=run, callback=samples)
    if not ranks().main:
        return
    print(f"curves: {write_curves(out / 'dit', out / 'dit.png').resolve()}")
    print(f"trained; next: minisora generate PROMPT --preset {sora(*trained).save(out / 'model')}")
