"""Training a preset: what is prepared once, what each stage minimises, and the whole way from a command to weights."""

import copy
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from minisora.core.checkpoint import load_into
from minisora.core.errors import MinisoraError
from minisora.core.recipe import Recipe, Run
from minisora.data.clip import Clip
from minisora.data.datasets import WorldClips
from minisora.generate.experts import paired
from minisora.generate.sora import Sora
from minisora.models.dit import DiT
from minisora.models.text import TextConfig, TextEncoder
from minisora.models.tokenizer import Tokenizer
from minisora.models.vae import VAE
from minisora.tokens.known import Known
from minisora.train import engine, latents, stages
from minisora.train import vae as vae_stage
from minisora.train.dit import given, step_for
from minisora.train.engine import fit
from minisora.train.prepare import Ready
from minisora.train.shelf import Shelf, fill
from minisora.train.text import ABOUT, UNASKED, Reader, lesson
from minisora.worlds import shapes
from minisora.worlds.language import WORDS
from minisora.zoo.presets import preset
from tests.test_cli import run  # noqa: F401, a fixture
from tests.test_engine import small_disk

TINY = preset("tiny")
CLIPS = WorldClips(("shapes", "craft"), 6, sizes=["9x32x32"])
CAPTIONS = [CLIPS.caption(index) for index in range(len(CLIPS))]


@pytest.fixture(scope="module")
def vae() -> VAE:
    torch.manual_seed(0)
    return VAE(TINY.vae).eval()


@pytest.fixture(scope="module")
def shelf(vae: VAE, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return latents.encode(vae, CLIPS, tmp_path_factory.mktemp("shelf") / "latents", torch.float32)


def test_what_is_put_on_a_shelf_comes_back(tmp_path: Path) -> None:
    items = [
        {"x": torch.randn(2, 3), "y": torch.arange(5, dtype=torch.uint8), "words": "red", "list": [1, 2]},
        {"x": torch.randn(7, 1, 2).to(torch.bfloat16), "words": ""},
    ]
    for _ in range(2):  # the second time it is only opened
        shelf = fill(tmp_path / "shelf", "made of this", iter(items), 2, "test")
        items_back = [shelf[0], shelf[1]]
        for item, back in zip(items, items_back, strict=True):
            assert item.keys() == back.keys()
            for name, value in item.items():
                same = torch.equal(value, back[name]) if isinstance(value, torch.Tensor) else value == back[name]
                assert same, name


def test_a_shelf_made_of_something_else_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "shelf", "this", [{"x": torch.zeros(3)}], 1, "test")
    with pytest.raises(MinisoraError, match="other data or another model"):
        fill(tmp_path / "shelf", "that", [], 0, "test")
    data = tmp_path / "shelf" / "data.bin"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(MinisoraError, match="11 bytes"):
        Shelf(tmp_path / "shelf", "this")


@pytest.mark.parametrize("harm", ["no data", "a list", "no folder", "below a file"])
def test_a_damaged_shelf_is_told_in_one_line(tmp_path: Path, harm: str) -> None:
    shelf = tmp_path / "shelf"
    fill(shelf, "this", [{"x": torch.zeros(3)}], 1, "test")
    if harm == "no data":
        (shelf / "data.bin").unlink()
    elif harm == "a list":
        (shelf / "index.json").write_text("[]")
    elif harm == "no folder":
        shelf = Path("/proc/none/shelf")
    else:
        shelf = shelf / "data.bin" / "shelf"
    with pytest.raises(MinisoraError, match=r"not a shelf|cannot be written"):
        fill(shelf, "this", [{"x": torch.zeros(3)}], 1, "test")


def test_a_shelf_that_was_not_finished_is_made_again(tmp_path: Path) -> None:
    def broken():
        yield {"x": torch.zeros(3)}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "shelf", "this", broken(), 2, "test")
    assert len(fill(tmp_path / "shelf", "this", [{"x": torch.ones(3)}], 1, "test")) == 1


