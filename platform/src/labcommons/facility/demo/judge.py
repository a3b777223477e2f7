"""The demo's verdict: three exports must tell one story. Pure: exports in, sentences out.

The labs' journals say what was started, the facility's attempts say what ran, the ledger says what was charged. Each is
written by another part; what they agree on did happen, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Verdict", "judge"]

#: States of an attempt that touched its instrument and whose story is told to its end.
_RAN = frozenset({"SUCCEEDED", "FAILED_RAN", "STOPPED", "ADJUDICATED_RAN"})
_IN_DOUBT = frozenset({"UNKNOWN", "SUSPECT"})


@dataclass(frozen=True)
class Verdict:
    """What was counted, what does not agree (``mismatches``), and which attempts a person must decide (``unknown``)."""

    started: int
    ran: int
    charged: int
    clusters: int
    charged_ms: int
    unknown: tuple[str, ...]
    mismatches: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 where the exports disagree, 5 where a person must decide, else 0."""
        return 1 if self.mismatches else 5 if self.unknown else 0


def judge(
    journals: Mapping[str, Sequence[Mapping[str, Any]]],
    attempts: Sequence[Mapping[str, Any]],
    ledger: Sequence[Mapping[str, Any]],
    *,
    expected_ran: int | None = None,
    ray: bool = True,
) -> Verdict:
    """Compare the exports: ``journals`` by lab, ``attempts`` and ``ledger`` of the facility.

    ``expected_ran``: how many experiments were submitted, each of one step; ``None`` where no number is expected.
    """
    lines = [line for journal in journals.values() for line in journal]
    starts = Counter(str(line["attempt"]) for line in lines if line["state"] == "STARTED")
    ran = {str(one["attempt"]) for one in attempts if one["state"] in _RAN}
    unknown = tuple(sorted(str(one["attempt"]) for one in attempts if one["state"] in _IN_DOUBT))
    charges = [entry for entry in ledger if entry["kind"] == "charge"]
    charged = Counter(str(entry["cause"]) for entry in charges)
    mismatches = [
        *_more_than_once("started in the labs' journals", starts),
        *_more_than_once("charged in the ledger", charged),
        *_difference("started at a lab", set(starts), "ran or is in doubt", ran | set(unknown)),
        *_difference("ran", ran, "was charged", set(charged)),
        *_amounts(attempts, charges),
    ]
    if expected_ran is not None and len(ran) + len(unknown) != expected_ran:
        mismatches.append(f"{expected_ran} experiments were submitted, {len(ran)} ran and {len(unknown)} are in doubt")
    clusters = {cluster for cluster in map(_cluster, lines) if cluster}
    if ray and len(clusters) != len(journals):
        mismatches.append(f"{len(journals)} labs named {len(clusters)} Ray clusters")
    total = sum(int(entry["amount_ms"]) for entry in charges)
    return Verdict(len(starts), len(ran), len(charged), len(clusters), total, unknown, tuple(mismatches))


def _cluster(line: Mapping[str, Any]) -> str | None:
    detail = line.get("detail") or {}
    found = detail.get("ray_cluster") if line["state"] == "SESSION" else None
    return str(found) if found else None


def _more_than_once(what: str, counts: Counter[str]) -> list[str]:
    return [f"{attempt} was {what} {number} times" for attempt, number in sorted(counts.items()) if number > 1]


def _difference(one: str, these: set[str], other: str, those: set[str]) -> list[str]:
    return [f"{attempt} {one}, but not: {other}" for attempt in sorted(these - those)] + [
        f"{attempt} {other}, but not: {one}" for attempt in sorted(those - these)
    ]


def _amounts(attempts: Iterable[Mapping[str, Any]], charges: Iterable[Mapping[str, Any]]) -> list[str]:
    paid = {str(entry["cause"]): int(entry["amount_ms"]) for entry in charges}
    return [
        f"{one['attempt']}: the attempt says {one['charged_ms']} ms, the ledger {paid[one['attempt']]} ms"
        for one in attempts
        if one["attempt"] in paid and one["charged_ms"] != paid[one["attempt"]]
    ]
