"""minisora train: a preset's three stages, the video VAE, the text encoder and the transformer."""

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from minisora.core.recipe import Run


def train(
    name: Annotated[Positional[str], arg(metavar="PRESET", help="tiny, toy, small: `minisora info` lists them.")],
    stage: Annotated[str, arg(help="vae, then text, then dit.")] = "vae",
    out: Annotated[Path, arg(help="Where checkpoints, logs and prepared clips go.")] = Path("out/train"),
    steps: Annotated[int | None, arg(help="Steps, if not as many as the preset says.")] = None,
    batch: Annotated[int | None, arg(help="Clips or captions in a step, if not as many as the preset says.")] = None,
    accumulate: Annotated[int | None, arg(help="Passes that make a step, if a batch is too much for one.")] = None,
    worlds: Annotated[tuple[str, ...], arg(help="The toy worlds to learn, one more often if named twice.")] = (),
    only: Annotated[tuple[str, ...], arg(help="Only such scenes: count=1 style=flat motion=left,right.")] = (),
    clips: Annotated[int, arg(help="Clips to render once and train on.")] = 6000,
    sizes: Annotated[tuple[str, ...], arg(help="frames x height x width, several if you like.")] = (),
    side: Annotated[int | None, arg(help="Train the VAE on random squares of this side.")] = None,
    perceptual: Annotated[float, arg(help="For the VAE: weight of the features that a critic sees.")] = 0.0,
    adversarial: Annotated[float, arg(help="For the VAE: weight of what a critic takes for real.")] = 0.0,
    rough: Annotated[
        float, arg(help="For a trained VAE (--init): leave its encoder, and let the decoder mend latents so noisy.")
    ] = 0.0,
    shift: Annotated[float | None, arg(help="For the DiT: as the preset, or larger for more times near 1.")] = None,
    times: Annotated[tuple[float, float], arg(help="For the DiT: an expert for these only.")] = (0.0, 1.0),
    init: Annotated[
        Path | None, arg(help="Begin with a model: its folder, a bundled preset, or a VAE's file; --out comes first.")
    ] = None,
    run: Annotated[Run, OmitArgPrefixes] = Run(),
) -> None:
    """Train a preset on the toy worlds: the video VAE, the text encoder on captions, then the transformer on both."""
    from dataclasses import replace

    from minisora.core.errors import check_choice
    from minisora.zoo.presets import preset

    chosen = preset(name)
    check_choice("stage", stage, chosen.recipes)
    changed = {"steps": steps, "batch": batch, "accumulate": accumulate}
    recipe = replace(chosen.recipes[stage], **{key: value for key, value in changed.items() if value is not None})
    data = _clips(chosen, worlds, only, clips, sizes)
    for frames, height, width in data.sizes:  # and the squares that the VAE is trained on, before anything is rendered
        chosen.check_clip((frames, height, width), stage)
        chosen.check_clip((frames, min(height, side or height), min(width, side or width)), "vae")
    own = {"vae": {"side": side, "terms": (perceptual, adversarial), "rough": rough}}
    own["dit"] = {"shift": shift, "within": times}
    how = {"recipe": recipe, "run": run} | own.get(stage, {})
    STAGES[stage](name, chosen, data, out, init, how)


def _clips(chosen: Any, worlds: tuple[str, ...], only: tuple[str, ...], clips: int, sizes: tuple[str, ...]) -> Any:
    from minisora.data.datasets import WorldClips
    from minisora.worlds import WORLDS

    names, sizes = worlds or WORLDS, sizes or (chosen.size,)
    constraints = dict.fromkeys(names, _constraints(only))
    return WorldClips(names, clips, sizes=sizes, fps=chosen.fps, detail="either", constraints=constraints)


