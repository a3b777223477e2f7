"""Twelve designs of the crossed barrel that span what was measured, the same in both labs."""

from __future__ import annotations

from typing import Any

__all__ = ["CONDITIONS", "experiments"]

#: Columns, twist, strut radius, wall thickness: corners and middles of the published design space.
CONDITIONS: tuple[tuple[int, str, str, str], ...] = (
    (6, "0 deg", "1.5 mm", "0.7 mm"),
    (6, "100 deg", "2.5 mm", "1.4 mm"),
    (6, "200 deg", "2.1 mm", "1.05 mm"),
    (8, "25 deg", "1.9 mm", "1.4 mm"),
    (8, "75 deg", "2.5 mm", "1.05 mm"),
    (8, "150 deg", "1.7 mm", "0.7 mm"),
    (10, "0 deg", "2.5 mm", "1.4 mm"),
    (10, "125 deg", "2.3 mm", "1.4 mm"),
    (10, "175 deg", "1.5 mm", "1.05 mm"),
    (12, "50 deg", "2.1 mm", "1.4 mm"),
    (12, "150 deg", "2.5 mm", "1.4 mm"),
    (12, "200 deg", "2.5 mm", "0.7 mm"),
)


def experiments(labs: dict[str, str]) -> list[dict[str, Any]]:
    """Each condition once in each lab (name -> identifier); the label names both, so that results can be paired."""
    return [
        {
            "label": f"c{number:02d} {name}",
            "labs": [lab],
            "arguments": {"n": n, "theta": theta, "r": r, "t": t},
        }
        for number, (n, theta, r, t) in enumerate(CONDITIONS, start=1)
        for name, lab in labs.items()
    ]
