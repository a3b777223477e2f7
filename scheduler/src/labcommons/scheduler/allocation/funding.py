"""Which allocation pays for which step of a submission: taken whole or refused whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

__all__ = ["Funding", "Need", "Purse", "Shortage", "fund"]


@dataclass(frozen=True)
class Need:
    """A step's hold to be, in ms of its instrument type. ``item``: its place in the list that was submitted."""

    step: str
    instrument_type: str
    amount_ms: int
    item: int = 0


@dataclass(frozen=True)
class Purse:
    """An allocation of the project, open in [starts_at, ends_at), and what it has available (ms)."""

    allocation: str
    instrument_type: str
    available_ms: int
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True)
class Funding:
    """step -> allocation, for every need."""

    allocations: Mapping[str, str]


@dataclass(frozen=True)
class Shortage:
    """Not enough: the type, what all needs of it come to, what there is (ms), the first item that cannot be paid.

    ``cap``: the member's cap stands against it, not the allocation. ``lacking``: for each type that is short, the ms
    of the one allocation, ending no earlier than those that are open, or of the rise of the cap, that would suffice.
    A hold is never on two allocations, so this may be more than ``needed_ms - available_ms``.
    """

    instrument_type: str
    needed_ms: int
    available_ms: int
    item: int
    cap: bool = False
    lacking: Mapping[str, int] = field(default_factory=dict)


def fund(
    needs: Sequence[Need], purses: Sequence[Purse], at: datetime, cap_left_ms: Mapping[str, int] | None = None
) -> Funding | Shortage:
    """Give each need the open allocation of its type that ends first and covers it.

    ``cap_left_ms``: what the member may still have charged or held, by type; ``None`` for no cap.
    """
    totals: defaultdict[str, int] = defaultdict(int)
    for need in needs:
        totals[need.instrument_type] += need.amount_ms
    left = {p.allocation: p.available_ms for p in purses}
    ordered = sorted((p for p in purses if p.starts_at <= at < p.ends_at), key=lambda p: (p.ends_at, p.allocation))
    caps = None if cap_left_ms is None else dict(cap_left_ms)
    chosen: dict[str, str] = {}
    unpaid: defaultdict[str, int] = defaultdict(int)
    first: Shortage | None = None
    for need in needs:
        kind = need.instrument_type
        mine = [p for p in ordered if p.instrument_type == kind]
        paying = next((p for p in mine if left[p.allocation] >= need.amount_ms), None)
        if paying is None:
            # What cannot be paid goes to an allocation that is still to come; the others pay for what they can.
            unpaid[kind] += need.amount_ms
            first = first or Shortage(kind, totals[kind], sum(p.available_ms for p in mine), need.item)
            continue
        if caps is not None and caps.get(kind, 0) < need.amount_ms:
            first = first or Shortage(kind, totals[kind], (cap_left_ms or {}).get(kind, 0), need.item, cap=True)
        if caps is not None:
            caps[kind] = caps.get(kind, 0) - need.amount_ms
        left[paying.allocation] -= need.amount_ms
        chosen[need.step] = paying.allocation
    if first is None:
        return Funding(chosen)
    over = {kind: total - (cap_left_ms or {}).get(kind, 0) for kind, total in totals.items()}
    return replace(first, lacking={k: ms for k, ms in over.items() if ms > 0} if first.cap else dict(unpaid))
