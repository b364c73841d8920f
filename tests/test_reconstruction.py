"""What survives a VAE: the measure is the textbook formula, a perfect VAE loses nothing, the command leaves numbers."""

import math
from pathlib import Path

import pytest
import torch

from minisora.core.checkpoint import load_json
from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip
from minisora.evaluate.reconstruction import psnr, reconstruct, table
from minisora.generate.sora import Sora
from minisora.models.tokenizer import Tokenizer
from minisora.models.vae import VAE
from minisora.zoo.presets import preset
from tests.test_cli import Run, run  # noqa: F401, a fixture


@pytest.mark.parametrize("step", [1, 5, 40])
def test_psnr_is_20_log_of_255_over_the_error(step: int) -> None:
    gray = torch.full((3, 8, 8, 3), 100, dtype=torch.uint8)
    assert psnr(Clip(gray), Clip(gray + step)) == pytest.approx(20 * math.log10(255 / step), abs=1e-4)
    assert psnr(Clip(gray), Clip(gray)) == pytest.approx(100)


class Lossless(VAE):
    def encode(self, x: torch.Tensor, stream: object = None) -> torch.Tensor:
        return x

    def decode(self, z: torch.Tensor, stream: object = None) -> torch.Tensor:
        return z


def test_every_world_is_measured_and_a_vae_that_loses_nothing_shows_it() -> None:
    results = [reconstruct(Lossless(preset("tiny").vae), name, 3, (5, 16, 24), 8.0) for name in ("shapes", "craft")]
    assert all(result.psnr == (100.0,) * 3 for result in map(rounded, results))
    assert "worst" in table(results) and "100.00" in table(results)
    fresh = reconstruct(VAE(preset("tiny").vae), "shapes", 3, (5, 16, 24), 8.0)
    assert fresh.mean < 30 and len({round(value, 3) for value in fresh.psnr}) == 3
    with pytest.raises(MinisoraError, match="1 or more"):
        reconstruct(VAE(preset("tiny").vae), "shapes", 0, (5, 16, 24), 8.0)


def rounded(result):
    return type(result)(result.world, result.size, tuple(round(value, 2) for value in result.psnr), result.shown)


def test_the_command_leaves_numbers_and_a_sheet(run: Run, tmp_path: Path) -> None:  # noqa: F811
    Sora.new("tiny", Tokenizer(), device="cpu").save(tmp_path / "model")
    told = run("evaluate", "reconstruction", "--preset", "model", "--n", "2", "--out", "a/b.png")
    assert told.status == 2 and ".json" in told.err and not (tmp_path / "a").exists()
    told = run("evaluate", "reconstruction", "--preset", "model", "--n", "2", "--size", "5x16x16", "--out", "a/b.json")
    assert told.status == 0, told.err
    assert "mean of worlds" in told.out
    numbers = load_json(tmp_path / "a" / "b.json")
    assert len(numbers["worlds"]) == 6 and len(numbers["worlds"]["orbit"]["psnr"]) == 2
    assert (tmp_path / "a" / "b.png").is_file()
