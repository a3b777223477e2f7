"""Numbers for people: a value with its uncertainty, rounded as a laboratory would, and plain rows of results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from labcommons.core.times import from_text

__all__ = ["duration_text", "plain_rows", "value_text", "when_text"]


def value_text(value: Any) -> str:
    """A ``Value`` in its JSON form as people write it: ``12.50 ± 0.02 mm``.

    With an uncertainty both numbers are rounded to its second significant digit; without one nothing is rounded.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        return str(value)
    if "unit" in value and "value" in value:
        unit = "" if value["unit"] == "1" else f" {value['unit']}"
        if value.get("u") in (None, ""):
            return f"{value['value']}{unit}"
        number, u = _rounded(Decimal(str(value["value"])), Decimal(str(value["u"])))
        return f"{number} ± {u}{unit}"
    for word in ("int", "enum", "sample"):
        if word in value:
            return str(value[word])
    if "array" in value:
        return f"{len(value['array']['values'])} values in {value['array']['unit']}"
    if "profile" in value:
        return f"profile of {len(value['profile']['points'])} points in {value['profile']['unit']}"
    return str(dict(value))


def _rounded(number: Decimal, u: Decimal) -> tuple[str, str]:
    if u <= 0 or not u.is_finite():
        return str(number), str(u)
    step = Decimal(1).scaleb(u.adjusted() - 1)
    return format(number.quantize(step), "f"), format(u.quantize(step), "f")


def duration_text(ms: int | None) -> str:
    """Milliseconds as people say them: ``850 ms``, ``12.3 s``, ``8 min 20 s``, ``3 h 05 min``."""
    if ms is None:
        return "unknown"
    if ms < 1000:
        return f"{ms} ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def when_text(instant: str) -> str:
    """A time of the API in the reader's own zone, to the second: ``2026-11-24 19:13:42 CET``."""
    return from_text(instant).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def plain_rows(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each output of each record: value, unit, u and what they hang on.

    Values are floats (``None`` where an output is not a quantity): the exact decimals stay in the records.
    """
    rows = []
    for record in records:
        for name, value in dict(record.get("outputs") or {}).items():
            quantity = value if isinstance(value, Mapping) and "unit" in value and "value" in value else {}
            rows.append(
                {
                    "experiment": record["experiment"],
                    "label": record.get("label"),
                    "output": name,
                    "value": _number(quantity.get("value")),
                    "unit": quantity.get("unit"),
                    "u": _number(quantity.get("u")),
                    "lab": record["lab"],
                    "instrument": record["instrument"],
                    "attempt": record["attempt"],
                    "record": record["id"],
                    "ark": record.get("ark"),
                    "simulated": record.get("simulated"),
                }
            )
    return rows


def _number(text: Any) -> float | None:
    return None if text is None else float(text)
