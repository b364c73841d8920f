"""Directing: what is given stands in the clip exactly, what is asked for is there in number, and a loop has no seam."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip
from minisora.data.video_io import probe, write_video
from minisora.diffusion.schedule import schedule
from minisora.generate.direct import (
    CONTEXT,
    Panel,
    animate,
    blend,
    connect,
    edit,
    extend,
    fill,
    loop,
    preview,
    storyboard,
    views,
)  # fmt: skip
from minisora.generate.given import eased
from minisora.generate.settings import settle
from minisora.generate.sora import Sora
from minisora.tokens.packing import pack, pack_text, unpack
from tests.test_cli import run  # noqa: F401, a fixture
from tests.test_sora import PRESET, A, fresh


@pytest.fixture(scope="module")
def sora() -> Sora:
    return fresh()


def clip_of(frames: int, seed: int = 0, height: int = 16, width: int = 24) -> Clip:
    source = torch.Generator().manual_seed(seed)
    return Clip(torch.randint(0, 256, (frames, height, width, 3), generator=source, dtype=torch.uint8), 8.0)


def same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def test_an_image_comes_to_life(sora: Sora) -> None:
    image = clip_of(1)
    made = animate(sora, image, A, seed=3)
    assert made.shape == PRESET.size and same(made.frames[:1], image.frames)
    assert made.raw is not None and not same(made.raw[:1], image.frames)
    assert same(made.frames, eased(made.raw, image.frames, [0])), "the next frames go on from what was given"
    assert made.recipe["directed"] == "known" and made.recipe["seed"] == 3
    assert same(animate(sora, image, A, seed=3).frames, made.frames)
    assert not same(animate(sora, image, A, seed=4).frames, made.frames)
    assert not same(animate(sora, clip_of(1, seed=1), A, seed=3).frames[1:], made.frames[1:]), "the image is looked at"
    assert animate(sora, image, A, frames=9).shape[0] == 9


def test_fresh_noise_leaves_what_is_given_as_it_is(sora: Sora) -> None:
    image, clip = clip_of(1), clip_of(9)
    made = animate(sora, image, A, seed=3, sampler="sde")
    assert same(made.frames[:1], image.frames) and made.recipe["sampler"] == "sde"
    assert same(animate(sora, image, A, seed=3, sampler="sde").frames, made.frames)
    assert not same(animate(sora, image, A, seed=3, sampler="euler").frames, made.frames)
    longer, short = (extend(sora, clip, A, frames, sampler="sde") for frames in (20, 6))
    assert same(longer.frames[: len(short.frames) - 1], short.frames[:-1]), "a hop does not depend on later ones"
    assert loop(sora, A, sampler="sde").shape[0] % 4 == 0


@pytest.mark.parametrize("frames", [1, 4, 11])
@pytest.mark.parametrize("backward", [False, True])
def test_a_clip_goes_on_before_and_after(sora: Sora, frames: int, backward: bool) -> None:
    clip = clip_of(7)
    made = extend(sora, clip, A, frames, backward=backward)
    assert made.shape == (7 + frames, 16, 24) and made.raw is not None and made.raw.shape == made.frames.shape
    kept = made.frames[-7:] if backward else made.frames[:7]
    assert same(kept, clip.frames)
    longer = extend(sora, clip, A, frames + 5, backward=backward)
    shared = longer.frames[-7 - frames :] if backward else longer.frames[: 7 + frames]
    assert same(shared, made.frames), "further hops change nothing of those before"


def test_an_extension_sees_only_the_last_few_frames(sora: Sora) -> None:
    long, other = clip_of(17), clip_of(17, seed=1)
    mixed = Clip(torch.cat([other.frames[:-CONTEXT], long.frames[-CONTEXT:]]), 8.0)
    assert same(extend(sora, long, A, 4).frames[17:], extend(sora, mixed, A, 4).frames[17:])
    assert not same(extend(sora, long, A, 4).frames[17:], extend(sora, other, A, 4).frames[17:])


@pytest.mark.parametrize("frames", [3, 6, None])
def test_two_clips_are_connected(sora: Sora, frames: int | None) -> None:
    first, second = clip_of(9), clip_of(9, seed=1)
    made = connect(sora, first, second, A, frames=frames)
    inner = frames or sora.vae.config.compression[0]
    assert made.raw is not None and len(made.frames) == len(made.raw) == 18 + inner
    assert same(made.frames[:9], first.frames) and same(made.frames[-9:], second.frames)
    assert same(made.raw[:4], first.frames[:4]), "the model was not given these"
    assert not same(made.raw[4:9], first.frames[4:])
    other = connect(sora, first, clip_of(9, seed=2), A, frames=frames)
    assert not same(other.frames[9:-9], made.frames[9:-9]), "the ending is looked at"
    turned = connect(sora, first, second, A, frames=frames, toward="it falls")
    assert not same(turned.frames[9:-9], made.frames[9:-9]), "both prompts are read"
    assert turned.recipe["toward"] == "it falls" and "toward" not in made.recipe
    for count in (1, 2, 3):  # a second clip that is shorter than an ending
        short = connect(sora, first, clip_of(count, seed=1), A, frames=frames)
        assert short.raw is not None and len(short.frames) == len(short.raw) == 9 + inner + count
        assert same(short.frames[9 + inner :], clip_of(count, seed=1).frames)
    for none in (0, -3):
        with pytest.raises(MinisoraError, match="1 or more"):
            connect(sora, first, second, A, frames=none)
    with pytest.raises(MinisoraError, match="one height and width"):
        connect(sora, first, clip_of(9, height=24), A)


@pytest.mark.parametrize("missing", [[4], [1, 2, 3], [0, 5, 8], [0, 1, 2, 3, 4, 5, 6, 7]])
def test_missing_frames_are_filled(sora: Sora, missing: list[int]) -> None:
    clip, mask = clip_of(9), torch.zeros(9, dtype=torch.bool)
    mask[missing] = True
    made = fill(sora, clip, mask, A)
    assert same(made.frames[~mask], clip.frames[~mask]) and made.shape == clip.shape
    noise = clip.frames.clone()
    noise[mask] = 7
    assert same(fill(sora, Clip(noise, 8.0), mask, A).frames, made.frames), "what is to be made anew is not looked at"


def test_a_region_is_filled(sora: Sora) -> None:
    clip, mask = clip_of(5), torch.zeros(16, 24, dtype=torch.bool)
    mask[4:12, 8:20] = True
    made = fill(sora, clip, mask, A)
    assert same(made.frames[:, ~mask], clip.frames[:, ~mask]) and not same(made.frames[:, mask], clip.frames[:, mask])
    noise = clip.frames.clone()
    noise[:, mask] = 7
    assert same(fill(sora, Clip(noise, 8.0), mask, A).frames, made.frames)


@pytest.mark.parametrize("shape", [(9,), (16, 24), (5, 5)])
@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_that_says_nothing_is_refused(sora: Sora, shape: tuple[int, ...], value: int) -> None:
    with pytest.raises(MinisoraError, match="covers nothing, or everything"):
        fill(sora, clip_of(9), torch.full(shape, value), A)


def test_a_mask_of_another_shape_is_refused(sora: Sora) -> None:
    with pytest.raises(MinisoraError, match="neither"):
        fill(sora, clip_of(9), torch.eye(5), A)


def test_an_edit_begins_from_the_clip(sora: Sora) -> None:
    clip = clip_of(5)
    slight, strong = (edit(sora, clip, A, strength=s, seed=1) for s in (0.02, 0.98))
    copy = sora.decode(sora.encode(clip), clip.shape).frames.int()

    def far(made: Clip) -> float:
        return (made.frames.int() - copy).abs().float().mean().item()

    assert far(slight) < 0.5 * far(strong)
    unsaid = edit(sora, clip, A, was=A, strength=0.9, seed=1)
    assert same(unsaid.frames, sora.decode(sora.encode(clip), clip.shape).frames), "where prompts agree, nothing moves"
    assert unsaid.recipe["was"] == A and unsaid.recipe["sampler"] == "rewrite"
    seen: list[int] = []
    how = {"rescale": 0.7, "interval": (0.0, 0.6), "callback": lambda step, t, clips: seen.append(step)}
    assert same(edit(sora, clip, A, was=A, strength=0.9, seed=1, **how).frames, unsaid.frames)
    assert seen == list(range(len(seen))) and seen
    assert not same(edit(sora, clip, A, was="it falls", strength=0.9, seed=1).frames, unsaid.frames)
    for wrong in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(MinisoraError, match="between 0 and 1"):
            edit(sora, clip, A, strength=wrong)


def test_a_loop_has_no_beginning(sora: Sora) -> None:
    """Noise that is turned by a latent gives the clip turned by a latent: no frame is special, in model and decoder."""
    made = loop(sora, A, seed=2)
    assert made.shape == (4, 16, 24) and loop(sora, A, frames=12).shape == (12, 16, 24)
    assert made.recipe["ring"] is True

    text = pack_text([torch.randn(5, 32, generator=torch.Generator().manual_seed(0))], 24)
    z = torch.randn(4, 6, 4, 6, generator=torch.Generator().manual_seed(1))

    def velocity(x: Tensor) -> Tensor:
        tokens = pack([x], PRESET.dit.patch, [True])
        with torch.no_grad():
            return unpack(tokens.with_x(sora.dit(tokens, torch.tensor(0.6), text)), PRESET.dit.patch)[0]

    torch.testing.assert_close(velocity(z.roll(2, 1)), velocity(z).roll(2, 1), atol=1e-5, rtol=1e-4)
    size = (24, 16, 24)
    turned, straight = sora.decode(z.roll(2, 1), size).frames.int(), sora.decode(z, size).frames.roll(8, 0).int()
    assert (turned - straight).abs().max() <= 1


def test_rings_have_sizes_of_their_own() -> None:
    assert settle(PRESET, None, ring=True).size == (4, 16, 24) and settle(PRESET, "8x16x24", ring=True).size[0] == 8
    for wrong in ("9x16x24", "1x16x24", "2x16x24"):
        with pytest.raises(MinisoraError, match="4k can, such as"):
            settle(PRESET, wrong, ring=True)


def test_a_preview_comes_first(sora: Sora) -> None:
    small, full = preview(sora, A, "5x16x24", seed=1, scale=0.5)
    assert (small.size, full.size) == ("5x8x12", "5x16x24")
    assert preview(sora, A, "5x16x24", seed=1)[0].size == "5x12x18"


def test_a_storyboard_is_one_clip(sora: Sora) -> None:
    made = storyboard(sora, [Panel(A, 5), Panel("it stops", 6), Panel("it falls", 3)], seed=4)
    assert made.raw is not None and made.raw.shape == made.frames.shape
    assert made.shape == (14, 16, 24) and made.caption == f"{A} / it stops / it falls"
    alone = sora.generate(A, (5, 16, 24), seed=4)[0]
    assert same(made.frames[:5], alone.frames)
    for wrong in ([], [Panel(A, 0)]):
        with pytest.raises(MinisoraError, match="a panel or more"):
            storyboard(sora, wrong)


def test_views_are_frames_of_one_clip(sora: Sora) -> None:
    clip = sora.generate(A, seed=2)[0]
    assert same(views(sora, A, 3, seed=2).frames, clip.frames[[0, 2, 4]])
    for wrong in (1, 6):
        with pytest.raises(MinisoraError, match="2 or more"):
            views(sora, A, wrong)


def test_a_cut_is_a_clip_of_its_own(sora: Sora) -> None:
    made = storyboard(sora, [Panel(A, 5), Panel("it falls", 3, cut=True), Panel(A, 2)], seed=4, size="9x16x16")
    assert made.shape == (10, 16, 16)
    assert same(made.frames[5:8], sora.generate("it falls", (5, 16, 16), seed=5)[0].frames[:3])
    alone = extend(sora, Clip(made.frames[5:8], sora.preset.fps), A, 2, seed=6)
    assert same(made.frames[8:], alone.frames[3:]), "what comes after a cut does not look back across it"
    uncut = storyboard(sora, [Panel(A, 5), Panel("it falls", 3)], seed=4, size="9x16x16")
    assert not same(made.frames[5:8], uncut.frames[5:])


@pytest.mark.parametrize("frames", [5, 9])
def test_a_blend_begins_as_one_clip_and_ends_as_the_other(sora: Sora, frames: int) -> None:
    first, second = clip_of(frames), clip_of(frames, seed=1)
    made = blend(sora, first, second, A, "it falls")
    assert same(made.frames[:1], first.frames[:1]) and same(made.frames[-1:], second.frames[-1:])
    assert not same(made.frames[1:-1], blend(sora, first, second, A, A).frames[1:-1]), "both prompts are read"
    assert not same(made.frames[1:-1], blend(sora, first, clip_of(frames, seed=2), A, "it falls").frames[1:-1])
    with pytest.raises(MinisoraError, match="one size"):
        blend(sora, first, clip_of(frames + 4), A, A)


def test_a_prompt_that_turns_into_itself_changes_nothing(sora: Sora) -> None:
    plain, turned = (sora.generate(A, seed=1, toward=then)[0].frames.int() for then in (None, [A]))
    assert (plain - turned).abs().max() <= 1
    with pytest.raises(MinisoraError, match="toward and was have one part for each prompt"):
        sora.generate(A, toward=[A, A])


def test_hops_may_see_noisy_frames(sora: Sora) -> None:
    clip = clip_of(9)
    plain, rough = extend(sora, clip, A, 8), extend(sora, clip, A, 8, rough=0.3)
    assert same(plain.frames, extend(sora, clip, A, 8, rough=0.0).frames) and not same(plain.frames, rough.frames)
    assert same(rough.frames[:9], clip.frames) and not same(rough.frames, extend(sora, clip, A, 8, rough=0.6).frames)
    backward = extend(sora, clip, A, 4, backward=True, rough=0.3)
    assert not same(backward.frames, extend(sora, clip, A, 4, backward=True).frames)
    for wrong in (1.0, -0.1):
        with pytest.raises(MinisoraError, match="rough"):
            extend(sora, clip, A, 4, rough=wrong)


@pytest.mark.parametrize("frames", [0, -3])
def test_nothing_cannot_be_added(sora: Sora, frames: int) -> None:
    with pytest.raises(MinisoraError, match="1 or more"):
        extend(sora, clip_of(5), A, frames)


def test_settings_reach_the_generator(sora: Sora) -> None:
    few, many = (animate(sora, clip_of(1), A, steps=steps) for steps in (2, 5))
    assert not same(few.frames, many.frames) and many.recipe["steps"] == 5
    assert len(schedule(5)) == 6


def test_from_the_command_line(run, sora: Sora, tmp_path: Path) -> None:  # noqa: F811
    """Files of any size and rate go in; each command writes a clip and a sheet, and a mistake is one line."""
    sora.save(tmp_path / "model")
    write_video(tmp_path / "a.mp4", Clip(clip_of(20, height=40, width=60).frames, 16.0))
    write_video(tmp_path / "b.gif", clip_of(9, seed=1, height=32, width=32))
    write_video(tmp_path / "i.png", clip_of(1))
    (tmp_path / "board.yaml").write_text("- {prompt: a, frames: 5}\n- {prompt: b, frames: 3}\n")
    panels = "- {prompt: '{character} rises', frames: 5}\n- {prompt: '{character} falls', frames: 4, cut: true}\n"
    (tmp_path / "cast.yaml").write_text(f"character: a star\npanels:\n{panels}")
    how = ("--preset", "model", "--steps", "2", "--out", "made.mp4")
    for words, size in (
        (("animate", "i.png", A), "5x16x24"),
        (("extend", "a.mp4", A, "--frames", "6"), "16x16x24"),
        (("extend", "a.mp4", A, "--frames", "2", "--backward"), "12x16x24"),
        (("connect", "a.mp4", "b.gif", A, "--frames", "3"), "22x16x24"),
        (("fill", "a.mp4", A, "--frames", "2", "4"), "9x16x24"),
        (("fill", "a.mp4", A, "--box", "0", "0", "8", "8"), "9x16x24"),
        (("edit", "a.mp4", A, "--strength", "0.5"), "9x16x24"),
        (("edit", "a.mp4", A, "--was", "it falls"), "9x16x24"),
        (("loop", A, "--frames", "8"), "8x16x24"),
        (("preview", A), "5x16x24"),
        (("views", A, "--count", "3"), "3x16x24"),
        (("storyboard", "board.yaml"), "8x16x24"),
        (("storyboard", "cast.yaml"), "9x16x24"),
        (("blend", "a.mp4", "b.gif", A, "it falls"), "9x16x24"),
    ):
        told = run("direct", *words, *how)
        assert told.status == 0 and size in told.out, (words, told.out, told.err)
        assert probe(tmp_path / "made.mp4").metadata["recipe"]["directed"]
        (tmp_path / "made.mp4").unlink()
    (tmp_path / "bad.yaml").write_text("prompt: [")
    (tmp_path / "nobody.yaml").write_text("panels: [{prompt: '{hero} rises', frames: 5}]")
    for words, wrong in (
        (("animate", "none.png", A), "no file"),
        (("animate", "board.yaml", A), "board.yaml"),
        (("fill", "a.mp4", A), "--box"),
        (("fill", "a.mp4", A, "--frames", "30", "40"), "covers nothing"),
        (("edit", "a.mp4", A, "--strength", "7"), "between 0 and 1"),
        (("edit", "a.mp4", "x" * 10_000), "shorten it"),
        (("storyboard", "bad.yaml"), "no storyboard"),
        (("storyboard", "nobody.yaml"), "hero"),
        (("blend", "i.png", "none.png", A, A), "no file"),
        (("loop", A, "--frames", "7"), "4k can"),
    ):
        told = run("direct", *words, *how)
        assert told.status == 2 and wrong in told.err and told.err.strip().count("\n") == 0, (words, told.err)
        assert not (tmp_path / "made.mp4").exists()
    assert run("direct", "animate", "i.png", "一只红色的圆圈", *how).status == 0
    assert run("direct", "animate", "i.png", "", *how).status == 0


def test_what_is_made_anew_is_told_in_the_file_s_own_frames_and_pixels(
    run,  # noqa: F811
    sora: Sora,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever rate and size the model works at."""
    sora.save(tmp_path / "model")
    write_video(tmp_path / "a.mp4", Clip(clip_of(20, height=40, width=60).frames, 16.0))
    seen: list[Tensor] = []

    def look(sora: Sora, clip: Clip, mask: Tensor, *rest: object, **options: object) -> Clip:
        seen.append(mask)
        raise MinisoraError("enough")

    monkeypatch.setattr("minisora.generate.direct.fill", look)
    run("direct", "fill", "a.mp4", A, "--preset", "model", "--frames", "8", "15")
    run("direct", "fill", "a.mp4", A, "--preset", "model", "--box", "20", "30", "40", "60")
    frames, box = seen
    assert frames.nonzero().flatten().tolist() == [4, 5, 6, 7]
    assert box.shape == (16, 24) and box[8:, 12:].all() and box.sum() == 8 * 12
