"""Shares of yes among many answers, and how far each can be trusted: Wilson's interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from minisora.evaluate.report import Report

Z = 1.96  # a normal variable lies within ± 1.96 standard deviations in 95 % of all cases
ALL, MEAN = "all claims", "mean claim"


@dataclass(frozen=True)
class Share:
    """`yes` may be a fraction, where each answer is a number from 0 to 1."""

    yes: float
    of: int

    @property
    def value(self) -> float:
        return self.yes / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval: every p from which a share like this one is at most Z standard errors away.

        |value - p| ≤ Z √(p (1 - p) / of), solved for p; unlike value ± error it stays in [0, 1] and is never empty.
        No variable in [0, 1] of mean p varies more than a coin does, so it holds for means of fractions, too.
        """
        n, p = self.of, self.value
        middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
        reach = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        return max(0.0, middle - reach), min(1.0, middle + reach)

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} ({', '.join(f'{100 * end:.1f}' for end in self.interval)})"

    def facts(self) -> dict[str, float]:
        low, high = self.interval
        return {"share": self.value, "low": low, "high": high, "yes": self.yes, "of": self.of}


def tally(reports: Sequence[Report]) -> dict[str, Share]:
    """The share of clips with all claims right, the mean share of right claims, and the share of each claim.

    A claim that only some scenes make counts where it is made.
    """
    answers = {
        ALL: [float(report.ok) for report in reports],
        MEAN: [sum(report.claims.values()) / len(report.claims) for report in reports],
    }
    for report in reports:
        for name, right in report.claims.items():
            answers.setdefault(name, []).append(float(right))
    return {name: Share(sum(yes), len(yes)) for name, yes in answers.items()}
