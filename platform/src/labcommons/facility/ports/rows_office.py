"""Rows of the room *office*: people, projects, time.

Rows are frozen; ``dataclasses.replace`` and ``save`` change them. ``version`` is what ``save`` compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from labcommons.core.ids import AllocationId, EntryId, PersonId, ProjectId, StepId

__all__ = ["AllocationRow", "HoldRow", "IdempotencyRow", "LedgerRow", "MemberRow", "PersonRow", "ProjectRow"]


@dataclass(frozen=True)
class PersonRow:
    """A person. ``roles`` are platform roles (``staff``, ``auditor``, ...); ``issuer`` and ``subject`` tie a login."""

    id: PersonId
    username: str
    name: str
    created_at: datetime
    roles: tuple[str, ...] = ()
    issuer: str | None = None
    subject: str | None = None
    version: int = 1


@dataclass(frozen=True)
class ProjectRow:
    """People with a common allocation. ``name`` is unique."""

    id: ProjectId
    name: str
    title: str
    created_at: datetime
    version: int = 1


@dataclass(frozen=True)
class MemberRow:
    """A person in a project; key (project, person). ``role``: pi | manager | researcher | viewer.

    ``cap_ms``: the most of each instrument type that the person may have charged or held; ``None`` for no cap.
    """

    project: ProjectId
    person: PersonId
    role: str
    created_at: datetime
    cap_ms: int | None = None
    version: int = 1


@dataclass(frozen=True)
class AllocationRow:
    """An amount of one instrument type for one project in [starts_at, ends_at). The amounts are in the ledger."""

    id: AllocationId
    project: ProjectId
    instrument_type: str
    starts_at: datetime
    ends_at: datetime
    created_at: datetime
    version: int = 1


@dataclass(frozen=True)
class LedgerRow:
    """One double entry; append only. ``amount_ms`` > 0 moves from ``account`` to ``counter_account``.

    ``seq`` is given by the store when the row is added (0 before).
    """

    entry: EntryId
    at: datetime
    kind: str
    account: str
    counter_account: str
    instrument_type: str
    amount_ms: int
    cause: str
    actor: str
    seq: int = 0


@dataclass(frozen=True)
class HoldRow:
    """Time kept for a step; ``id`` is its hold entry. ``state``: OPEN | CLOSED. At most one open hold for a step.

    ``person`` is who submitted: the member's cap counts it.
    """

    id: EntryId
    step: StepId
    allocation: AllocationId
    project: ProjectId
    person: PersonId
    instrument_type: str
    amount_ms: int
    opened_at: datetime
    state: str = "OPEN"
    charged_ms: int = 0
    closed_at: datetime | None = None
    version: int = 1


@dataclass(frozen=True)
class IdempotencyRow:
    """The answer once given to (person, route, key); ``digest`` is of the payload."""

    person: str
    route: str
    key: str
    digest: str
    status: int
    answer: dict[str, object]
    created_at: datetime
