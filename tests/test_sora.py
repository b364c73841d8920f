"""The generator: the same seed, the same clip; a batch is its clips; a folder or a file brings back what went in."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from minisora import cli
from minisora.core.checkpoint import load_json, open_tensors, save_json, sha256
from minisora.core.errors import MinisoraError
from minisora.core.recipe import Recipe
from minisora.data.clip import Clip
from minisora.data.video_io import probe, read_video, write_video
from minisora.diffusion.guidance import relayed
from minisora.generate import folder as folders
from minisora.generate.credits import Take, read_recipe, write_take
from minisora.generate.experts import paired
from minisora.generate.plain import from_plain, to_plain
from minisora.generate.settings import Settings, Shot, settle
from minisora.generate.sora import Sora
from minisora.models.dit import FP32
from minisora.models.tokenizer import Tokenizer
from minisora.tokens.known import Known
from minisora.worlds import shapes
from minisora.zoo.presets import PRESETS, Preset, Weights

TINY = PRESETS["tiny"]
PRESET = replace(
    TINY,
    vae=replace(TINY.vae, channels=4, base=8, mean=(0.1, -0.2, 0.3, 0.0), std=(0.9, 1.1, 1.3, 0.7)),
    dit=replace(
        TINY.dit, channels=4, patch=(1, 2, 2), width=48, heads=2, layers=2, mlp=96, text_width=32, text_length=24
    ),
    text=replace(TINY.text, vocabulary=258, width=32, heads=2, mlp=48, layers=1),
    size=(5, 16, 24),
    sampling=replace(TINY.sampling, steps=3, guidance=3.0, shift=4.0, sampler="euler"),
)
A, B = "a red ball", "two blue cars"


def fresh(preset: Preset = PRESET, dtype: str = "fp32", seed: int = 1) -> Sora:
    """Random weights, with tables that let time and text be felt."""
    sora = Sora.new(preset, Tokenizer(), seed=seed, device="cpu", dtype=dtype)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in sora.dit.named_parameters():
        if "table" in name:
            parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)
    return sora


@pytest.fixture(scope="module")
def sora() -> Sora:
    return fresh()


@pytest.fixture(scope="module")
def saved(sora: Sora, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    replace(sora).save(folder, dtype="fp32")
    return folder


def copied(folder: Path, to: Path) -> Path:
    to.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def same(a: Sequence[Clip], b: Sequence[Clip]) -> bool:
    return len(a) == len(b) and all(torch.equal(x.frames, y.frames) for x, y in zip(a, b, strict=True))


def apart(a: Clip, b: Clip) -> float:
    """The largest difference between two clips, in levels of 0 … 255."""
    return (a.frames.float() - b.frames.float()).abs().max().item()


def latents(sora: Sora, shots: list[Shot], **given) -> list[Tensor]:
    with torch.no_grad():
        return sora._sample(shots, settle(sora.preset, None, **given), None)


@pytest.mark.parametrize("sampler", ["euler", "heun", "unipc", "sde"])
def test_the_same_seed_makes_the_same_clip_bit_for_bit(sora: Sora, sampler: str) -> None:
    one, again = (sora.generate([A, B], seed=3, n=2, sampler=sampler) for _ in range(2))
    assert same(one, again) and same(fresh().generate([A, B], seed=3, n=2, sampler=sampler), one)
    assert [(take.caption, take.recipe["seed"]) for take in one] == [(A, 3), (A, 4), (B, 3), (B, 4)]
    assert one[0].source == "minisora custom, seed 3" and one[0].fps == PRESET.fps
    assert all(apart(x, y) > 2 for i, x in enumerate(one) for y in one[:i])  # other seeds and prompts, other clips


def test_prompts_may_have_seeds_of_their_own(sora: Sora) -> None:
    made = sora.generate([A, B], seed=[7, 3], n=2)
    assert [(take.caption, take.recipe["seed"]) for take in made] == [(A, 7), (A, 8), (B, 3), (B, 4)]
    for take in made:
        assert apart(take, sora.generate(take.caption, seed=take.recipe["seed"])[0]) <= 1
    with pytest.raises(MinisoraError, match="3 seeds for 2 prompts"):
        sora.generate([A, B], seed=range(3))
    with pytest.raises(MinisoraError, match="seed 0, -1"):
        sora.generate([A, B], seed=[0, -1])


def other_expert(sora: Sora) -> Sora:
    """Of another width."""
    other = fresh(replace(PRESET, dit=replace(PRESET.dit, width=32, places=not PRESET.dit.places)), seed=7)
    return replace(other, text=sora.text)


def test_of_two_experts_the_one_in_charge_is_asked(sora: Sora) -> None:
    late, asked = other_expert(sora), dict[str, list[float]](early=[], late=[])
    pair = paired(sora, late, below=0.9)
    handles = [
        dit.register_forward_pre_hook(lambda _, inputs, name=name: asked[name].append(float(inputs[1].max())))
        for name, dit in (("early", sora.dit), ("late", late.dit))
    ]
    made = pair.generate(A, seed=3, steps=8)[0]
    for handle in handles:
        handle.remove()
    assert min(asked["early"]) > 0.9 >= max(asked["late"]) and len(asked["early"] + asked["late"]) == 2 * 8
    assert not same([made], sora.generate(A, seed=3, steps=8)) and not same([made], late.generate(A, seed=3, steps=8))
    assert same(paired(sora, sora).generate(A, seed=3), sora.generate(A, seed=3)), "two of the same are one"


def test_two_experts_come_back_from_a_folder_and_unlike_ones_are_no_pair(sora: Sora, tmp_path: Path) -> None:
    pair = paired(sora, other_expert(sora), below=0.7)
    back = Sora.from_pretrained(pair.save(tmp_path / "pair", dtype="fp32"), device="cpu", dtype="fp32")
    assert back.preset.late is not None and back.preset.late.below == 0.7
    assert same(back.generate([A, B], seed=2), pair.generate([A, B], seed=2))
    assert back.generate(A, was=[B], init=pair.generate(B, seed=2), start=0.8)[0].recipe["was"] == B
    elsewhere = replace(PRESET, vae=replace(PRESET.vae, mean=(0.0,) * 4))
    for unlike in (fresh(elsewhere), fresh(PRESET, seed=7), replace(sora, tokenizer=Tokenizer([(97, 98)]))):
        with pytest.raises(MinisoraError, match="share the VAE"):
            paired(sora, unlike)
    with pytest.raises(MinisoraError, match="between 0 and 1"):
        paired(sora, sora, below=1.0)


def test_a_relay_changes_hands_once() -> None:
    velocity = relayed(lambda x, t: x + 1, lambda x, t: x + 2, 0.5)
    assert [velocity(torch.zeros(1), torch.tensor(t)).item() for t in (1.0, 0.51, 0.5, 0.1)] == [1, 1, 2, 2]


@pytest.mark.parametrize("sampler", ["euler", "sde"])
def test_a_clip_does_not_depend_on_what_else_is_in_the_batch(sora: Sora, sampler: str) -> None:
    batch = sora.generate([A, B], seed=3, n=2, sampler=sampler)
    assert apart(batch[1], sora.generate(A, seed=4, sampler=sampler)[0]) <= 1
    assert apart(batch[2], sora.generate(B, seed=3, sampler=sampler)[0]) <= 1


def test_the_latents_of_a_batch_are_those_of_its_clips(sora: Sora) -> None:
    shots = [Shot(A, 3), Shot(A, 4), Shot(B, 3)]
    together = latents(sora, shots, rescale=1.0, guidance=6.0)
    for whole, shot in zip(together, shots, strict=True):
        alone = latents(sora, [shot], rescale=1.0, guidance=6.0)[0]
        torch.testing.assert_close(whole, alone, atol=1e-4, rtol=1e-4)


def test_the_noise_that_sde_adds_is_the_clips_own(sora: Sora, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on where the noise that the clip began with ended, with what is known of a clip left out."""
    drawn: list[Tensor] = []

    def spy(velocity, x: Tensor, times: Tensor, fresh, eta: float, callback) -> Tensor:
        drawn.append(fresh(x))
        return x

    monkeypatch.setattr("minisora.generate.sora.sde", spy)
    begun = Known(prefix=sora.encode(sora.generate(A)[0])[:, :1])
    sora.generate([A, B], seed=[3, 5], sampler="sde", known=[None, begun])
    shape, later = sora.latent_shape(PRESET.size), []
    for seed in (3, 5):
        own = torch.Generator().manual_seed(seed)
        torch.randn(shape, generator=own)
        later.append(own)
    whole = math.prod(shape[1:]) // math.prod(PRESET.dit.patch)
    counts = whole, whole * (shape[1] - 1) // shape[1]
    parts = [torch.randn(count, drawn[0].shape[1], generator=own) for count, own in zip(counts, later, strict=True)]
    assert torch.equal(drawn[0], torch.cat(parts))


