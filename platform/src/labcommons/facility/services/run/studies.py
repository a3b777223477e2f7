"""Studies: experiments submitted together under one name."""

from __future__ import annotations

from collections import Counter
from typing import Any

from labcommons.core.times import to_text
from labcommons.facility.ports import StudyRow, UnitOfWork

__all__ = ["present"]


def present(uow: UnitOfWork, row: StudyRow) -> dict[str, Any]:
    """A study as the API gives it: how many of its experiments are in which state."""
    states = Counter(experiment.state for experiment in uow.run.experiments.find(study=row.id))
    return {
        "id": row.id,
        "name": row.name,
        "project": row.project,
        "protocol": row.protocol,
        "experiments": sum(states.values()),
        "states": dict(states),
        "submitted_by": row.submitted_by,
        "submitted_at": to_text(row.submitted_at),
    }
