"""Floor 1: toy worlds with exact ground truth. Each is a module with `sample`, `render`, `state` and `caption`."""

import importlib

from minisora.core.errors import check_choice
from minisora.worlds.scene import Scene, State, World

WORLDS = ("shapes", "physics", "occlusion", "orbit", "painter", "craft")

__all__ = ["WORLDS", "Scene", "State", "World", "world"]


def world(name: str) -> World:
    """The world of this name."""
    return importlib.import_module(f"minisora.worlds.{check_choice('world', name, WORLDS)}")  # type: ignore[return-value]