def test_a_clip_that_is_begun_gets_no_more_noise_than_the_path_adds_unless_that_is_asked_for() -> None:
    for own in (0.5, 1.5):
        preset = replace(PRESET, sampling=replace(PRESET.sampling, eta=own))
        assert settle(preset, None).eta == settle(preset, None, start=1.0).eta == own
        assert settle(preset, None, start=0.9).eta == min(own, 1.0)
        assert settle(preset, None, start=0.9, eta=1.2).eta == settle(preset, None, eta=1.2).eta == 1.2


@pytest.mark.parametrize(
    "changed",
    [
        {"guidance": 1.0}, {"steps": 4}, {"shift": 3.0}, {"negative": "grey"}, {"rescale": 1.0},
        {"interval": (0.0, 0.5)}, {"sampler": "sde", "eta": 0.5},
    ],
)  # fmt: skip
def test_every_setting_is_felt(sora: Sora, changed: dict) -> None:
    assert apart(sora.generate(A)[0], sora.generate(A, **changed)[0]) > 0


def test_guidance_1_and_a_guided_batch_agree_with_the_formula(sora: Sora) -> None:
    shot = [Shot(A, 0)]
    conditional, unconditional, both = (
        latents(sora, [replace(shot[0], prompt=prompt)], steps=1, guidance=guidance)[0]
        for prompt, guidance in ((A, 1.0), ("", 1.0), (A, 3.0))
    )
    torch.testing.assert_close(both, unconditional + 3 * (conditional - unconditional), atol=1e-4, rtol=1e-4)


