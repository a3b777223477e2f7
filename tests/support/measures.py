"""The form in which benchmarks say what they found: a table for people, `benchmarks/results/NAME.json` for programs."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from support.tree import REPO

__all__ = ["Measure", "publish", "quantile"]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of them do not pass (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True)
class Measure:
    """``value`` is the median, in ``unit``; ``ratio`` is value over ``floor``, to be at most ``aim``."""

    name: str
    value: float
    unit: str
    p95: float
    p99: float
    floor: float | None
    ratio: float | None
    aim: float | None
    n: int

    @classmethod
    def of(
        cls,
        name: str,
        values: Sequence[float],
        *,
        unit: str = "ms",
        floor: float | None = None,
        aim: float | None = None,
    ) -> Measure:
        middle = quantile(values, 0.5)
        return cls(
            name,
            round(middle, 3),
            unit,
            round(quantile(values, 0.95), 3),
            round(quantile(values, 0.99), 3),
            None if floor is None else round(floor, 3),
            None if floor is None else round(middle / floor, 3),
            aim,
            len(values),
        )


def publish(name: str, measures: Sequence[Measure]) -> None:
    """Print the table and write the JSON."""
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPO, capture_output=True, text=True, check=False)
    found = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "revision": revision.stdout.strip(),
        "machine": f"{platform.machine()}, {platform.platform()}, Python {platform.python_version()}",
        "measures": [asdict(one) for one in measures],
    }
    folder = REPO / "benchmarks" / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
    print(f"{'measure':<28}{'p50':>10}{'p95':>10}{'p99':>10}{'floor':>10}{'ratio':>8}{'aim':>6}{'n':>6}")
    for one in measures:
        print(
            f"{one.name:<28}{one.value:>7.1f} {one.unit:<2}{one.p95:>10.1f}{one.p99:>10.1f}"
            f"{_text(one.floor):>10}{_text(one.ratio):>8}{_text(one.aim):>6}{one.n:>6}"
        )


def _text(number: float | None) -> str:
    return "" if number is None else f"{number:.1f}"
