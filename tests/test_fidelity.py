"""The fidelity checker: what it reads beyond what tests/test_checkers.py asks of every checker."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisora.evaluate import fidelity
from minisora.worlds import shapes
from minisora.worlds.language import WORDS
from minisora.worlds.scene import Frame
from tests.checking import agreement


@pytest.mark.slow
def test_most_clips_of_the_tiny_preset_can_be_read():
    assert agreement("shapes", 300, (9, 32, 32)) >= 0.95


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**30), motion=st.sampled_from(list(WORDS["motion"])), noise=st.floats(0, 0.006))
def test_a_motion_is_read_from_its_track(seed: int, motion: str, noise: float):
    track = shapes.state(shapes.sample(seed, count=1, motion=motion), 17, 64, 64).tracks[0] / Frame(64, 64).unit
    jitter = torch.randn(track.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert fidelity.read_motion(track + noise * jitter, 8.0) == motion


def test_an_image_makes_no_claim_about_motion():
    scene = shapes.sample(4)
    report = fidelity.check(shapes.render(scene, 1, 64, 64), scene)
    assert "motion" not in report.claims and report.ok


@pytest.mark.parametrize("shape", [(1, 32, 32), (17, 64, 64), (2, 20, 90)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_empty_clip_is_refused_and_not_an_error(shape: tuple[int, int, int], value: int):
    report = fidelity.check(torch.full((*shape, 3), value, dtype=torch.uint8), shapes.sample(0))
    assert not report.ok and not report.claims["count"]


def test_noise_is_refused():
    noise = torch.randint(0, 256, (9, 64, 64, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert not fidelity.check(noise, shapes.sample(0)).ok
