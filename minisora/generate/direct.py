"""Directing: animate, extend, connect, blend, fill, edit, loop. Each is a few arguments of the one `Sora.generate`.

What is given of a clip are tokens at time 0 (tokens/known.py); what is changed is shown, or noised a little. After
decoding, given frames are put back as they were; `raw` keeps what the model made of them, so that both can be judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.core.runtime import generator
from minisora.data.clip import Clip, Size, from_pixels, parse_size, size_name
from minisora.diffusion.flow import mix
from minisora.generate.credits import Take
from minisora.generate.given import eased, filled, places, tail, whole
from minisora.generate.shown import shown
from minisora.generate.sora import Sora
from minisora.models.lora import added
from minisora.tokens.known import Known

GREY = 128
"""What stands in a clip where a region is unknown: 0 in −1 … 1, as in training."""
CONTEXT = 9
"""Frames that an extension looks back on."""
ENDING = 5
"""Frames of an ending that are given, every second of them."""


@dataclass(frozen=True, eq=False, repr=False)
class Directed(Take):
    """A clip in which what was given stands as it was."""

    raw: Tensor | None = None
    """The frames as the model decoded them."""


def animate(sora: Sora, image: Clip, prompt: str, frames: int | None = None, **options: Any) -> Directed:
    """A clip that begins with an image."""
    start = _part(image, image.frames[:1])
    return _made(sora, start, prompt, frames or sora.preset.size[0], Known(prefix=sora.encode(start)), [0], options)


def extend(
    sora: Sora, clip: Clip, prompt: str, frames: int, backward: bool = False, rough: float = 0.0, **options: Any
) -> Directed:
    """So many more frames after a clip, or before it, in hops that each see only the nearest few: memory stays flat.

    What a hop sees is `rough`, noisy up to a time that it is told: so it does not repeat every small error as true.
    """
    if frames < 1 or not 0 <= rough < 1:
        raise MinisoraError(f"a clip cannot be extended by {frames} frames, rough {rough}: take 1 or more, and 0 to 1")
    hop, seed, length = (_before if backward else _after), options.pop("seed", 0), len(clip.frames) + frames
    made, raw, recipe = _part(clip, clip.frames), clip.frames, {}
    while len(made.frames) < length:
        fresh, overlap = hop(sora, made, prompt, rough, {**options, "seed": seed})
        assert fresh.raw is not None
        new, old = (slice(-overlap), slice(overlap, None)) if backward else (slice(overlap, None), slice(-overlap))
        made = _part(clip, _joined(fresh.frames[new], made.frames, backward))
        # what was given is told as the model decodes it
        raw = _joined(fresh.raw[new], raw, backward) if recipe else _joined(fresh.raw, raw[old], backward)
        recipe, seed = recipe or dict(fresh.recipe), seed + 1
    cut = slice(-length, None) if backward else slice(length)
    how = "extend backward" if backward else "extend"
    recipe |= {"directed": how, "rough": rough, "size": size_name((length, *clip.shape[1:]))}
    return Directed(made.frames[cut], clip.fps, prompt, f"minisora {sora.name}", recipe=recipe, raw=raw[cut])


def connect(
    sora: Sora, first: Clip, second: Clip, prompt: str, frames: int | None = None, toward: str | None = None,
    **options: Any,
) -> Directed:  # fmt: skip
    """One clip, then generated frames, then another clip; `frames` counts the generated ones.

    With a prompt `toward` the second clip, the generated frames turn from the one prompt to the other.
    """
    if first.shape[1:] != second.shape[1:]:
        raise MinisoraError(f"{first.size} and {second.size} cannot be connected: give both one height and width")
    stride = sora.vae.config.compression[0]
    last = tail(first.frames, ENDING, stride)
    wanted = max(stride, sora.preset.size[0] - len(last) - ENDING) if frames is None else frames
    if wanted < 1:
        raise MinisoraError(f"two clips cannot be connected by {wanted} frames: take 1 or more")
    length = whole(len(last) + wanted + min(ENDING, len(second.frames)), stride)
    head = second.frames[: length - len(last) - wanted]
    end = len(last) + wanted + len(head)  # a short second clip ends before the last whole latent does
    known = Known(prefix=sora.encode(_part(first, last)), frames=_singles(sora, head, end))
    given = [*range(len(last)), *places(len(head), end)]
    options |= {} if toward is None else {"toward": [toward]}
    middle = _made(_with(sora, "turning"), _part(first, filled(last, head, end)), prompt, length, known, given, options)
    assert middle.raw is not None
    before, after = first.frames[: len(first.frames) - len(last)], second.frames[len(head) :]
    joined, raw = (torch.cat([before, some[:end], after]) for some in (middle.frames, middle.raw))
    recipe = dict(middle.recipe) | {"directed": "connect", "size": size_name((len(joined), *first.shape[1:]))}
    return Directed(joined, first.fps, prompt, middle.source, recipe=recipe, raw=raw)


def blend(
    sora: Sora, first: Clip, second: Clip, prompt: str, toward: str, start: float = 1.0, **options: Any
) -> Directed:
    """One clip of two: it begins as the first, ends as the second, and half-way the one turns into the other.

    With `start` below 1 it begins from a cross-fade of both, and what else they show is kept the more, too.
    """
    if first.shape != second.shape:
        raise MinisoraError(f"{first.size} and {second.size} cannot be blended: give both one size")
    last = len(first.frames) - 1
    share = torch.linspace(0, 1, last + 1)[:, None, None, None]
    faded = _part(first, torch.lerp(first.frames.float(), second.frames.float(), share).round().byte())
    known = Known(sora.encode(_part(first, first.frames[:1])), {last: sora.encode(_part(second, second.frames[-1:]))})
    begun = {"toward": [toward]} | ({"init": [faded], "start": start} if start < 1 else {})
    return _made(_with(sora, "turning"), faded, prompt, last + 1, known, [0, last], options | begun)


def fill(sora: Sora, clip: Clip, mask: Tensor, prompt: str, **options: Any) -> Directed:
    """Make anew what a mask (t,) of frames or (h, w) of places marks, and leave the rest as it is."""
    mask = mask.bool()
    if not mask.any() or mask.all():
        raise MinisoraError("the mask covers nothing, or everything: mark what is to be made anew, and leave something")
    if mask.shape == clip.shape[:1]:
        given = (~mask).nonzero().flatten().tolist()
        known = _around(sora, clip, mask)
        return _made(_with(sora, "gaps"), clip, prompt, len(clip.frames), known, given, options)
    if mask.shape != clip.shape[1:]:
        raise MinisoraError(f"a mask {tuple(mask.shape)} is neither (frames,) nor (height, width) of {clip.size}")
    grey = torch.where(mask[..., None], torch.tensor(GREY, dtype=torch.uint8), clip.frames)
    known = Known(region=sora.encode(_part(clip, grey)))
    made = _made(sora, clip, prompt, len(clip.frames), known, [], options)
    return replace(made, frames=torch.where(mask[..., None], made.frames, clip.frames))


def edit(
    sora: Sora, clip: Clip, prompt: str, was: str | None = None, strength: float | None = None, **options: Any
) -> Directed:
    """The same clip under another prompt. A model that has learned to edit sees it beside the one that it makes.

    With a `strength` nothing is shown: the clip is noised up to that time and made again from there (SDEdit, Meng et
    al. 2021); near 1 nothing of it remains, and little is changed near 0. If it is said what the clip `was`, all that
    the two prompts do not tell apart stays (Kulikov et al. 2024).
    """
    if strength is None and was is None and "edits" in sora.additions:
        take = shown(_with(sora, "edits"), clip, prompt, **options)
    else:
        strength = 0.85 if strength is None else strength
        if not 0 < strength < 1:
            raise MinisoraError(f"an edit of strength {strength} is none: take one between 0 and 1, such as 0.85")
        options |= {"init": [clip], "start": strength, "fps": clip.fps, "was": None if was is None else [was]}
        (take,) = sora.generate(prompt, size_name(clip.shape), **options)
    return _directed(take, "edit", take.frames)


def loop(sora: Sora, prompt: str, frames: int | None = None, **options: Any) -> Directed:
    """A clip that goes round: after its last frame comes its first, and nobody can say where it began."""
    size = None if frames is None else size_name((frames, *sora.preset.size[1:]))
    (take,) = sora.generate(prompt, options.pop("size", size), ring=True, **options)
    return _directed(take, "loop", take.frames)


def preview(
    sora: Sora, prompt: str, size: str | Size | None = None, scale: float = 0.75, start: float = 0.5, **options: Any
) -> list[Directed]:
    """A clip of less height and width, quickly, and then the full one with the same layout."""
    frames, height, width = parse_size(size or sora.preset.size)
    (small,) = sora.generate(prompt, (frames, round(scale * height), round(scale * width)), **options)
    larger = F.interpolate(small.pixels()[0].movedim(1, 0), (height, width), mode="bilinear").movedim(0, 1)
    guide = from_pixels(larger, small.fps)
    (full,) = sora.generate(prompt, (frames, height, width), init=[guide], start=start, **options)
    return [_directed(take, "preview", take.frames) for take in (small, full)]


def views(sora: Sora, prompt: str, count: int = 4, **options: Any) -> Directed:
    """A scene at rest from several sides at once: the prompt's camera goes round it, and every view is a frame."""
    (take,) = sora.generate(prompt, **options)
    if not 1 < count <= len(take.frames):
        raise MinisoraError(f"a clip of {len(take.frames)} frames has no {count} views: take 2 or more, or more frames")
    chosen = torch.linspace(0, len(take.frames) - 1, count).round().long()
    return _directed(replace(take, frames=take.frames[chosen]), "views", take.frames[chosen])


