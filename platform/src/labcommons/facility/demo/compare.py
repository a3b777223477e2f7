"""How two labs differ on the same conditions, and how well we know it. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Difference", "best", "paired_difference"]


@dataclass(frozen=True)
class Difference:
    """``mean`` of ``n`` paired differences (first lab minus second) and its standard uncertainty ``u``."""

    mean: float
    u: float
    n: int
    unit: str

    @property
    def sentence(self) -> str:
        """What the numbers allow to say: at |mean| > 2 u the labs differ."""
        words = "they differ" if abs(self.mean) > 2 * self.u else "no difference can be seen"
        return f"{self.mean:+.2f} ± {self.u:.2f} {self.unit} (mean of {self.n} paired differences): {words}"


def paired_difference(rows: Sequence[Mapping[str, Any]], first: str, second: str, output: str) -> Difference | None:
    """Pairs rows of ``output`` by ``condition``; ``None`` with fewer than two pairs, which say nothing about scatter.

    ``u`` is the standard deviation of the differences over the root of their number (a type A evaluation).
    """
    by_lab: dict[str, dict[str, float]] = {first: {}, second: {}}
    unit = ""
    for row in rows:
        if row["output"] == output and row["lab"] in by_lab and row["value"] is not None:
            by_lab[row["lab"]][row["condition"]] = row["value"]
            unit = row["unit"]
    both = sorted(by_lab[first].keys() & by_lab[second].keys())
    differences = [by_lab[first][one] - by_lab[second][one] for one in both]
    if len(differences) < 2:
        return None
    spread = statistics.stdev(differences)
    return Difference(statistics.fmean(differences), spread / math.sqrt(len(differences)), len(differences), unit)


def best(rows: Sequence[Mapping[str, Any]], output: str) -> Mapping[str, Any] | None:
    """The row with the largest value of ``output``."""
    measured = [row for row in rows if row["output"] == output and row["value"] is not None]
    return max(measured, key=lambda row: float(row["value"]), default=None)