SHELF = "import torch; from minisora.train.shelf import fill; fill('%s', '', [{'x': torch.rand(10**5)}], 1, '')"


def test_a_shelf_that_does_not_fit_on_the_disk_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    if shutil.which("unshare") is None or small_disk("true", tmp_path / "out").returncode:
        pytest.skip("no disk can be mounted here")
    shutil.rmtree(tmp_path / "out-kept")
    told = small_disk(f"'{sys.executable}' -c \"{SHELF % (tmp_path / 'out' / 'shelf')}\"", tmp_path / "out")
    last = told.stderr.strip().splitlines()[-1]
    assert "MinisoraError" in last and "No space left" in last
    assert not (tmp_path / "out-kept" / "shelf").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_prepared_clips_are_the_clips(tmp_path: Path, workers: int) -> None:
    ready = Ready(CLIPS, tmp_path / "clips", workers)
    wanted = {clip.source: clip for clip in CLIPS}
    assert sorted(clip.source for clip in map(ready.__getitem__, range(len(ready)))) == sorted(wanted)
    for index in range(len(ready)):
        clip = ready[index]
        assert torch.equal(clip.frames, wanted[clip.source].frames) and clip.caption == wanted[clip.source].caption


def test_latents_are_refused_when_the_vae_has_changed(vae: VAE, tmp_path: Path) -> None:
    latents.encode(vae, CLIPS, tmp_path / "latents")
    torch.manual_seed(1)
    with pytest.raises(MinisoraError, match="another model"):
        latents.encode(VAE(TINY.vae), CLIPS, tmp_path / "latents")


@torch.no_grad()
def test_the_first_latents_of_a_clip_are_those_of_its_first_frames(vae: VAE, shelf: Shelf) -> None:
    """Which is why a known beginning needs no entry of its own."""
    for index in range(len(CLIPS)):
        x, item = CLIPS[index].pixels(), shelf[index]
        torch.testing.assert_close(item["z"][:, :2], vae.encode(x[:, :, :5])[0], atol=1e-5, rtol=1e-4)
        for frame, image in zip(item["frames"], item["images"], strict=True):
            torch.testing.assert_close(image, vae.encode(x[:, :, [frame]])[0], atol=1e-5, rtol=1e-4)
        assert item["frames"][0] == 8 and 0 not in item["frames"] and len(item["frames"]) == latents.SINGLES


@torch.no_grad()
@pytest.mark.parametrize("level", [True, False])
def test_measured_latents_are_normal(vae: VAE, level: bool) -> None:
    """Each channel is, or all together are, and then their spreads stay as unequal as the VAE made them."""
    own = VAE(replace(TINY.vae, level=level))
    own.load_state_dict(vae.state_dict())
    clips = [CLIPS[index] for index in range(len(CLIPS))]
    vae_stage.measure_latents(own, clips)
    z = torch.cat([own.encode(clip.pixels()) for clip in clips]).movedim(1, 0).flatten(1)
    torch.testing.assert_close(z.mean(1), torch.zeros(len(z)), atol=1e-4, rtol=0)
    raw = torch.cat([vae.posterior(clip.pixels())[0] for clip in clips]).movedim(1, 0).flatten(1).std(1, correction=0)
    wanted = torch.ones(len(z)) if level else raw / raw.square().mean().sqrt()
    torch.testing.assert_close(z.std(1, correction=0), wanted, atol=1e-4, rtol=0)


def test_a_crop_is_a_square_of_the_clip() -> None:
    clip = CLIPS[0]
    crops = [vae_stage.crop(clip, seed, 16) for seed in range(20)]
    windows = clip.frames.unfold(1, 16, 1).unfold(2, 16, 1)  # every square there is
    for crop in crops:
        assert crop.size == "9x16x16"
        assert (windows.permute(1, 2, 0, 4, 5, 3) == crop.frames).flatten(2).all(2).any()
    assert len({crop.frames.numpy().tobytes() for crop in crops}) > 5
    assert torch.equal(vae_stage.crop(clip, 3, 16).frames, crops[3].frames)