@dataclass(frozen=True)
class Panel:
    """What a storyboard shows for a while; after a cut, it does not go on from what was there."""

    prompt: str
    frames: int
    cut: bool = False


def storyboard(sora: Sora, panels: Sequence[Panel], **options: Any) -> Directed:
    """Panels in their order as one clip: each goes on from the last frames of the one before, or begins with a cut."""
    if not panels or min(panel.frames for panel in panels) < 1:
        raise MinisoraError("a storyboard has a panel or more, of a frame or more: [Panel('a red circle rises', 17)]")
    seed, plane = options.pop("seed", 0), parse_size(options.pop("size", None) or sora.preset.size)[1:]
    clip: Directed | None = None
    raw: list[Tensor] = []
    begun = 0  # where the shot begins: nothing looks back across a cut
    for number, panel in enumerate(panels):
        if clip is not None and not panel.cut:
            shot = _part(clip, clip.frames[begun:])
            fresh = extend(sora, shot, panel.prompt, panel.frames, seed=seed + number, **options)
            assert fresh.raw is not None
            raw.append(fresh.raw[len(shot.frames) :])
            clip = replace(fresh, frames=torch.cat([clip.frames[:begun], fresh.frames]))
            continue
        begun = 0 if clip is None else len(clip.frames)
        size = (whole(panel.frames, sora.vae.config.compression[0]), *plane)
        (take,) = sora.generate(panel.prompt, size, seed=seed + number, **options)
        raw.append(take.frames[: panel.frames])
        frames = raw[-1] if clip is None else torch.cat([clip.frames, raw[-1]])
        clip = _directed(replace(take, frames=frames), "storyboard", frames)
    assert clip is not None
    shots = [[panel.prompt, panel.frames, panel.cut] for panel in panels]
    recipe = dict(clip.recipe) | {"directed": "storyboard", "shots": shots, "seed": seed, "size": clip.size}
    return replace(clip, caption=" / ".join(panel.prompt for panel in panels), recipe=recipe, raw=torch.cat(raw))