def test_an_empty_prompt_is_the_dropped_one_of_training(sora: Sora) -> None:
    assert [len(row) for row in sora._read(["", A])] == [0, len(A) + 1]
    wan = replace(sora, preset=replace(PRESET, weights=Weights("here", "there")))
    assert [len(row) for row in wan._read([""])] == [1]  # there the end mark is read


@pytest.mark.parametrize("size", ["5x16x24", "1x16x16", "9x20x13", "5x1x1"])
def test_sizes_are_as_asked_and_what_is_cut_is_the_border(sora: Sora, size: str) -> None:
    frames, height, width = (int(number) for number in size.split("x"))
    clip = sora.generate(A, size)[0]
    assert clip.shape == (frames, height, width)
    up = (frames, -(-height // 8) * 8, -(-width // 8) * 8)  # a token has a side of 8 here
    whole = sora.generate(A, up)[0]
    assert torch.equal(whole.frames[:, :height, :width], clip.frames)
    assert sora.encode(clip).shape == sora.latent_shape(clip.shape) == sora.latent_shape(whole.shape)


def test_a_clip_has_whole_tokens_in_time_too() -> None:
    sora = fresh(replace(PRESET, dit=replace(PRESET.dit, patch=(3, 1, 1)), size=(9, 16, 16)))
    assert [sora.generate(A, size)[0].shape[0] for size in (None, "21x16x16")] == [9, 21]
    assert sora.generate(A, ring=True)[0].shape[0] == 12
    for size, near in (("1x16x16", "9x16x16"), ("13x16x16", "9x16x16"), ("17x16x16", "21x16x16")):
        with pytest.raises(MinisoraError, match=rf"12k \+ 9 can, such as 9 and 21; the nearest is {near}"):
            sora.generate(A, size)


@pytest.mark.parametrize(
    "words, complaint",
    [
        ({"size": "16x16x16"}, r"4k \+ 1 can, such as 13 and 17; the nearest is 17x16x16"),
        ({"size": "6x16x16"}, "the nearest is 5x16x16"),
        ({"size": "16x16"}, "frames x height x width"),
        ({"size": "5x0x16"}, "no clip has size"),
        ({"size": "99997x8192x8192"}, "GiB of pixels"),
        ({"steps": 0}, "0 steps"),
        ({"steps": 10**9}, "take 1 to 10000"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"shift": -1.0}, "shifted by -1"),
        ({"sampler": "ddim"}, "choose one of euler"),
        ({"interval": (0.5, 0.2)}, "interval"),
        ({"fps": 0.0}, "fps"),
        ({"n": 0}, "1 to 1000"),
        ({"seed": -1}, "seed -1"),
        ({"prompts": []}, "0 prompts"),
        ({"start": 0.5}, "give both, or neither"),
        ({"init": [torch.zeros(4, 2, 4, 6)]}, "give both, or neither"),
        ({"init": [torch.zeros(4, 2, 4, 4)], "start": 0.5}, "has \\(4, 2, 4, 6\\)"),
        ({"init": [Clip(torch.zeros(1, 16, 24, 3, dtype=torch.uint8))], "start": 0.5}, "init is 1x16x24"),
        ({"known": [None, None]}, "there are 1 prompts"),
        ({"known": [Known(prefix=torch.zeros(4, 3, 4, 6))]}, "at most 2 in time"),
        ({"prompts": "a ball " * 10_000}, "a prompt has 70000 tokens, and custom reads 24: shorten it"),
    ],
)
def test_what_cannot_be_generated_is_refused_in_one_line(sora: Sora, words: dict, complaint: str) -> None:
    with pytest.raises(MinisoraError, match=complaint) as told:
        sora.generate(**{"prompts": A, **words})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("prompt", ["", " \n", "一只红色的球", "🦊" * 5, "\x00&amp;\ud800"])
def test_any_short_text_is_a_prompt(sora: Sora, prompt: str) -> None:
    assert sora.generate(prompt)[0].caption == prompt


def test_a_clip_is_filled_up_with_its_border(sora: Sora) -> None:
    frames = shapes.render(shapes.sample(3, style="flat"), 5, 13, 20)
    filled = F.pad(frames.permute(3, 0, 1, 2).float(), (0, 4, 0, 3, 0, 0), mode="replicate").permute(1, 2, 3, 0)
    assert torch.equal(sora.encode(Clip(frames)), sora.encode(Clip(filled.to(torch.uint8))))


def test_a_start_near_0_returns_the_init(sora: Sora) -> None:
    scene = Clip(shapes.render(shapes.sample(3, style="flat"), 5, 13, 24))
    z = sora.encode(scene)
    decoded = sora.decode(z, scene.shape)

    def from_init(init, start: float, seed: int = 0) -> Take:
        return sora.generate(A, scene.shape, init=init, start=start, seed=seed)[0]

    near = from_init([scene], 1e-5)
    assert apart(near, decoded) <= 1 and near.recipe["beside"] == ["init"]
    assert same([from_init(z[None], 0.5)], [from_init([scene], 0.5)])
    assert apart(from_init(z[None], 0.5, seed=1), from_init(z[None], 0.5)) > 0  # it is noised on the way
    ways = [apart(from_init([scene], start), decoded) for start in (0.01, 0.1, 0.9)]
    assert ways == sorted(ways) and ways[0] < ways[-1]


def test_known_parts_stay_and_are_felt(sora: Sora) -> None:
    generator = torch.Generator().manual_seed(0)
    prefix, frame = (torch.randn(4, 1, 4, 6, generator=generator) for _ in range(2))
    known = Known(prefix=prefix)
    kept, free = latents(sora, [Shot(A, 0, known), Shot(A, 0)])
    assert torch.equal(kept[:, :1], prefix) and not torch.equal(free[:, :1], prefix)
    assert (kept[:, 1:] - free[:, 1:]).abs().max() > 1e-3
    takes = sora.generate([A, A], known=[Known(frames={4: frame}), None])
    assert apart(takes[0], takes[1]) > 0 and apart(takes[1], sora.generate(A)[0]) <= 1
    assert [take.recipe["beside"] for take in takes] == [["known"], []]


@pytest.mark.parametrize("sampler", ["euler", "heun", "unipc", "sde"])
def test_a_callback_sees_every_step_and_the_clean_clips(sora: Sora, sampler: str) -> None:
    seen: list[tuple[int, float, list[Clip]]] = []

    def look(step: int, t: float, clips) -> None:
        seen.append((step, t, clips()))

    takes = sora.generate([A, B], "5x13x24", sampler=sampler, shift=1.0, callback=look)
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert [round(t, 6) for _, t, _ in seen] == [1.0, round(2 / 3, 6), round(1 / 3, 6)]
    assert all([clip.shape for clip in clips] == [(5, 13, 24)] * 2 for _, _, clips in seen)
    assert sampler == "unipc" or same(seen[-1][2], takes)  # the last step goes to the clean clip


def test_open_weights_are_sampled_at_whole_thousandths(sora: Sora) -> None:
    seen: list[Tensor] = []

    class Spy(torch.nn.Module):
        config = sora.dit.config

        def forward(self, tokens, t, text):
            seen.append(t[0])
            return sora.dit(tokens, t, text)

    wan = replace(sora, preset=replace(PRESET, weights=Weights("here", "there")), dit=Spy())
    assert all(preset.sampling.sampler == "unipc" for preset in PRESETS.values() if preset.weights)
    wan.generate(A, shift=3.0, sampler="unipc")
    times = torch.stack(seen) * 1000
    assert times.dtype == torch.float64 and torch.equal(times, times.round()) and times.max() == 999


def test_a_folder_brings_the_generator_back(sora: Sora, saved: Path) -> None:
    back = Sora.from_pretrained(saved, device="cpu", dtype="fp32")
    assert back.preset == PRESET and back.name == sora.name and len(back.weights) == 64
    assert same(back.generate([A, B], n=2), sora.generate([A, B], n=2))
    assert back.generate(A)[0].recipe["weights"] == back.weights
    torch.testing.assert_close(back.vae.mean, torch.tensor(PRESET.vae.mean))


def test_a_rounded_folder_is_small_and_close_and_keeps_fp32_where_it_counts(
    sora: Sora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "LARGEST", 100_000)
    replace(sora).save(tmp_path / "a")
    shards = sorted(path.name for path in (tmp_path / "a").glob("dit*"))
    assert len(shards) > 1 and shards[0] == f"dit-00001-of-{len(shards):05d}.safetensors"
    assert all(path.stat().st_size < 120_000 for path in (tmp_path / "a").glob("dit*"))
    for path in (tmp_path / "a").glob("*.safetensors"):
        with open_tensors(path) as file:
            for name in file.keys():  # noqa: SIM118
                wide = bool(FP32.search(name)) or name in ("mean", "std")
                assert file.get_tensor(name).dtype == (torch.float32 if wide else torch.bfloat16), name
    back = Sora.from_pretrained(tmp_path / "a", device="cpu", dtype="fp32")
    assert 0 < apart(back.generate(A, steps=1)[0], sora.generate(A, steps=1)[0]) < 40
    back.save(tmp_path / "b")  # nothing is left to round: saved again, every file is the same
    assert load_json(tmp_path / "a" / "manifest.json") == load_json(tmp_path / "b" / "manifest.json")
    low = Sora.from_pretrained(tmp_path / "a", device="cpu", dtype="bf16")
    assert low.dit.head.weight.dtype == torch.bfloat16 and low.dit.table.dtype == torch.float32
    assert apart(low.generate(A, steps=1)[0], back.generate(A, steps=1)[0]) < 60


@pytest.mark.parametrize("name", ["preset.json", "tokenizer.json", "vae.safetensors", "dit.safetensors"])
def test_a_damaged_or_missing_file_is_one_line(saved: Path, tmp_path: Path, name: str) -> None:
    broken = copied(saved, tmp_path / "broken") / name
    data = bytearray(broken.read_bytes())
    data[len(data) // 2] ^= 1
    broken.write_bytes(data)
    with pytest.raises(MinisoraError, match="is damaged"):
        Sora.from_pretrained(broken.parent)
    broken.unlink()
    with pytest.raises(MinisoraError, match="there is no file"):
        Sora.from_pretrained(broken.parent)


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda files: files.pop("dit.safetensors"), "DiT lack"),
        (lambda files: files.pop("preset.json"), "does not list preset.json"),
        (lambda files: files.update({"../x": "0"}), "not a file beside it"),
        (lambda files: files.update({"x": 0}), "not a manifest of ours"),
    ],
)
def test_a_wrong_manifest_is_one_line(saved: Path, tmp_path: Path, change, complaint: str) -> None:
    manifest = copied(saved, tmp_path) / "manifest.json"
    content = load_json(manifest)
    change(content["files"])
    save_json(manifest, content)
    with pytest.raises(MinisoraError, match=complaint) as told:
        Sora.from_pretrained(tmp_path)
    assert "\n" not in str(told.value)


