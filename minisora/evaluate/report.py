"""What a checker returns: every claim of a scene with a yes or no, and the measures that the answers rest on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from minisora.worlds.scene import Scene

# A control makes a clip that a checker must refuse: (scene, frames, height, width, fps) -> uint8 (t, h, w, 3).
Control = Callable[[Scene, int, int, int, float], Tensor]


@dataclass(frozen=True)
class Report:
    claims: Mapping[str, bool]
    measures: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return all(self.claims.values())

    @property
    def failed(self) -> list[str]:
        return [name for name, holds in self.claims.items() if not holds]