def _with(sora: Sora, what: str) -> Sora:
    """With what it learned later of clips like these, if it did."""
    return replace(sora, dit=added(sora.dit, sora.additions[what])) if what in sora.additions else sora


def _after(sora: Sora, clip: Clip, prompt: str, rough: float, options: dict[str, Any]) -> tuple[Directed, int]:
    """A clip that begins with the last frames of another, and how many those are."""
    start = _part(clip, tail(clip.frames, CONTEXT, sora.vae.config.compression[0]))
    count = len(start.frames)
    known = _rough(Known(prefix=sora.encode(start)), rough, options["seed"])
    return _made(sora, start, prompt, _window(sora, count), known, list(range(count)), options), count


def _before(sora: Sora, clip: Clip, prompt: str, rough: float, options: dict[str, Any]) -> tuple[Directed, int]:
    """A clip that ends with the first frames of another, and how many those are."""
    head = clip.frames[:ENDING]
    length = _window(sora, len(head))
    known = _rough(Known(frames=_singles(sora, head, length)), rough, options["seed"])
    end = _part(clip, filled(clip.frames[:0], head, length))
    return _made(sora, end, prompt, length, known, places(len(head), length), options), len(head)


def _made(
    sora: Sora, clip: Clip, prompt: str, frames: int, known: Known, given: list[int], options: dict[str, Any]
) -> Directed:
    """Generate with what is known; the frames that are `given` are then those of the clip again."""
    options = {"fps": clip.fps} | options
    (take,) = sora.generate(prompt, (frames, *clip.shape[1:]), known=[known], **options)
    kept = eased(take.frames, clip.frames, given) if given else take.frames
    return _directed(replace(take, frames=kept), "known", take.frames)


