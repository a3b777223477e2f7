"""A compression press in an additive-manufacturing lab, standing on the published Crossed barrel data.

The mean of a condition is the published one, interpolated between conditions; the scatter of replicates is the
published scatter. Each lab has an offset, a drift between its own recalibrations, and a dead time for mounting and
clearing, all drawn from (seed, lab). See the data card beside the data for what is measured and what is invented.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from random import Random

from labcommons.node.drivers.contract import Action, Arguments, Json
from labcommons.node.simulated.models import generator

__all__ = ["ACTION", "Condition", "CrossedBarrel", "conditions", "expected", "pooled_sd"]

ACTION = Action(
    name="crush",
    parameters={
        "n": {"kind": "int", "min": "6", "max": "12"},
        "theta": {"kind": "quantity", "unit": "deg", "min": "0", "max": "200"},
        "r": {"kind": "quantity", "unit": "mm", "min": "1.5", "max": "2.5"},
        "t": {"kind": "quantity", "unit": "mm", "min": "0.7", "max": "1.4"},
    },
    outputs={"toughness": {"kind": "quantity", "unit": "J"}},
    expected_ms=480_000,
    max_ms=720_000,
)

_SPANS = (6.0, 200.0, 1.0, 0.7)
"""What counts as one step away: the range of each coordinate (1, deg, mm, mm)."""
_NEIGHBOURS = 8
_LIKE = 60
"""Conditions of like toughness that share their scatter: three replicates say little about one condition's own."""
_WIDTH = math.sqrt(2)
"""How far a replicate strays from its mean at most, in sd: a structure breaks early, or it holds."""
_RECALIBRATED_EVERY = 50
_FLOOR_J = 0.01
_STROKE_MM = 25.0
_POINTS = 201


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: `at` (n, theta in deg, r and t in mm), mean and sd of the replicates in J."""

    at: tuple[float, float, float, float]
    mean: float
    sd: float


@lru_cache(maxsize=1)
def _published() -> dict[tuple[float, float, float, float], list[float]]:
    text = files("labcommons.node.simulated").joinpath("data/crossed_barrel/Crossed_barrel.csv").read_text("utf-8")
    found: dict[tuple[float, float, float, float], list[float]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(text)):
        at = (float(row["n"]), float(row["theta"]), float(row["r"]), float(row["t"]))
        found[at].append(float(row["toughness"]))
    return dict(found)


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)


def pooled_sd() -> float:
    """The pooled standard deviation of the published replicates, in J (1200 degrees of freedom)."""
    variances = [_variance(v) for v in _published().values()]
    return math.sqrt(math.fsum(variances) / len(variances))


@lru_cache(maxsize=1)
def conditions() -> tuple[Condition, ...]:
    """The 600 published conditions, by rising mean, each with the scatter that the model gives it."""
    raw = sorted((math.fsum(v) / len(v), at, _variance(v)) for at, v in _published().items())
    found: list[Condition] = []
    for start in range(0, len(raw), _LIKE):
        group = raw[start : start + _LIKE]
        sd = math.sqrt(math.fsum(variance for _, _, variance in group) / len(group))
        found.extend(Condition(at, mean, sd) for mean, at, _ in group)
    return tuple(found)


@lru_cache(maxsize=1)
def _by_place() -> dict[tuple[float, float, float, float], Condition]:
    return {c.at: c for c in conditions()}


@lru_cache(maxsize=4096)
def expected(n: float, theta_deg: float, r_mm: float, t_mm: float) -> tuple[float, float]:
    """Mean and replicate sd at a condition, in J: the published one, or between the eight nearest by distance."""
    at = (n, theta_deg, r_mm, t_mm)
    published = _by_place().get(at)
    if published is not None:
        return published.mean, published.sd
    near = sorted((_distance(at, c.at), c.mean, c.sd) for c in conditions())[:_NEIGHBOURS]
    # A unit that was converted may leave a last digit: far below what the printer can do.
    weights = [1 / max(d, 1e-9) ** 2 for d, _, _ in near]
    total = math.fsum(weights)
    mean = math.fsum(w * m for w, (_, m, _) in zip(weights, near, strict=True)) / total
    variance = math.fsum(w * s**2 for w, (_, _, s) in zip(weights, near, strict=True)) / total
    return mean, math.sqrt(variance)


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return math.sqrt(math.fsum(((a - b) / s) ** 2 for a, b, s in zip(one, other, _SPANS, strict=True)))


class CrossedBarrel:
    """The press of one lab. `seed` and `lab` fix its offset, drift and dead time, and with the attempt each reading."""

    def __init__(self, seed: int, lab: str) -> None:
        self._seed, self._lab = seed, lab
        own = generator(seed, lab, "press")
        self.offset_j = own.choice((-1, 1)) * own.uniform(0.8, 2.4)
        self.drift_j_per_run = own.uniform(-0.02, 0.02)
        self.dead_ms = own.randrange(20_000, 60_000, 1000)
        self._serial = f"CB-{own.randrange(10_000):04d}"

    @property
    def instrument(self) -> Json:
        """See `Model`."""
        return {
            "name": "Barrel press (simulated)",
            "manufacturer": "labcommons",
            "model": "crossed_barrel",
            "serial": self._serial,
        }

    @property
    def actions(self) -> tuple[Action, ...]:
        """See `Model`."""
        return (ACTION,)

    def duration_ms(self, action: str, arguments: Arguments, attempt: str) -> int:
        """Printing is done elsewhere: this is mounting, crushing and clearing."""
        crush = 260_000 + 20_000 * int(arguments["n"]["int"])
        own = generator(self._seed, self._lab, attempt, "duration")
        return min(ACTION.max_ms, round(crush * own.uniform(0.95, 1.05)) + self.dead_ms)

    def reading(self, arguments: Arguments, attempt: str, number: int = 0) -> tuple[float, float]:
        """Toughness and its standard uncertainty, in J, of run `number` of this press."""
        mean, sd = expected(*_coordinates(arguments))
        value = _scattered(mean, sd, generator(self._seed, self._lab, attempt, "reading"))
        drift = self.drift_j_per_run * (number % _RECALIBRATED_EVERY)
        # An offset of the press shows in full only where there is something to crush.
        value += (self.offset_j + drift) * min(1.0, mean / 10)
        return max(_FLOOR_J, value), math.hypot(sd, 0.01 * mean)

    def measure(self, action: str, arguments: Arguments, attempt: str, number: int) -> Json:
        """See `Model`."""
        value, u = self.reading(arguments, attempt, number)
        toughness = {"value": str(Decimal(f"{value:.3f}")), "unit": "J", "u": _two_digits(u)}
        return {"outputs": {"toughness": toughness}, "files": [self._curve(value, attempt, 1.0)]}

    def partial(self, action: str, arguments: Arguments, attempt: str, number: int, fraction: float) -> Json:
        """See `Model`."""
        value, _ = self.reading(arguments, attempt, number)
        return {"outputs": {}, "files": [self._curve(value, attempt, fraction)]}

    def _curve(self, toughness_j: float, attempt: str, fraction: float) -> Json:
        """Force over displacement, simulated, with the toughness as its area."""
        own = generator(self._seed, self._lab, attempt, "curve")
        knee, wave = own.uniform(0.06, 0.12), own.uniform(4, 9)
        xs = [i / (_POINTS - 1) for i in range(_POINTS)]
        shape = [min(1.0, x / knee) * (0.85 + 0.15 * math.cos(2 * math.pi * wave * x)) for x in xs]
        area = math.fsum((a + b) / 2 for a, b in itertools.pairwise(shape)) * _STROKE_MM / (_POINTS - 1)
        scale = toughness_j * 1000 / area  # J to N mm
        rows = [f"{x * _STROKE_MM:.3f},{f * scale:.2f}" for x, f in zip(xs, shape, strict=True) if x <= fraction]
        head = ["# simulated by labcommons crossed_barrel: not a measurement", "displacement_mm,force_N"]
        data = ("\n".join([*head, *rows]) + "\n").encode()
        return {
            "name": "force-displacement.csv",
            "media_type": "text/csv",
            "sha256": hashlib.sha256(data).hexdigest(),
            "base64": base64.b64encode(data).decode(),
        }


def _coordinates(arguments: Arguments) -> tuple[float, float, float, float]:
    theta, r, t = (float(arguments[name]["value"]) for name in ("theta", "r", "t"))
    return float(arguments["n"]["int"]), theta, r, t


def _scattered(mean: float, sd: float, own: Random) -> float:
    """A draw with this mean and sd, not negative: even to both sides where there is room, leaning where zero is near.

    Bounded, because a structure that fails early still takes something, and so that the pooled scatter of a few
    hundred runs is that of the data.
    """
    sd = min(sd, 1.2 * mean)
    low, high = max(0.0, mean - _WIDTH * sd), mean + _WIDTH * sd
    if high <= low:
        return mean
    centre, spread = (mean - low) / (high - low), (sd / (high - low)) ** 2
    weight = centre * (1 - centre) / spread - 1
    return low + (high - low) * own.betavariate(centre * weight, (1 - centre) * weight)


def _two_digits(u: float) -> str:
    """A standard uncertainty with two digits that count, as plain text."""
    digits = max(0, 1 - math.floor(math.log10(u))) if u > 0 else 2
    return f"{u:.{digits}f}"
