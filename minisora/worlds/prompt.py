"""From a prompt to the scene that it asks for: the scene whose caption claims what the prompt claims."""

import inspect
from collections.abc import Iterator

from minisora.core.errors import MinisoraError
from minisora.worlds import WORLDS, Scene, world
from minisora.worlds.language import WORDS, mentions

GLANCES, TRIES = 12, 120  # scenes of every world to find the right one, then of that one to find the right scene


def claims(text: str) -> dict[str, list[str]]:
    """Every attribute that a text names, with the values in the order in which it names them."""
    found = {attribute: mentions(text, attribute) for attribute in WORDS}
    return {attribute: values for attribute, values in found.items() if values}


def scene_for(prompt: str, seed: int = 0, seconds: float = 2.0) -> Scene:
    """The scene that fits a prompt best, of all worlds. A prompt that no world understands is refused."""
    asked = claims(prompt)
    name = max(WORLDS, key=lambda name: _best(name, asked, seed, seconds, GLANCES)[0])
    agreement, scene = _best(name, asked, seed, seconds, TRIES)
    if scene is None or agreement <= 0:
        raise MinisoraError(
            "no toy world understands this prompt: name a color, a thing and a motion, as in "
            "'a large red circle moves to the right on a white background'"
        )
    return scene


def _best(name: str, asked: dict[str, list[str]], seed: int, seconds: float, tries: int) -> tuple[float, Scene | None]:
    """(agreement, scene) of the world's scene that fits best; the search ends when all that was asked for is told."""
    best: tuple[float, Scene | None] = (0.0, None)
    complete = sum(map(len, asked.values()))
    for scene in _candidates(name, asked, seed, seconds, tries):
        told = [claims(world(name).caption(scene, detail)) for detail in ("short", "descriptive")]
        best = max(best, (max(overlap(asked, claim) for claim in told), scene), key=lambda entry: entry[0])
        if any(matches(asked, claim) == complete for claim in told):
            break
    return best


def matches(asked: dict[str, list[str]], told: dict[str, list[str]]) -> int:
    """How many of the values asked for are told in their places."""
    return sum(a == b for name, values in asked.items() for a, b in zip(values, told.get(name, []), strict=False))


def overlap(asked: dict[str, list[str]], told: dict[str, list[str]]) -> float:
    """The matches, less a little for everything that is told although nobody asked for it."""
    same = matches(asked, told)
    return same - 0.1 * (sum(map(len, told.values())) - same)


def _candidates(name: str, asked: dict[str, list[str]], seed: int, seconds: float, tries: int) -> Iterator[Scene]:
    """Scenes of one world, drawn from the words of the prompt where the world has a constraint of that name."""
    sample = world(name).sample
    known = inspect.signature(sample).parameters
    constraints: dict[str, object] = {
        attribute: list(dict.fromkeys(values)) for attribute, values in asked.items() if attribute in known
    }
    if "count" in known:
        things = max((len(asked.get(noun, [])) for noun in ("shape", "figure", "color")), default=0)
        counts = asked.get("count", [])
        constraints["count"] = int(counts[0]) if counts else things or None
    unasked = {"held_out": None, "style": "flat"}  # any composition, and the one style that goes without saying
    constraints |= {name: value for name, value in unasked.items() if name in known and name not in constraints}
    for attempt in range(tries):
        try:
            yield sample(seed * tries + attempt, seconds, **constraints)  # type: ignore[arg-type]
        except MinisoraError:
            constraints.pop("count", None)  # this world cannot do so many; let it do as many as it can
