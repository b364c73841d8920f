"""The book: pages, notebooks as chapters, a gallery made on the spot and the reference, in one folder to build."""

import html
import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import nbformat

from minisora.core.errors import MinisoraError
from minisora.course.cells import Pair, pairs, tag_of
from minisora.course.reference import reference
from minisora.data.clip import Clip

LIVE = "application/vnd.jupyter.widget-view+json"
NOTE = "*(In JupyterLab there are controls here; the figure above or below stands for them.)*"
FIRST = 6  # clips on the landing page
DIRECTED = 2  # clips of each way to direct, right or wrong


def prepare(book: Path, notebooks: Path, out: Path, repository: str = "", hub: str = "") -> Path:
    """Write everything that `jupyter-book build` needs into a fresh folder `out`; returns it."""
    if out.exists() and any(out.iterdir()) and not (out / "_toc.yml").exists():
        raise MinisoraError(f"{out} is not empty, and no book was made there: choose another folder")
    if book.resolve().is_relative_to(out.resolve()) or out.resolve().is_relative_to(book.resolve()):
        raise MinisoraError(
            f"{out} holds the pages that are written by hand, or lies among them: choose another folder"
        )
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(book, out)
    root = notebooks.resolve().parent
    shutil.copy(root / "CHANGELOG.md", out / "changelog.md")
    shutil.copy(root / "data" / "checkpoints" / "README.md", out / "checkpoints.md")
    for picture in (root / "data" / "checkpoints").glob("*.png"):
        shutil.copy(picture, out)
    if repository:
        _launch(out / "_config.yml", repository, hub)
    for pair in pairs(notebooks):
        nbformat.write(chapter(pair), _made(out / "notebooks") / pair.notebook.name)
    for name, page in reference().items():
        (_made(out / "reference") / f"{name}.md").write_text(page, encoding="utf-8")
    _gallery(book, out)
    return out


def chapter(pair: Pair) -> Any:
    """A notebook as a page: solutions folded, and nothing that needs a kernel or a network."""
    notebook = pair.with_outputs()
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if tag_of(cell).kind == "solution":
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
        if cell.cell_type == "code":
            cell.outputs = [_still(output) for output in cell.outputs]
    return notebook


def _still(output: Any) -> Any:
    """An output that shows controls becomes a note that they are there."""
    if LIVE not in output.get("data", {}):
        return output
    return nbformat.v4.new_output("display_data", {"text/markdown": NOTE})


def _gallery(book: Path, out: Path) -> None:
    """Make the clips that gallery.json asks for and a few of each way to direct, and the pages that show them."""
    from tqdm import tqdm

    from minisora.data.video_io import write_video
    from minisora.evaluate.directing import CAPABILITIES, attempt
    from minisora.generate.sora import Sora

    sora, folder = Sora.from_pretrained("toy"), _made(out / "_static" / "gallery")
    wishes = json.loads((book / "gallery.json").read_text(encoding="utf-8"))
    figures: dict[str, list[str]] = {}
    for number, wish in enumerate(tqdm(wishes, "wishes", unit="clip", disable=None)):
        clip = sora.generate(wish["prompt"], wish.get("size"), seed=wish["seed"])[0]
        write_video(folder / f"{number:02d}.mp4", clip)
        told = wish | {"note": _verdict(clip, wish["prompt"])}
        figures.setdefault(wish["section"], []).append(_figure(f"_static/gallery/{number:02d}.mp4", told))
    for name, number in tqdm([*product(CAPABILITIES, range(DIRECTED))], "directed", unit="clip", disable=None):
        _, clip, _ = attempt(sora, name, number)
        write_video(folder / f"{name}-{number}.mp4", clip)
        wish = {"prompt": clip.recipe["prompt"], "seed": clip.recipe["seed"], "note": clip.caption}
        figures.setdefault(f"Directed: {name}", []).append(_figure(f"_static/gallery/{name}-{number}.mp4", wish))
    (out / "landing.md").write_text(_grid(next(iter(figures.values()))[:FIRST]), encoding="utf-8")
    page = (book / "gallery.md").read_text(encoding="utf-8")
    sections = [f"## {name}\n\n{_grid(some)}" for name, some in figures.items()]
    (out / "gallery.md").write_text(page + "\n" + "\n".join(sections), encoding="utf-8")


def _verdict(clip: Clip, prompt: str) -> str:
    """What the checker of the shapes world says of a clip; the other worlds' scenes say more than a prompt does."""
    from minisora.evaluate import fidelity
    from minisora.worlds import shapes
    from minisora.worlds.prompt import claims, matches, scene_for

    asked, scene = claims(prompt), scene_for(prompt, seconds=(len(clip.frames) - 1) / clip.fps)
    if not isinstance(scene, shapes.ShapesScene):
        return ""
    told = [claims(shapes.caption(scene, detail)) for detail in ("short", "descriptive")]
    if max(matches(asked, said) for said in told) < sum(map(len, asked.values())):
        return ""  # no scene is all that was asked for
    wrong = fidelity.check(clip.frames, scene, clip.fps).failed
    return f"wrong: {', '.join(wrong)}" if wrong else "all right"


def _figure(source: str, wish: dict[str, Any]) -> str:
    said = html.escape(wish["prompt"], quote=True)
    note = f"<br><em>{html.escape(wish['note'])}</em>" if wish["note"] else ""
    video = f'<video src="{source}" aria-label="clip of: {said}" autoplay loop muted playsinline controls></video>'
    return f"<figure>{video}<figcaption>{said}, seed {wish['seed']}{note}</figcaption></figure>"


def _grid(figures: list[str]) -> str:
    return '<div class="gallery">\n' + "\n".join(figures) + "\n</div>\n"


def _launch(config: Path, repository: str, hub: str) -> None:
    """Buttons that open a chapter elsewhere need to know where the project is published."""
    text = config.read_text(encoding="utf-8").replace("use_repository_button: false", "use_repository_button: true")
    places = {"binderhub": "https://mybinder.org", "colab": "https://colab.research.google.com", "jupyterhub": hub}
    buttons = "".join(f'  {name}_url: "{url}"\n' for name, url in places.items() if url)
    text = text.replace("launch_buttons:\n", f"launch_buttons:\n{buttons}")
    config.write_text(
        f'{text}\nrepository:\n  url: "{repository}"\n  path_to_book: ""\n  branch: main\n', encoding="utf-8"
    )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
