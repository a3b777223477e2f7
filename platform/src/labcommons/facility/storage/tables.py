"""The tables of the three rooms. The schema repeats the rules that the code keeps: CHECKs, unique parts, references."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, MetaData, String, Table, UniqueConstraint, text

from labcommons.facility import ports
from labcommons.facility.storage.types import make_table, one_of

__all__ = ["METADATA", "TABLES"]

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

ATTEMPT_STATES = (
    "GRANTED",
    "RUNNING",
    "RESULT_STORED",
    "SUCCEEDED",
    "FAILED_RAN",
    "REFUSED",
    "STOPPED",
    "SUSPECT",
    "UNKNOWN",
    "ADJUDICATED_RAN",
    "ADJUDICATED_NOT_RUN",
    "SUPERSEDED",
)
LIVE_ATTEMPT_STATES = ("GRANTED", "RUNNING", "RESULT_STORED", "SUSPECT", "UNKNOWN")
STEP_STATES = ("WAITING", "READY", "ACTIVE", "DONE", "FAILED", "STOPPED", "CANCELLED", "SKIPPED")
EXPERIMENT_STATES = ("waiting", "running", "needs_person", "succeeded", "failed", "cancelled")
SAMPLE_STATES = ("EXPECTED", "AVAILABLE", "RESERVED", "COMMITTED", "CONSUMED", "QUARANTINED", "VOID")
LEDGER_KINDS = (
    "grant", "hold", "charge", "release", "refund", "reversal", "compensation", "transfer", "advance", "expiry",
    "adjustment",
)  # fmt: skip
_LIVE = text("state IN ({})".format(", ".join(f"'{word}'" for word in LIVE_ATTEMPT_STATES)))
_OPEN = text("state = 'OPEN'")

#: What the store counts by itself: the event number and the epoch.
COUNTERS = Table(
    "counters",
    METADATA,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

_OFFICE = {
    "people": make_table(
        METADATA,
        "people",
        ports.PersonRow,
        UniqueConstraint("username"),
        UniqueConstraint("issuer", "subject"),
    ),
    "projects": make_table(METADATA, "projects", ports.ProjectRow, UniqueConstraint("name")),
    "members": make_table(
        METADATA,
        "members",
        ports.MemberRow,
        one_of("role", "role", ("pi", "manager", "researcher", "viewer")),
        Index(None, "person"),
        key=("project", "person"),
        refs={"project": "projects.id", "person": "people.id"},
    ),
    "allocations": make_table(
        METADATA,
        "allocations",
        ports.AllocationRow,
        CheckConstraint("ends_at > starts_at", name="window"),
        Index(None, "project"),
        refs={"project": "projects.id"},
    ),
    "ledger": make_table(
        METADATA,
        "ledger",
        ports.LedgerRow,
        one_of("kind", "kind", LEDGER_KINDS),
        CheckConstraint("amount_ms > 0", name="amount"),
        CheckConstraint("account <> counter_account", name="two_accounts"),
        Index(None, "account"),
        Index(None, "counter_account"),
        Index(None, "cause"),
        key=("entry",),
        serial="seq",
    ),
    "holds": make_table(
        METADATA,
        "holds",
        ports.HoldRow,
        one_of("state", "state", ("OPEN", "CLOSED")),
        CheckConstraint("amount_ms > 0 AND charged_ms >= 0 AND charged_ms <= amount_ms", name="amounts"),
        Index("uq_holds_open", "step", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index(None, "allocation"),
        Index(None, "project"),
        refs={"step": "steps.id", "allocation": "allocations.id", "project": "projects.id", "person": "people.id"},
    ),
    "idempotency": make_table(
        METADATA,
        "idempotency",
        ports.IdempotencyRow,
        Index(None, "created_at"),
        key=("person", "route", "key"),
    ),
}

_LAB = {
    "labs": make_table(METADATA, "labs", ports.LabRow, UniqueConstraint("name")),
    "lab_members": make_table(
        METADATA,
        "lab_members",
        ports.LabMemberRow,
        Index(None, "person"),
        key=("lab", "person"),
        refs={"lab": "labs.id", "person": "people.id"},
    ),
    "nodes": make_table(
        METADATA,
        "nodes",
        ports.NodeRow,
        one_of("state", "state", ("pending", "active", "quarantined", "revoked")),
        one_of("silence", "silence", ("heard", "lost")),
        Index(None, "lab"),
        refs={"lab": "labs.id"},
    ),
    "node_sessions": make_table(
        METADATA,
        "node_sessions",
        ports.NodeSessionRow,
        one_of("state", "state", ("current", "past")),
        key=("node", "session"),
        refs={"node": "nodes.id"},
    ),
    "node_journals": make_table(
        METADATA,
        "node_journals",
        ports.JournalRow,
        one_of("state", "state", ("current", "retired", "broken")),
        key=("node", "journal"),
        refs={"node": "nodes.id"},
    ),
    "node_entries": make_table(
        METADATA,
        "node_entries",
        ports.EntryRow,
        Index(None, "attempt"),
        key=("node", "journal", "seq"),
        refs={"node": "nodes.id"},
    ),
    "instruments": make_table(
        METADATA,
        "instruments",
        ports.InstrumentRow,
        one_of("state", "state", ("idle", "busy", "paused", "error", "maintenance", "local", "unknown")),
        CheckConstraint("fence >= 0", name="fence"),
        UniqueConstraint("node", "name"),
        Index(None, "lab"),
        refs={"lab": "labs.id", "node": "nodes.id"},
    ),
    "manifests": make_table(
        METADATA,
        "manifests",
        ports.ManifestRow,
        key=("hash",),
        refs={"lab": "labs.id", "node": "nodes.id"},
    ),
    "tokens": make_table(
        METADATA,
        "tokens",
        ports.TokenRow,
        CheckConstraint("number >= 1", name="number"),
        Index(None, "instrument", "attempt"),
        key=("node", "session", "instrument", "number"),
        refs={"node": "nodes.id", "instrument": "instruments.id"},
    ),
}

_RUN = {
    "protocols": make_table(METADATA, "protocols", ports.ProtocolRow, Index(None, "name"), key=("hash",)),
    "studies": make_table(
        METADATA,
        "studies",
        ports.StudyRow,
        Index(None, "project"),
        refs={"project": "projects.id", "protocol": "protocols.hash", "submitted_by": "people.id"},
    ),
    "experiments": make_table(
        METADATA,
        "experiments",
        ports.ExperimentRow,
        one_of("state", "state", EXPERIMENT_STATES),
        Index(None, "project", "id"),
        Index(None, "state"),
        UniqueConstraint("study", "position"),
        refs={
            "study": "studies.id",
            "project": "projects.id",
            "protocol": "protocols.hash",
            "submitted_by": "people.id",
        },
    ),
    "steps": make_table(
        METADATA,
        "steps",
        ports.StepRow,
        one_of("state", "state", STEP_STATES),
        CheckConstraint("hold_ms > 0", name="hold"),
        UniqueConstraint("experiment", "name"),
        Index(None, "state"),
        refs={"experiment": "experiments.id", "project": "projects.id"},
    ),
    "attempts": make_table(
        METADATA,
        "attempts",
        ports.AttemptRow,
        one_of("state", "state", ATTEMPT_STATES),
        UniqueConstraint("instrument", "fence"),
        UniqueConstraint("node", "session", "instrument", "token", name="uq_attempts_token"),
        Index("uq_attempts_live", "step", unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE),
        Index(None, "step"),
        Index(None, "experiment"),
        Index(None, "state", "node"),
        Index(None, "node", "stored", "uploaded"),
        refs={
            "step": "steps.id",
            "experiment": "experiments.id",
            "project": "projects.id",
            "lab": "labs.id",
            "node": "nodes.id",
            "instrument": "instruments.id",
        },
    ),
    "attempt_history": make_table(
        METADATA,
        "attempt_history",
        ports.AttemptHistoryRow,
        Index(None, "attempt"),
        key=("seq",),
        serial="seq",
        refs={"attempt": "attempts.id"},
    ),
    "records": make_table(
        METADATA,
        "records",
        ports.RecordRow,
        UniqueConstraint("attempt"),
        UniqueConstraint("ark"),
        Index(None, "experiment"),
        Index(None, "project"),
        refs={"attempt": "attempts.id", "step": "steps.id", "experiment": "experiments.id", "project": "projects.id"},
    ),
    "objects": make_table(
        METADATA,
        "objects",
        ports.ObjectRow,
        CheckConstraint("length(sha256) = 64", name="sha256"),
        key=("sha256",),
        refs={"node": "nodes.id"},
    ),
    "record_objects": make_table(
        METADATA,
        "record_objects",
        ports.RecordObjectRow,
        Index(None, "sha256"),
        key=("record", "name"),
        refs={"record": "records.id", "sha256": "objects.sha256"},
    ),
    "samples": make_table(
        METADATA,
        "samples",
        ports.SampleRow,
        one_of("state", "state", SAMPLE_STATES),
        Index(None, "experiment"),
        Index(None, "made_by"),
        refs={"project": "projects.id", "experiment": "experiments.id", "made_by": "steps.id", "lab": "labs.id"},
    ),
    "events": make_table(METADATA, "events", ports.EventRow),
    "audit": make_table(METADATA, "audit", ports.AuditRow, Index(None, "subject"), key=("seq",), serial="seq"),
}

#: Name -> table; the names that ``work.py`` joins with row classes.
TABLES: dict[str, Table] = {**_OFFICE, **_LAB, **_RUN}