def test_another_preset_beside_the_weights_is_noticed(saved: Path, tmp_path: Path) -> None:
    folder = copied(saved, tmp_path)
    content, manifest = load_json(folder / "preset.json"), load_json(folder / "manifest.json")
    content["preset"]["dit"]["mlp"] = 97
    save_json(folder / "preset.json", content)
    manifest["files"]["preset.json"] = sha256(folder / "preset.json")
    save_json(folder / "manifest.json", manifest)
    with pytest.raises(MinisoraError, match="does not fit the preset"):
        Sora.from_pretrained(folder)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    plain = json.loads(json.dumps(to_plain(PRESETS[name])))
    assert from_plain(Preset, plain, "preset") == PRESETS[name]


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"colour": 1}, "unknown field 'colour'"),
        ({"steps": "many"}, "preset.steps is 'many', and it has to be int"),
        ({"steps": True}, "has to be int"),
        ({"steps": -1}, "above 0"),
    ],
)
def test_json_that_is_no_dataclass_is_one_line(change: dict, complaint: str) -> None:
    with pytest.raises(MinisoraError, match=complaint):
        from_plain(Recipe, to_plain(Recipe()) | change, "preset")
    with pytest.raises(MinisoraError, match="lacks a field"):
        from_plain(Settings, {}, "settings")