def _constraints(only: tuple[str, ...]) -> dict[str, Any]:
    """Words such as count=1 or motion=left,right as arguments of a world's `sample`."""
    from minisora.core.errors import MinisoraError

    found: dict[str, Any] = {}
    for words in only:
        name, equals, values = words.partition("=")
        if not (name and equals and values):
            raise MinisoraError(f"--only cannot read {words!r}: write NAME=WORD or NAME=WORD,WORD, such as count=1")
        if name == "held_out":
            raise MinisoraError("--only cannot ask for held_out: those scenes are for measuring, and never trained on")
        several = [int(value) if value.isdigit() else value for value in values.split(",")]
        found[name] = several[0] if len(several) == 1 else several
    return found


def _train_vae(name: str, chosen: Any, data: Any, out: Path, init: Path | None, how: dict[str, Any]) -> None:
    """Train the VAE, and tell how well it reconstructs unseen clips of every world."""
    from minisora.core.runtime import ranks
    from minisora.evaluate.reconstruction import reconstruct
    from minisora.train import stages
    from minisora.train.critic import Terms
    from minisora.viz.curves import write_curves

    how["terms"] = Terms(*how["terms"])
    vae = stages.train_vae(chosen, data, out, begun=None if init is None else _vae(init, chosen), **how)
    if not ranks().main:
        return
    for world in dict.fromkeys(data.names):
        print(reconstruct(vae, world, 10, data.sizes[0], data.fps))
    print(f"curves: {write_curves(out / 'vae', out / 'vae.png').resolve()}")


def _train_text(name: str, chosen: Any, data: Any, out: Path, init: Path | None, how: dict[str, Any]) -> None:
    """Teach the text encoder to read the captions of the clips, which need not be drawn for it."""
    from tqdm import tqdm

    from minisora.core.runtime import ranks
    from minisora.generate.sora import Sora
    from minisora.train import stages
    from minisora.viz.curves import write_curves

    if init is not None:
        model = Sora.from_pretrained(init, device="cpu", dtype="fp32")
        how["begun"] = model.text, model.tokenizer
    captions = [data.caption(index) for index in tqdm(range(len(data)), "captions", disable=None)]
    stages.train_text(chosen, captions, out, **how)
    if ranks().main:
        print(f"curves: {write_curves(out / 'text', out / 'text.png').resolve()}")


def _train_dit(name: str, chosen: Any, data: Any, out: Path, init: Path | None, how: dict[str, Any]) -> None:
    """Train the transformer, with sheets of samples on the way, and put a model together that generates."""
    from dataclasses import replace

    from minisora.core.runtime import ranks
    from minisora.generate.sora import Sora
    from minisora.train import stages
    from minisora.viz.curves import write_curves
    from minisora.viz.sheets import write_sheet

    def sora(trained: stages.Trained) -> Sora:
        return Sora.assemble(name, chosen, *trained)

    brief = replace(data, detail="short", count=min(4, len(data)))
    shown = [brief[index] for index in range(len(brief))]

    def samples(steps: int, trained: stages.Trained) -> None:
        takes = sora(trained).generate([clip.caption for clip in shown], seed=0, steps=10)
        write_sheet(out / "samples" / f"{steps:06d}.png", takes)

    if init is not None:
        model: Any = Sora.from_pretrained(init, device="cpu", dtype="fp32")
        late = model.late if model.late and how["within"][1] <= model.preset.late.below else None  # who is asked then
        how["begun"] = stages.Trained(model.vae, late or model.dit, model.text, model.tokenizer)
    trained = stages.train_dit(chosen, data, out, **how, callback=samples)
    if not ranks().main:
        return
    print(f"curves: {write_curves(out / 'dit', out / 'dit.png').resolve()}")
    print(f"trained; next: minisora generate PROMPT --preset {sora(trained).save(out / 'model')}")


def _vae(init: Path, chosen: Any) -> Any:
    """The VAE of a model, or from a file of its weights alone."""
    from minisora.core.checkpoint import load_into
    from minisora.generate.sora import Sora
    from minisora.models.vae import VAE

    if init.suffix != ".safetensors":
        return Sora.from_pretrained(init, device="cpu", dtype="fp32").vae
    vae = VAE(chosen.vae)
    load_into(vae, init)
    return vae


STAGES = {"vae": _train_vae, "text": _train_text, "dit": _train_dit}
