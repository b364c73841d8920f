"""Devices, precision, ranks and recipes: what is asked for is given, or refused in one line."""

import pytest
import torch

from minisora.core.errors import MinisoraError
from minisora.core.machine import describe
from minisora.core.recipe import Recipe
from minisora.core.runtime import Ranks, blank, generator, pick_device, pick_dtype, ranks, seed_everything


def test_the_automatic_device_is_the_fastest_there_is():
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else pick_device().type)
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "cpu:x", "cpu:1", "auto:0", ""])
def test_a_device_that_is_not_here_is_refused(name: str):
    with pytest.raises(MinisoraError):
        pick_device(name)


def test_precision_is_what_is_asked_for_or_what_pays():
    cpu = torch.device("cpu")
    assert pick_dtype(cpu, "bf16") is torch.bfloat16 and pick_dtype(cpu, "fp32") is torch.float32
    assert pick_dtype(cpu) in (torch.bfloat16, torch.float32)
    with pytest.raises(MinisoraError, match="bf16"):
        pick_dtype(cpu, "fp8")


def test_seeds_repeat_and_generators_are_independent():
    seed_everything(3)
    one, alone = torch.rand(4), torch.rand(4, generator=generator(5))
    seed_everything(3)
    assert torch.equal(torch.rand(4), one) and torch.equal(torch.rand(4, generator=generator(5)), alone)


def test_ranks_are_those_of_torchrun(monkeypatch: pytest.MonkeyPatch):
    assert ranks() == Ranks(0, 1, 0) and ranks().main
    for name, value in {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert ranks() == Ranks(3, 8, 1) and not ranks().main


def test_the_machine_can_be_described():
    lines = describe()
    assert {"minisora", "device", "precision", "memory", "extras"} <= lines.keys()
    assert all("\n" not in value for value in lines.values())


def test_the_learning_rate_rises_holds_and_falls():
    recipe = Recipe(steps=100, warmup=10, decay=0.5)
    scales = [recipe.scale(step) for step in range(100)]
    assert scales[0] == 0.1 and max(scales) == 1 and scales[9:51] == [1] * 42
    assert scales[51:] == sorted(scales[51:], reverse=True) and 0 < scales[-1] < 0.03
    assert recipe.scale(100) == 0


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"rate": -1}, {"batch": 10, "accumulate": 3}, {"ema": 1.0}, {"decay": 2}, {"rate": float("nan")}],
)
def test_an_impossible_recipe_is_refused(wrong: dict):
    with pytest.raises(MinisoraError, match="recipe"):
        Recipe(**wrong)


def test_a_blank_model_has_the_names_shapes_and_dtypes_of_a_real_one_and_no_memory():
    def make() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 3), torch.nn.Conv3d(3, 2, 1).double())

    with blank():
        model = make()
    real = {name: (weight.shape, weight.dtype) for name, weight in make().state_dict().items()}
    assert {name: (weight.shape, weight.dtype) for name, weight in model.state_dict().items()} == real
    assert all(weight.is_meta for weight in model.parameters())
    assert make().state_dict()["0.weight"].std() > 0  # afterwards values are drawn again