@pytest.mark.parametrize("name", ["tiny", "toy", "nothing"])
def test_a_model_that_is_not_here_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folders.minisora, "__file__", str(tmp_path / "minisora" / "__init__.py"))
    with pytest.raises(MinisoraError, match="train" if name in PRESETS else "no preset: tiny, toy"):
        Sora.from_pretrained(name)
    with pytest.raises(MinisoraError, match=r"no file .*manifest.json|no preset"):
        Sora.from_pretrained(name, tmp_path)
    with pytest.raises(MinisoraError, match=r"expected tokenizer/tokenizer\.json"):
        Sora.from_pretrained("wan2.1-t2v-1.3b", tmp_path)


def test_a_bundled_checkpoint_is_found_by_its_name(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders.minisora, "__file__", str(tmp_path / "minisora" / "__init__.py"))
    copied(saved, tmp_path / "data" / "checkpoints" / "tiny")
    assert Sora.from_pretrained("tiny", device="cpu").preset == PRESET


def test_a_tokenizer_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MinisoraError, match="a tokenizer of 259 ids"):
        Sora.new(PRESET, Tokenizer([(2, 3)]))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif", "clip.png", "clip"])
def test_a_file_tells_how_it_was_made_and_that_makes_it_again(sora: Sora, tmp_path: Path, name: str) -> None:
    size = "1x16x24" if name.endswith("png") else "5x15x24"
    asked = {"seed": 7, "steps": 2, "guidance": 2.5, "shift": 1.5, "negative": "grau", "sampler": "unipc", "fps": 5.0}
    take = sora.generate("ein Ball „hier“", size, **asked, rescale=0.5, interval=(0.1, 1.0))[0]
    path = write_take(tmp_path / name, take)
    recipe = read_recipe(path)
    assert recipe == take.recipe and recipe.items() >= asked.items()
    assert {"prompt", "preset", "weights", "version", "size"} <= recipe.keys()
    again = {key: recipe[key] for key in (*asked, "size", "rescale", "interval", "start")}
    assert same(sora.generate(recipe["prompt"], **again), [take])
    other = write_take(tmp_path / "other" / name, take)
    for one in sorted(path.iterdir()) if path.is_dir() else [path]:
        assert one.read_bytes() == (other / one.name if path.is_dir() else other).read_bytes()
    assert read_video(path).caption == take.caption


