"""Every checker agrees with the exact state of real clips and refuses every control, in square and wide frames."""

import pytest

from tests.checking import CHECKERS, agreement, checker_of, refusal

SQUARE, WIDE, TINY = (17, 64, 64), (17, 72, 128), (9, 32, 32)
PAIRS = [(world, control) for world in CHECKERS for control in checker_of(world).CONTROLS]


@pytest.mark.parametrize("world", CHECKERS)
@pytest.mark.parametrize("size", [SQUARE, WIDE], ids=["square", "wide"])
def test_it_agrees_with_the_state_of_real_clips(world: str, size: tuple[int, int, int]):
    assert agreement(world, 24, size) >= 0.95


@pytest.mark.parametrize("world, control", PAIRS)
def test_it_refuses_every_control(world: str, control: str):
    assert refusal(world, control, 12, SQUARE) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("world", CHECKERS)
@pytest.mark.parametrize("size", [SQUARE, WIDE], ids=["square", "wide"])
def test_it_agrees_with_500_real_clips(world: str, size: tuple[int, int, int]):
    assert agreement(world, 500, size) >= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("world, control", PAIRS)
def test_it_refuses_a_hundred_of_every_control(world: str, control: str):
    """A tenth of what `python -m tests.checking` prints, so that it fits into every run."""
    assert refusal(world, control, 100, SQUARE) >= 0.98