def test_every_kind_of_known_part_is_given_and_fits(shelf: Shelf) -> None:
    source, kinds = torch.Generator().manual_seed(0), set()
    for number in range(200):
        item = shelf[number % len(shelf)]
        known = given(item, source)
        if known is None:
            kinds.add("nothing")
            continue
        assert isinstance(known, Known)
        kinds |= {"prefix"} if known.prefix is not None else set()
        kinds |= {"frames"} if known.frames else set()
        kinds |= {"region"} if known.region is not None else set()
        if known.prefix is not None:
            assert 1 <= known.prefix.shape[1] < item["z"].shape[1]  # something is left to make
    assert kinds == {"nothing", "prefix", "frames", "region"}


def test_tokens_that_are_deep_in_time_see_each_clip_alone(shelf: Shelf, vae: VAE, tmp_path: Path) -> None:
    """None of them is a frame or a beginning, and their shelf is not taken for one that has these, or the reverse."""
    bare = latents.encode(vae, CLIPS, tmp_path / "bare", torch.float32, alone=True)
    assert bare[0].keys() == {"caption", "z"} and torch.equal(bare[0]["z"], shelf[0]["z"])
    model = DiT(replace(TINY.dit, layers=1))
    assert model.config.patch[0] > 1
    step = step_for(TextEncoder(TINY.text), Tokenizer.train(CAPTIONS, 300), stride=4)
    for number in range(20):
        loss, counts = step(model, [bare[0], bare[1]], torch.Generator().manual_seed(number))
        assert loss.isfinite() and counts["weight"] == counts["tokens"]
    with pytest.raises(MinisoraError, match="other data"):
        latents.encode(vae, CLIPS, tmp_path / "bare", torch.float32)


def test_a_clip_that_goes_round_is_also_kept_as_a_ring(vae: VAE, tmp_path: Path) -> None:
    """Its two laps are the same latents, but for what the beginning leaves in the first; other clips have no ring."""
    circling = {"motion": "clockwise", "style": "flat", "count": 1}
    round_, straight = (
        WorldClips("shapes", 2, sizes=["17x32x32"], constraints={"shapes": what})
        for what in (circling, circling | {"motion": "left"})
    )
    kept = latents.encode(vae, round_, tmp_path / "round", torch.float32)[0]["ring"]
    assert kept.shape == (TINY.vae.channels, 4, 8, 8)
    laps = torch.cat([round_[0].pixels(), *[round_[0].pixels()[:, :, 1:]] * 2], 2)
    torch.testing.assert_close(kept, vae.encode(laps)[0, :, -4:].detach(), atol=1e-4, rtol=1e-4)
    assert "ring" not in latents.encode(vae, straight, tmp_path / "straight")[0]


def test_rings_are_trained_on(vae: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = WorldClips(
        "shapes", 2, sizes=["17x32x32"], constraints={"shapes": {"motion": "clockwise", "style": "flat"}}
    )
    shelf = latents.encode(vae, clips, tmp_path / "round")
    model, step = learner(shelf)
    seen = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda tokens, *rest: seen.append(tokens.ring) or forward(tokens, *rest))
    for number in range(20):
        loss, _ = step(model, [shelf[0], shelf[1]], torch.Generator().manual_seed(number))
        assert loss.isfinite()
    assert any(ring is not None and ring.max() == 4 for ring in seen) and any(ring is None for ring in seen)


def learner(shelf: Shelf) -> tuple[DiT, Callable]:
    tokenizer = Tokenizer.train([item["caption"] for item in shelf.items], 300)
    torch.manual_seed(0)
    text = replace(TINY.text, vocabulary=tokenizer.size)
    assert isinstance(text, TextConfig)
    return DiT(replace(TINY.dit, layers=2, patch=(1, 2, 2))), step_for(TextEncoder(text), tokenizer, stride=4)