def test_a_file_without_a_recipe_says_so(tmp_path: Path) -> None:
    clip = Clip(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    for metadata in (None, {"recipe": 3}, {"recipe": {}}):
        write_video(tmp_path / "a.png", clip, metadata)
        with pytest.raises(MinisoraError, match="does not say how it was made"):
            read_recipe(tmp_path / "a.png")


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["minisora", "generate", *map(str, words)])
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_the_command_writes_videos_with_recipes_and_a_sheet(
    sora: Sora, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a" / "b.gif"
    asked = ["--preset", saved, "--size", "5x16x16", "--seed", 2, "--n", 2, "--dtype", "fp32", "--device", "cpu"]
    assert run(monkeypatch, A, *asked, "--out", out) == 0
    assert {path.name for path in out.parent.iterdir()} == {"b.gif", "b-2.gif", "b-sheet.png"}
    assert [recipe["seed"] for recipe in probe(out.with_name("b-sheet.png")).metadata["recipes"]] == [2, 3]
    assert read_recipe(out.with_name("b-2.gif"))["seed"] == 3 and "seed 2" in capsys.readouterr().out
    take: Take = sora.generate(A, "5x16x16", seed=2)[0]
    write_take(tmp_path / "same.gif", replace(take, recipe=read_recipe(out)))
    assert (tmp_path / "same.gif").read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["--size", "16x16x16"], "4k + 1"),
        (["--out", "clip.avi"], "unknown ending"),
        (["--out", "clip.png"], "can hold one frame"),
        (["--sampler", "magic"], "choose one of euler"),
        (["--device", "tpu"], "choose one of auto"),
        (["--preset", "nothing"], "no preset"),
    ],
)
def test_a_mistake_ends_with_2_and_leaves_nothing(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], complaint: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, A, *([] if "--preset" in words else ["--preset", saved]), *words) == 2
    told = capsys.readouterr().err
    assert complaint in told and len(told.strip().splitlines()) == 1 and not list(tmp_path.iterdir())
