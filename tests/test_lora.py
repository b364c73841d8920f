"""Low-rank additions: nothing at first, the same inside the weights as beside them, and kept in a model's folder."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from minisora.core.errors import MinisoraError
from minisora.generate.direct import connect
from minisora.generate.sora import Sora
from minisora.models.lora import added, addition, attach, truncated
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


def test_a_connection_is_made_with_the_addition_and_nothing_else_is(tmp_path: Path) -> None:
    sora = fresh()
    taught = replace(sora, additions={"turning": addition(learned(sora.dit))})
    taught.save(tmp_path, dtype="fp32")
    again = Sora.from_pretrained(tmp_path, device="cpu", dtype="fp32")
    assert all(
        torch.equal(again.additions["turning"][name], each) for name, each in taught.additions["turning"].items()
    )
    assert same(again.generate(A)[0].frames, sora.generate(A)[0].frames)
    first, second = clip_of(5), clip_of(5, seed=1)
    made = connect(again, first, second, A, 4)
    assert not same(made.frames, connect(sora, first, second, A, 4).frames)
    dit = added(sora.dit, taught.additions["turning"])
    assert same(made.frames, connect(replace(sora, dit=dit), first, second, A, 4).frames)


def test_what_does_not_fit_is_refused() -> None:
    model = built()
    with pytest.raises(MinisoraError, match="rank 0 cannot be"):
        attach(deepcopy(model), 0)
    whole = addition(learned(model))
    name = next(iter(whole))
    for wrong in ({f"x{name}": whole[name]}, {name: whole[name]}, whole | {name: whole[name][:-1]}):
        with pytest.raises(MinisoraError, match="does not fit the model"):
            added(model, wrong)