def test_the_transformer_learns_a_clip_by_heart(shelf: Shelf) -> None:
    model, step = learner(shelf)
    batch = [shelf[0]] * 8
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for number in range(60):
        loss, counts = step(model, batch, torch.Generator().manual_seed(number))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        assert counts["clips"] == 8 and counts["weight"] <= counts["tokens"]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


def test_the_vae_learns_a_clip_by_heart() -> None:
    torch.manual_seed(0)
    vae, optimiser = VAE(TINY.vae), None
    optimiser = torch.optim.AdamW(vae.parameters(), 3e-3)
    told = []
    for number in range(25):
        loss, metrics = vae_stage.step(vae, [CLIPS[0]], torch.Generator().manual_seed(number))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        told.append(float(metrics["psnr"]))
    assert told[-1] > told[0] + 3


def test_clips_of_several_sizes_learn_together() -> None:
    mixed = WorldClips("shapes", 6, sizes=["9x32x32", "1x32x32", "5x16x48"])
    clips = [mixed[index] for index in range(6)]
    assert len({clip.size for clip in clips}) > 1
    torch.manual_seed(0)
    loss, _ = vae_stage.step(VAE(TINY.vae), clips, torch.Generator().manual_seed(0))
    assert loss.isfinite()


def test_the_vae_s_loss_is_the_same_in_parts(vae: VAE) -> None:
    """Clips of several sizes have several numbers of pixels: a part counts as much as it has of them."""
    mixed = WorldClips("shapes", 6, sizes=["9x32x32", "1x32x32", "5x16x48"])
    clips, vae = [mixed[index] for index in range(6)], copy.deepcopy(vae)
    bias = vae.to_latent.conv.bias if hasattr(vae.to_latent, "conv") else vae.to_latent.bias
    with torch.no_grad():
        bias[TINY.vae.channels :] = -40.0  # latents without noise
    found = []
    for passes in (1, 2, 3):
        vae.zero_grad()
        metrics = engine.gradient(vae, clips, vae_stage.step, Recipe(batch=6, accumulate=passes), 0, torch.float32)
        found.append((metrics["loss"], next(vae.decoder.parameters()).grad))
    for loss, gradient in found[1:]:
        torch.testing.assert_close(loss, found[0][0], rtol=1e-3, atol=0)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(
    ("stage", "size"), [("vae", "9x30x32"), ("vae", "10x32x32"), ("dit", "9x32x34"), ("dit", "13x32x32")]
)
def test_sizes_that_cannot_be_encoded_are_refused_before_anything_is_rendered(
    run,  # noqa: F811
    tmp_path: Path,
    stage: str,
    size: str,
) -> None:
    told = run("train", "tiny", "--stage", stage, "--out", "new", "--sizes", "9x32x32", size)
    assert told.status == 2 and size in told.err and "multiples of" in told.err and told.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("tiny", "--stage", "dit", "--init", "tiny", "--times", "0.9", "0.1"), "in order"),
        (("tiny", "--stage", "dit", "--init", "tiny", "--shift", "0"), "above 0"),
        (("wan2.1-t2v-1.3b", "--stage", "text"), "stage"),
        (("toy", "--stage", "text", "--init", "tiny", "--clips", "2"), "not the preset's"),
    ],
)
def test_what_cannot_be_trained_is_told_in_a_line(run, tmp_path: Path, words: tuple[str, ...], why: str) -> None:  # noqa: F811
    told = run("train", *words, "--out", "new")
    assert told.status == 2 and why in told.err and told.err.count("\n") == 1, told.err
    assert not (tmp_path / "new" / "latents").exists()


