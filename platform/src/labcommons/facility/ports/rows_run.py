"""Rows of the room *run*: protocols, experiments, steps, attempts, what came of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from labcommons.core.ids import (
    AttemptId,
    ExperimentId,
    InstrumentId,
    JournalId,
    LabId,
    NodeId,
    PersonId,
    ProjectId,
    RecordId,
    SampleId,
    SessionId,
    StepId,
    StudyId,
)

__all__ = [
    "AttemptHistoryRow",
    "AttemptRow",
    "AuditRow",
    "EventRow",
    "ExperimentRow",
    "ObjectRow",
    "ProtocolRow",
    "RecordObjectRow",
    "RecordRow",
    "SampleRow",
    "StepRow",
    "StudyRow",
]


@dataclass(frozen=True)
class ProtocolRow:
    """A document by its hash (``sha256:`` + hex). ``name`` is the document's ``id`` and means its newest row."""

    hash: str
    name: str
    title: str
    intent: str
    document: dict[str, Any]
    created_at: datetime
    created_by: str


@dataclass(frozen=True)
class StudyRow:
    """Experiments submitted together under one name."""

    id: StudyId
    project: ProjectId
    name: str
    protocol: str
    submitted_by: PersonId
    submitted_at: datetime


@dataclass(frozen=True)
class ExperimentRow:
    """One protocol with its arguments (``Value`` JSON by parameter). ``state`` is the fold of its steps, stored.

    ``bindings``: role -> instrument, set when the first step of a role is granted. ``position``: place in the study.
    """

    id: ExperimentId
    study: StudyId
    project: ProjectId
    position: int
    protocol: str
    protocol_id: str
    arguments: dict[str, Any]
    submitted_by: PersonId
    submitted_at: datetime
    label: str | None = None
    labs: tuple[str, ...] = ()
    priority: int = 0
    state: str = "waiting"
    bindings: dict[str, str] = field(default_factory=dict)
    cancel_wished: bool = False
    ended_at: datetime | None = None
    version: int = 1


@dataclass(frozen=True)
class StepRow:
    """One action of an experiment. ``plan`` is the compiled ``PlannedStep`` as JSON; ``after`` names steps by ``name``.

    ``aged_from`` is the age that is kept when a step is queued again. ``struck``: instruments that refused it for good.
    ``attempt``: the live one while ACTIVE. ``faults``: failed runs that were not the request's fault. ``arguments``:
    resolved, by parameter, once READY (before the conversion to a bench's units). ``outputs``: what the next steps may
    refer to. Amounts are lab ms.
    """

    id: StepId
    experiment: ExperimentId
    project: ProjectId
    name: str
    position: int
    role: str
    action: str
    plan: dict[str, Any]
    instrument_type: str
    hold_ms: int
    aged_from: datetime
    state: str = "WAITING"
    after: tuple[str, ...] = ()
    priority: int = 0
    struck: tuple[str, ...] = ()
    attempt: AttemptId | None = None
    adopted: bool = False
    faults: int = 0
    skip: str | None = None
    arguments: dict[str, Any] | None = None
    outputs: dict[str, Any] | None = None
    ready_at: datetime | None = None
    ended_at: datetime | None = None
    cancel_wished: bool = False
    reason: str | None = None
    version: int = 1


@dataclass(frozen=True)
class AttemptRow:
    """One permission to perform a step on an instrument. ``state`` is of ``scheduler.attempts``, as are most fields.

    ``grant`` is the wire form, sent until ``answered``. ``stop_mode``: a person's wish, sent until an entry answers;
    ``stop_told_at``: when it was last sent. ``received_at``: receipt of RESULT, whose detail is ``result``.
    ``awaiting``: sha256 of objects still to come. ``stored``: entry and bytes are durable; named to the node until
    ``uploaded``, its word that it knows. ``used_ms``: wall time; ``charged_ms``: lab time, ``estimated`` where no
    interval survived. ``fraction``: progress, lossy.
    """

    id: AttemptId
    step: StepId
    experiment: ExperimentId
    project: ProjectId
    lab: LabId
    node: NodeId
    instrument: InstrumentId
    session: SessionId
    journal: JournalId
    epoch: int
    fence: int
    token: int
    grant: dict[str, Any]
    granted_at: datetime
    state: str = "GRANTED"
    repeatable: bool = False
    consumes: bool = False
    answered: bool = False
    intended: bool = False
    started: bool = False
    accounted: bool = False
    closed: bool = False
    fault: str = "none"
    stop_mode: str | None = None
    stop_told_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    received_at: datetime | None = None
    outcome: str | None = None
    result: dict[str, Any] | None = None
    awaiting: tuple[str, ...] = ()
    stored: bool = False
    uploaded: bool = False
    used_ms: int | None = None
    charged_ms: int | None = None
    estimated: bool = False
    fraction: float | None = None
    reason: str | None = None
    version: int = 1


@dataclass(frozen=True)
class AttemptHistoryRow:
    """A change of an attempt's state and what caused it. ``seq`` is given by the store."""

    attempt: AttemptId
    at: datetime
    before: str | None
    after: str
    cause: str
    seq: int = 0


@dataclass(frozen=True)
class RecordRow:
    """One attempt's data. ``document`` holds the parts that are read whole (planned, outputs, objects, cite, ...)."""

    id: RecordId
    ark: str
    attempt: AttemptId
    step: StepId
    experiment: ExperimentId
    project: ProjectId
    lab: LabId
    instrument: InstrumentId
    protocol: str
    simulated: bool
    outcome: str
    document: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class ObjectRow:
    """Bytes that a node sent. ``node``: the first that sent them."""

    sha256: str
    bytes: int
    node: NodeId
    created_at: datetime


@dataclass(frozen=True)
class RecordObjectRow:
    """An object of a record; key (record, name)."""

    record: RecordId
    name: str
    media_type: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SampleRow:
    """A sample, from the submission that expects it on. ``made_by``: the step that makes it."""

    id: SampleId
    project: ProjectId
    experiment: ExperimentId
    name: str
    made_by: StepId | None
    created_at: datetime
    state: str = "EXPECTED"
    lab: LabId | None = None
    version: int = 1


@dataclass(frozen=True)
class EventRow:
    """What happened, for the event stream. ``id`` rises in the order of commits; the store gives it (0 before).

    ``topics``: which wake-ups the relay publishes for it. ``project``, ``lab`` and ``node`` decide who may see it.
    """

    at: datetime
    event: str
    subject: str
    state: str
    project: str | None = None
    experiment: str | None = None
    lab: str | None = None
    node: str | None = None
    topics: tuple[str, ...] = ()
    id: int = 0


@dataclass(frozen=True)
class AuditRow:
    """Who did what to what. Append only; ``seq`` is given by the store; the sealer chains them."""

    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any] = field(default_factory=dict)
    seq: int = 0
