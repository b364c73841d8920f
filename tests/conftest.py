"""Settings for all tests: one torch thread, and the same examples in every run.

Tests work on small tensors, and those that start several processes should not crowd the machine. To look for new
counterexamples instead of repeating the known ones: pytest --hypothesis-profile=explore
"""

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("repeat", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("repeat")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=30, help="how often training is killed in the test of that")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks first, which take minutes each: the short tests then fill what is left of the other processes."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")