def test_of_a_pair_the_expert_in_charge_goes_on(run, tmp_path: Path) -> None:  # noqa: F811
    tiny = Sora.from_pretrained("tiny", device="cpu", dtype="fp32")
    other = DiT(replace(tiny.dit.config, places=False))
    paired(tiny, replace(tiny, dit=other), 0.9).save(tmp_path / "pair", "fp32")
    words = ("train", "tiny", "--stage", "dit", "--init", "pair", "--steps", "1", "--clips", "2", "--batch", "2")
    for times, places in ((("0.9", "1"), True), (("0", "0.9"), False)):  # the two are told apart by their configs
        told = run(*words, "--sizes", "9x32x32", "--out", f"from{times[0]}", "--times", *times)
        assert told.status == 0, told.err
        assert Sora.from_pretrained(tmp_path / f"from{times[0]}" / "model", device="cpu").dit.config.places is places


def test_only_some_scenes_are_trained_on(run, tmp_path: Path) -> None:  # noqa: F811
    words = ("train", "tiny", "--out", "new", "--steps", "1", "--clips", "6", "--worlds", "shapes", "--only")
    told = run(*words, "count=1", "motion=left,up", "style=flat")
    assert told.status == 0, told.err
    index = json.loads((tmp_path / "new" / "clips-vae" / "index.json").read_text())
    captions = [item["caption"] for item in index["items"]]
    assert all(re.search(r"left|up|ris|climb|ascend", caption) for caption in captions), captions
    for wrong, why in (
        ("count", "NAME=WORD"),
        ("weight=1", "constraint"),
        ("count=99", "cannot have 99"),
        ("color=dog", "dog"),
        ("count=1,2", "no scenes with"),
        ("held_out=false", "never trained on"),
    ):
        told = run(*words, wrong, "--out", "other")
        assert told.status == 2 and why in told.err and told.err.count("\n") == 1, told.err


def test_from_a_command_to_weights(run, tmp_path: Path) -> None:  # noqa: F811
    told = run("train", "tiny", "--stage", "dit", "--out", "new")
    assert told.status == 2 and "--stage vae first" in told.err
    words = ("train", "tiny", "--out", "new", "--steps", "2", "--clips", "6", "--worlds", "shapes", "--side", "16")
    told = run(*words, "--stage", "vae")
    assert told.status == 0 and "dB" in told.out
    told = run(*words[:-2], "--stage", "dit")
    assert told.status == 2 and "--stage text first" in told.err
    told = run(*words[:-2], "--stage", "text")
    assert told.status == 0, told.err
    told = run(*words[:-2], "--stage", "dit")
    assert told.status == 0, told.err
    assert (tmp_path / "new" / "samples" / "000002.png").exists()
    told = run("generate", "a red circle", "--preset", "new/model", "--steps", "2", "--out", "red.mp4")
    assert told.status == 0 and (tmp_path / "red.mp4").exists(), told.err
    again = run(*words[:-2], "--stage", "dit")
    assert again.status == 2 and "resume" in again.err


def test_the_trained_vae_is_the_one_that_encodes(tmp_path: Path) -> None:
    trained = stages.train_vae(TINY, CLIPS, tmp_path, recipe=Recipe(steps=1, batch=2), side=16)
    loaded = stages.trained_vae(TINY, tmp_path)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_a_run_can_begin_with_the_weights_of_another(tmp_path: Path) -> None:
    still = Recipe(steps=1, batch=2, rate=1e-12, ema=0.0)
    first = stages.train_vae(TINY, CLIPS, tmp_path / "one", recipe=Recipe(steps=2, batch=2, ema=0.0), side=16)
    second = stages.train_vae(TINY, CLIPS, tmp_path / "two", recipe=still, side=16, begun=copy.deepcopy(first))
    for name, parameter in first.named_parameters():
        torch.testing.assert_close(second.get_parameter(name), parameter, atol=1e-6, rtol=0)


