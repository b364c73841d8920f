"""Training recipes: how long, how fast and how carefully a model is trained. A preset names one for each stage."""

from dataclasses import dataclass

from minisora.core.errors import MinisoraError


@dataclass(frozen=True)
class Recipe:
    """Everything about a training run that is neither model nor data."""

    steps: int = 1000
    """Optimiser steps; a budget of minutes may end the run sooner."""
    batch: int = 32
    """Clips in one step, over all ranks and accumulated passes."""
    rate: float = 1e-3
    """Peak learning rate of AdamW."""
    matrix_rate: float | None = None
    """Peak learning rate of Muon for weight matrices; without one, AdamW trains them too."""
    warmup: int = 50
    """Steps over which the learning rate rises from nothing."""
    decay: float = 0.3
    """The last share of the steps, over which the learning rate falls to nothing."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient."""
    accumulate: int = 1
    """Passes per optimiser step, for batches that do not fit."""
    ema: float = 0.999
    """How much of the averaged weights is kept at each step."""
    seed: int = 0

    def __post_init__(self) -> None:
        positive = {"steps": self.steps, "batch": self.batch, "rate": self.rate, "accumulate": self.accumulate}
        for name, value in positive.items():
            if not value > 0:
                raise MinisoraError(f"recipe: {name} is {value}, and it has to be above 0")
        if self.batch % self.accumulate:
            raise MinisoraError(f"recipe: a batch of {self.batch} cannot be split into {self.accumulate} equal passes")
        if not (0 <= self.decay <= 1 and 0 <= self.ema < 1 and self.warmup >= 0):
            raise MinisoraError("recipe: decay lies in 0 … 1, ema in 0 … 1 (1 excluded), and warmup is not negative")

    def scale(self, step: int, total: int | None = None) -> float:
        """The learning rate at a step as a share of its peak: up, along, and down in a straight line."""
        total = total or self.steps
        rising = (step + 1) / max(1, self.warmup)
        falling = (total - step) / max(1.0, self.decay * total)
        return max(0.0, min(1.0, rising, falling))


@dataclass(frozen=True)
class Run:
    """How a stage of training is run on this machine: what neither the models nor the data nor the recipe say."""

    minutes: float | None = None
    """Stop after so many; the learning rate falls in time."""
    resume: bool = False
    """Go on from the newest checkpoint."""
    workers: int = 0
    """Processes that render clips."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""
    compile: bool = False
    """Let torch.compile fuse what can be fused: a minute at the start, faster steps after it."""
    tensorboard: bool = False
    """Draw the log with TensorBoard as well."""
