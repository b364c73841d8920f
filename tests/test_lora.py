"""Low-rank additions: nothing at first, the same inside the weights as beside them, and kept in a model's folder."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip
from minisora.generate.direct import Directed, connect, edit, fill
from minisora.generate.sora import Sora
from minisora.models.lora import added, addition, attach, truncated
from minisora.tokens.known import Known
from tests.test_direct import clip_of, same
from tests.test_dit import built
from tests.test_sora import A, fresh


def learned(model: nn.Module, rank: int = 4) -> nn.Module:
    """An attached copy whose addition is something."""
    made, source = attach(deepcopy(model), rank), torch.Generator().manual_seed(1)
    for parameter in made.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(0, 0.1, generator=source)
    return made


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [layer.weight.detach() for layer in model.modules() if isinstance(layer, nn.Linear)]


def test_an_addition_is_nothing_at_first_and_learns_alone() -> None:
    model = built()
    made = attach(deepcopy(model), 4)
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(made), strict=True))
    learnt = {name for name, parameter in made.named_parameters() if parameter.requires_grad}
    assert learnt and all(name.endswith((".up", ".down")) and name.startswith("blocks.") for name in learnt)


def test_beside_the_weights_is_as_good_as_in_them() -> None:
    model = built()
    made = learned(model)
    for a, b in zip(weights(made), weights(added(model, addition(made))), strict=True):
        torch.testing.assert_close(a, b)
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(added(model, addition(made), 0)), strict=True))
    pairs = zip(weights(model), weights(made), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_the_nearest_of_lower_rank_is_the_same_if_the_rank_is_enough() -> None:
    model = built()
    whole = addition(learned(model))
    for rank, alike in ((4, True), (2, False)):
        shorter = truncated(whole, rank)
        products = [
            [some[name] @ some[name.replace(".up", ".down")] for name in whole if name.endswith(".up")]
            for some in (whole, shorter)
        ]
        errors = [float((a - b).norm() / a.norm()) for a, b in zip(*products, strict=True)]
        assert (max(errors) < 1e-5) == alike and max(errors) < 1


GAP = torch.tensor([False, True, True, True, False])
USES: dict[str, Callable[[Sora], Directed]] = {
    "turning": lambda sora: connect(sora, clip_of(5), clip_of(5, seed=1), A, 4),
    "gaps": lambda sora: fill(sora, clip_of(5), GAP, A),
    "edits": lambda sora: edit(sora, clip_of(5), A),
}


@pytest.mark.parametrize("what", USES)
def test_what_was_learned_later_is_used_for_its_own_and_nothing_else(what: str, tmp_path: Path) -> None:
    sora = fresh()
    taught = replace(sora, additions={what: addition(learned(sora.dit))})
    taught.save(tmp_path, dtype="fp32")
    again = Sora.from_pretrained(tmp_path, device="cpu", dtype="fp32")
    assert all(torch.equal(again.additions[what][name], each) for name, each in taught.additions[what].items())
    assert same(again.generate(A)[0].frames, sora.generate(A)[0].frames)
    for name, use in USES.items():
        assert same(use(again).frames, use(sora).frames) == (name != what)
    dit = added(sora.dit, taught.additions[what])
    if what != "edits":
        assert same(USES[what](again).frames, USES[what](replace(sora, dit=dit)).frames)


def test_an_edit_that_was_learned_is_shown_the_clip_and_others_begin_from_it() -> None:
    sora, clip = fresh(), clip_of(5)
    taught = replace(sora, additions={"edits": addition(learned(sora.dit))})
    dit = added(sora.dit, taught.additions["edits"])
    (shown,) = replace(sora, dit=dit).generate(A, clip.shape, known=[Known(region=sora.encode(clip))])
    assert same(edit(taught, clip, A).frames, shown.frames)
    assert not same(edit(taught, clip_of(5, seed=1), A).frames, shown.frames)
    assert same(edit(taught, clip, A, strength=0.5).frames, edit(sora, clip, A, strength=0.5).frames)
    assert same(edit(taught, clip, A, was="it falls").frames, edit(sora, clip, A, was="it falls").frames)


def test_a_long_edit_is_made_in_windows_that_share_a_frame() -> None:
    sora, clip = fresh(), clip_of(9)
    taught = replace(sora, additions={"edits": addition(learned(sora.dit))})
    window = sora.preset.size[0]
    made, start = (edit(taught, Clip(clip.frames[:count], 8.0), A, seed=3) for count in (9, window))
    assert made.shape == clip.shape and made.recipe["size"] == "9x16x24"
    assert same(made.frames[:window], start.frames)
    later = Clip(torch.cat([clip.frames[:window], clip_of(4, seed=1).frames]), 8.0)
    assert not same(edit(taught, later, A, seed=3).frames[window:], made.frames[window:])


def test_what_does_not_fit_is_refused() -> None:
    model = built()
    with pytest.raises(MinisoraError, match="rank 0 cannot be"):
        attach(deepcopy(model), 0)
    whole = addition(learned(model))
    name = next(iter(whole))
    for wrong in ({f"x{name}": whole[name]}, {name: whole[name]}, whole | {name: whole[name][:-1]}):
        with pytest.raises(MinisoraError, match="does not fit the model"):
            added(model, wrong)