def test_a_vae_of_another_preset_is_not_begun_with(tmp_path: Path) -> None:
    other = VAE(replace(TINY.vae, base=2 * TINY.vae.base))
    with pytest.raises(MinisoraError, match="not the preset's"):
        stages.train_vae(TINY, CLIPS, tmp_path, recipe=Recipe(steps=1, batch=2), begun=other)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_compiled_parts_make_the_same_weights(shelf: Shelf, tmp_path: Path) -> None:
    weights = []
    for compile in (False, True):
        model, step = learner(shelf)
        recipe, out = Recipe(steps=2, batch=2, ema=0.0), tmp_path / str(compile)
        fit(model, lambda number: [shelf[0], shelf[1]], step, recipe, out, dtype=torch.float32, compile=compile)
        weights.append(model.state_dict())
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], atol=2e-3, rtol=1e-2, msg=name)


def test_a_decoder_learns_to_mend_rough_latents_and_leaves_the_encoder_alone(tmp_path: Path) -> None:
    few = replace(TINY, vae=replace(TINY.vae, channels=12, level=True), dit=replace(TINY.dit, channels=12))
    recipe = replace(TINY.recipes["vae"], steps=30, batch=4, ema=0.9)
    before = stages.train_vae(few, CLIPS, tmp_path / "first", recipe=recipe)
    begun = copy.deepcopy(before)
    after = stages.train_vae(few, CLIPS, tmp_path / "second", recipe=recipe, begun=begun, rough=1.0)

    x = torch.cat([CLIPS[index].pixels() for index in range(6)])
    z = before.encode(x)
    assert torch.equal(after.encode(x), z)
    noisy = z + torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    first, second = ((vae.decode(noisy) - x).square().mean() for vae in (before, after))
    assert second < 0.9 * first
    with pytest.raises(MinisoraError, match="--init"):
        stages.train_vae(few, CLIPS, tmp_path / "third", recipe=recipe, rough=1.0)


def test_a_transformer_goes_on_from_another_run(tmp_path: Path) -> None:
    still = Recipe(steps=1, batch=2, rate=1e-12, ema=0.0)
    stages.train_vae(TINY, CLIPS, tmp_path / "one", recipe=still)
    with pytest.raises(MinisoraError, match="--stage text first"):
        stages.train_dit(TINY, CLIPS, tmp_path / "one", recipe=still)
    stages.train_text(TINY, CAPTIONS, tmp_path / "one", recipe=still)
    begun = stages.train_dit(TINY, CLIPS, tmp_path / "one", recipe=still)
    others = replace(CLIPS, names=("painter",))
    now = stages.train_dit(TINY, others, tmp_path / "two", recipe=still, begun=copy.deepcopy(begun))
    assert now.tokenizer.pairs == begun.tokenizer.pairs
    for old, new in zip(begun[:3], now[:3], strict=True):
        for name, parameter in old.named_parameters():
            torch.testing.assert_close(new.get_parameter(name), parameter, atol=1e-6, rtol=0)

    told = replace(TINY, dit=replace(TINY.dit, places=True, layers=1))  # what is begun stays as it is
    Sora.assemble("tiny", told, *now).save(tmp_path / "model")
    assert Sora.from_pretrained(tmp_path / "model", device="cpu").preset.dit == TINY.dit
    shutil.rmtree(tmp_path / "two" / "latents")
    for other, what in (({"vae": VAE(TINY.vae)}, "vae was"), ({"text": TextEncoder(now.text.config)}, "text was")):
        shutil.rmtree(tmp_path / "two" / "latents", ignore_errors=True)
        with pytest.raises(MinisoraError, match=what):
            stages.train_dit(
                TINY, others, tmp_path / "two", recipe=still, begun=begun._replace(**other), run=Run(resume=True)
            )

    fine = replace(TINY, dit=replace(TINY.dit, patch=(1, 1, 1)))
    finer = stages.train_dit(fine, others, tmp_path / "three", recipe=still, begun=copy.deepcopy(begun)).dit
    assert finer.config == fine.dit and finer.embed.weight.shape[1] == TINY.dit.channels
    torch.testing.assert_close(finer.blocks[0].mlp_in.weight, begun.dit.blocks[0].mlp_in.weight, atol=1e-6, rtol=0)


