"""A quantity over time: ramps, holds and steps, as annealing and loading schedules need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from labcommons.core import units
from labcommons.core.decimals import decimal_text, fraction_to_decimal, parse_decimal
from labcommons.core.errors import InvalidInput, OutOfRange
from labcommons.core.quantities import Quantity, refuse_unknown

__all__ = ["Point", "Profile"]

MAX_POINTS = 10_000
MAX_T_MS = 2**53 - 1

Interpolation = Literal["linear", "step"]


@dataclass(frozen=True, slots=True)
class Point:
    """The profile's value at ``t_ms`` milliseconds of lab time after its start."""

    t_ms: int
    value: Decimal


@dataclass(frozen=True, slots=True)
class Profile:
    """Points that rise strictly in time, in ``unit``; between them ``linear`` (ramps) or ``step`` (holds).

    Raises ``InvalidInput``: ``profile_backwards`` where time stands still or goes back, ``bad_profile`` else.
    """

    unit: str
    points: tuple[Point, ...]
    interpolation: Interpolation = "linear"

    def __post_init__(self) -> None:
        if not 1 <= len(self.points) <= MAX_POINTS:
            raise _bad(f"a profile has 1 to {MAX_POINTS} points", "/points")
        if self.interpolation not in ("linear", "step"):
            raise _bad('interpolation is "linear" or "step"', "/interpolation")
        before = -1
        for index, point in enumerate(self.points):
            here = f"/points/{index}/t_ms"
            t_ms: object = point.t_ms
            if isinstance(t_ms, bool) or not isinstance(t_ms, int) or not 0 <= t_ms <= MAX_T_MS:
                raise _bad("t_ms is a whole number of milliseconds, not negative", here)
            if point.t_ms <= before:
                raise InvalidInput(
                    f"point {index} is at {point.t_ms} ms, and the one before it at {before} ms",
                    code="profile_backwards",
                    field=here,
                    remedy=f"let t_ms rise strictly: give more than {before}",
                )
            before = point.t_ms

    @classmethod
    def ramp(cls, start: Quantity, end: Quantity, duration_ms: int) -> Profile:
        """From ``start`` to ``end`` (in the unit of ``start``), linear in time. Raises ``WrongDimension``."""
        return cls(start.unit, (Point(0, start.value), Point(duration_ms, end.to(start.unit).value)))

    @classmethod
    def steps(cls, levels: Sequence[tuple[int, Quantity]]) -> Profile:
        """Levels held one after the other: ``(how long in ms, level)``, in the unit of the first."""
        if not levels:
            raise _bad("a profile has at least one level", "/points")
        unit, at, points = levels[0][1].unit, 0, []
        for held_ms, level in levels:
            points.append(Point(at, level.to(unit).value))
            at += held_ms
        points.append(Point(at, points[-1].value))
        return cls(unit, tuple(points), "step")

    @property
    def duration_ms(self) -> int:
        """Lab time from the start to the last point."""
        return self.points[-1].t_ms

    def at(self, t_ms: int) -> Quantity:
        """The value ``t_ms`` after the start; before the first point its value. Raises ``OutOfRange`` past the end."""
        if not 0 <= t_ms <= self.duration_ms:
            raise OutOfRange(f"the profile runs from 0 to {self.duration_ms} ms", remedy="ask within its duration")
        before = max((p for p in self.points if p.t_ms <= t_ms), key=lambda p: p.t_ms, default=self.points[0])
        after = min((p for p in self.points if p.t_ms >= t_ms), key=lambda p: p.t_ms)
        if self.interpolation == "step" or after.t_ms <= before.t_ms:
            return Quantity(before.value, self.unit)
        share = Fraction(t_ms - before.t_ms, after.t_ms - before.t_ms)
        value = Fraction(before.value) + share * (Fraction(after.value) - Fraction(before.value))
        return Quantity(fraction_to_decimal(value), self.unit)

    def to(self, unit: str) -> Profile:
        """The same profile in ``unit``. Raises ``UnknownUnit`` or ``WrongDimension``."""
        if unit == self.unit:
            return self
        points = tuple(Point(p.t_ms, Quantity(p.value, self.unit).to(unit).value) for p in self.points)
        return Profile(unit, points, self.interpolation)

    @classmethod
    def from_json(cls, obj: dict[str, object], field: str = "") -> Profile:
        """The profile that ``{"unit", "points": [{"t_ms", "value"}], "interpolation"}`` says; linear by default."""
        refuse_unknown(obj, {"unit", "points", "interpolation"}, field)
        unit = units.check(obj.get("unit"), f"{field}/unit")
        raw = obj.get("points")
        if not isinstance(raw, list) or len(raw) > MAX_POINTS:
            raise _bad(f"points is a list of 1 to {MAX_POINTS} points", f"{field}/points")
        points = tuple(_point(item, f"{field}/points/{index}") for index, item in enumerate(raw))
        interpolation = obj.get("interpolation", "linear")
        try:
            return cls(unit, points, interpolation)  # type: ignore[arg-type]  # __post_init__ refuses other words
        except InvalidInput as error:
            raise error.at(field) from None

    def to_json(self) -> dict[str, object]:
        """The form that ``from_json`` takes."""
        return {
            "unit": self.unit,
            "points": [{"t_ms": p.t_ms, "value": decimal_text(p.value)} for p in self.points],
            "interpolation": self.interpolation,
        }


def _point(obj: object, field: str) -> Point:
    if not isinstance(obj, dict):
        raise _bad("a point is an object with t_ms and value", field)
    refuse_unknown(obj, {"t_ms", "value"}, field)
    t_ms = obj.get("t_ms")
    if isinstance(t_ms, bool) or not isinstance(t_ms, int):
        raise _bad("t_ms is a whole number of milliseconds", f"{field}/t_ms")
    return Point(t_ms, parse_decimal(obj.get("value"), f"{field}/value"))


def _bad(detail: str, field: str) -> InvalidInput:
    return InvalidInput(
        detail,
        code="bad_profile",
        field=field,
        remedy='write {"unit": "Cel", "points": [{"t_ms": 0, "value": "25"}, {"t_ms": 600000, "value": "450"}],'
        ' "interpolation": "linear"}',
    )
