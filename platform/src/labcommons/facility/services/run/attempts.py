"""Attempts: permissions given, and their whole story."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labcommons.core.times import to_text
from labcommons.facility.ports import AttemptRow, UnitOfWork
from labcommons.scheduler.authority import Scope

__all__ = ["present", "show", "visible"]


def present(row: AttemptRow) -> dict[str, Any]:
    """The line of ``labcommons export attempts``, and the reason of a refusal or doubt."""
    result: dict[str, Any] = row.result or {}
    return {
        "attempt": row.id,
        "experiment": row.experiment,
        "step": row.step,
        "project": row.project,
        "lab": row.lab,
        "instrument": row.instrument,
        "epoch": row.epoch,
        "fence": row.fence,
        "state": row.state,
        "granted_at": to_text(row.granted_at),
        "started_at": to_text(row.started_at) if row.started_at else None,
        "ended_at": to_text(row.ended_at) if row.ended_at else None,
        "used_ms": row.used_ms,
        "charged_ms": row.charged_ms,
        "outputs": result.get("outputs", {}),
        "objects": result.get("objects", []),
        "reason": row.reason,
    }


def visible(
    uow: UnitOfWork, seen: Scope, conditions: Mapping[str, object], *, after: str | None = None, limit: int = 50
) -> list[AttemptRow]:
    """The attempts of ``seen`` that meet ``conditions`` (field -> value), oldest first, past the id ``after``."""
    if seen.everything:
        return uow.run.attempts.find(order="id", descending=False, after=after, limit=limit, **dict(conditions))
    found: dict[str, AttemptRow] = {}
    # By project and, for operators, by lab: two lists in the same order, joined.
    for field, allowed in (("project", seen.projects), ("lab", seen.labs)):
        asked = conditions.get(field)
        wanted = sorted(allowed) if asked is None else sorted({str(asked)} & allowed)
        if wanted:
            narrowed: dict[str, object] = {**conditions, field: wanted}
            found |= {
                row.id: row
                for row in uow.run.attempts.find(order="id", descending=False, after=after, limit=limit, **narrowed)
            }
    return [found[key] for key in sorted(found)][:limit]


def show(uow: UnitOfWork, row: AttemptRow) -> dict[str, Any]:
    """One attempt with its session, progress and history."""
    history = [
        {"at": to_text(p.at), "from": p.before, "to": p.after, "cause": p.cause}
        for p in uow.run.history.find(attempt=row.id)
    ]
    return {**present(row), "session": row.session, "fraction": row.fraction, "history": history}