def test_new_words_join_the_vocabulary_of_a_text_encoder(tmp_path: Path) -> None:
    still = Recipe(steps=1, batch=2, rate=1e-12, ema=0.0)
    first, words = stages.train_text(TINY, CAPTIONS, tmp_path / "one", recipe=still)
    others = [replace(CLIPS, names=("painter",)).caption(index) for index in range(6)]
    second, more = stages.train_text(TINY, others, tmp_path / "two", recipe=still, begun=(copy.deepcopy(first), words))
    assert list(more.pairs)[: len(words.pairs)] == list(words.pairs)
    assert len(more.encode("A brush paints")) < len(words.encode("A brush paints"))
    assert second.config.vocabulary == more.size > words.size
    for name, parameter in first.named_parameters():
        now = second.get_parameter(name)[: len(parameter)]  # the embedding has grown
        torch.testing.assert_close(now, parameter, atol=1e-6, rtol=0)
    loaded, same = stages.trained_text(TINY, tmp_path / "two")
    assert same.pairs == more.pairs and all(
        map(torch.equal, loaded.state_dict().values(), second.state_dict().values())
    )


def test_a_lesson_tells_of_each_word_what_its_thing_is_like() -> None:
    tokenizer = Tokenizer()  # a token is a byte
    caption = "Größe: a big red star that rises and a little blue ring which sinks, white background"
    ids, answers = lesson(caption, tokenizer)
    told = answers[:, 2 + ABOUT.index("color")].tolist()
    said = {value: bytes(id - 2 for id, one in zip(ids, told, strict=True) if one == place).decode()
            for place, value in enumerate(WORDS["color"])}  # fmt: skip
    assert said["red"] == "big red star that rises" and said["blue"] == "little blue ring which sinks"
    assert told.count(UNASKED) == len(ids) - len(said["red"] + said["blue"])
    assert answers[:, 0].tolist() == ids and set(answers[:, 1].tolist()) == {2}


def test_a_text_encoder_learns_whose_words_are_whose(tmp_path: Path) -> None:
    """What no set of words can tell: of two things with their colors swapped, each row's thing has the other color."""
    pairs = [shapes.sample(seed, count=2, style="flat") for seed in range(400)]
    captions = [shapes.caption(scene) for scene in pairs]
    recipe = Recipe(steps=120, batch=32, rate=4e-3, matrix_rate=0.03, decay=0.5, ema=0.9)
    text, tokenizer = stages.train_text(TINY, captions[:-60], tmp_path, recipe=recipe)
    reader = Reader(text)
    load_into(reader, tmp_path / "text" / "model.safetensors")
    for question, chance in (("size", 0.5), ("color", 1 / 8), ("shape", 1 / 6)):
        right = []
        for caption in captions[-60:]:
            ids, answers = lesson(caption, tokenizer)
            here = answers[:, 2 + ABOUT.index(question)]
            told = reader([ids])[2 + ABOUT.index(question)].argmax(-1)
            right.append((told == here)[here != UNASKED].float().mean().item())
        assert sum(right) / len(right) > (1 + chance) / 2, question


def test_a_flicker_costs_more_than_a_steady_error() -> None:
    clip = Clip(torch.full((5, 8, 8, 3), 100, dtype=torch.uint8), 8.0)

    class Decoder(VAE):
        def decode(self, z: Tensor) -> Tensor:
            return clip.pixels() + 0.1 * self.signs[:, None, None]

    vae = Decoder(TINY.vae)
    losses = []
    for signs in ([1.0] * 5, [1.0, -1.0, 1.0, -1.0, 1.0]):
        vae.signs = torch.tensor(signs)
        losses.append(vae_stage.step(vae, [clip], torch.Generator().manual_seed(0))[0].item())
    assert losses[1] - losses[0] == pytest.approx(0.2 * 4 / 5, rel=1e-3)