def _around(sora: Sora, clip: Clip, mask: Tensor) -> Known:
    """What is known of a clip with gaps (t,): all before the first, and on from there four frames beside each."""
    first = int(mask.int().argmax())
    prefix = clip.frames[: first - (first - 1) % sora.vae.config.compression[0]] if first else clip.frames[:0]
    beside = F.max_pool1d(mask.float()[None, None], 9, 1, 4)[0, 0].bool()
    beside[-1] = True
    places = [at for at in (beside & ~mask).nonzero().flatten().tolist() if at >= len(prefix)]
    return Known(
        prefix=sora.encode(_part(clip, prefix)) if len(prefix) else None,
        frames={at: sora.encode(_part(clip, clip.frames[at : at + 1])) for at in places},
    )


def _rough(known: Known, time: float, seed: int) -> Known:
    """The same with noise on it, and told so."""
    source = generator(seed + 1)  # not the noise that the unknown tokens begin with

    def noisy(z: Tensor) -> Tensor:
        return mix(z, torch.randn(z.shape, generator=source).to(z), time)

    prefix = None if known.prefix is None else noisy(known.prefix)
    return Known(prefix, {frame: noisy(z) for frame, z in known.frames.items()}, time=time)


def _part(clip: Clip, frames: Tensor) -> Clip:
    """Other frames of a clip, without its exact state."""
    return Clip(frames, clip.fps, clip.caption, clip.source, clip.license)


def _directed(take: Take, how: str, raw: Tensor) -> Directed:
    recipe = dict(take.recipe) | {"directed": how}
    return Directed(take.frames, take.fps, take.caption, take.source, take.license, recipe=recipe, raw=raw)


def _joined(new: Tensor, old: Tensor, backward: bool) -> Tensor:
    return torch.cat([new, old] if backward else [old, new])


def _window(sora: Sora, known: int) -> int:
    """Frames of a hop: as many as the model was trained on, and more than are known."""
    return max(sora.preset.size[0], whole(known + 1, sora.vae.config.compression[0]))


def _singles(sora: Sora, head: Tensor, length: int) -> dict[int, Tensor]:
    """An ending as single known frames, every second of them and the last, at their places in a clip of `length`."""
    chosen = sorted({*range(0, len(head), 2), len(head) - 1})
    return {length - len(head) + at: sora.encode(Clip(head[at : at + 1])) for at in chosen}
