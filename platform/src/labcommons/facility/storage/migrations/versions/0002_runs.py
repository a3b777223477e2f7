# ruff: noqa: E501
"""Experiments, steps, attempts, what came of them, and the holds.

Revision 0002, after 0001.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def need(kind: sa.types.TypeEngine[Any], names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names.split()]


def may(kind: sa.types.TypeEngine[Any], names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=True) for name in names.split()]


def _studies() -> None:
    op.create_table(
        "studies",
        *need(sa.String(), "id project name protocol submitted_by"),
        *need(sa.BigInteger(), "submitted_at"),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_studies_project")),
        sa.ForeignKeyConstraint(["protocol"], ["protocols.hash"], name=op.f("fk_studies_protocol")),
        sa.ForeignKeyConstraint(["submitted_by"], ["people.id"], name=op.f("fk_studies_submitted_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
    )
    op.create_index(op.f("ix_studies_project"), "studies", ["project"], unique=False)


def _experiments() -> None:
    op.create_table(
        "experiments",
        *need(sa.String(), "id study project protocol protocol_id submitted_by state"),
        *need(sa.BigInteger(), "position submitted_at priority version"),
        *need(JSON, "arguments labs bindings"),
        *may(sa.String(), "label"),
        *need(sa.Boolean(), "cancel_wished"),
        *may(sa.BigInteger(), "ended_at"),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'needs_person', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_experiments_state"),
        ),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_experiments_project")),
        sa.ForeignKeyConstraint(["protocol"], ["protocols.hash"], name=op.f("fk_experiments_protocol")),
        sa.ForeignKeyConstraint(["study"], ["studies.id"], name=op.f("fk_experiments_study")),
        sa.ForeignKeyConstraint(["submitted_by"], ["people.id"], name=op.f("fk_experiments_submitted_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiments")),
        sa.UniqueConstraint("study", "position", name=op.f("uq_experiments_study")),
    )
    op.create_index(op.f("ix_experiments_project"), "experiments", ["project", "id"], unique=False)
    op.create_index(op.f("ix_experiments_state"), "experiments", ["state"], unique=False)


def _objects() -> None:
    op.create_table(
        "objects",
        *need(sa.String(), "sha256 node"),
        *need(sa.BigInteger(), "bytes created_at"),
        sa.CheckConstraint("length(sha256) = 64", name=op.f("ck_objects_sha256")),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name=op.f("fk_objects_node")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_objects")),
    )


def _steps() -> None:
    op.create_table(
        "steps",
        *need(sa.String(), "id experiment project name role action instrument_type state"),
        *need(sa.BigInteger(), "position hold_ms aged_from priority faults version"),
        *need(JSON, "plan after struck"),
        *may(sa.String(), "attempt skip reason"),
        *need(sa.Boolean(), "adopted cancel_wished"),
        *may(JSON, "arguments outputs"),
        *may(sa.BigInteger(), "ready_at ended_at"),
        sa.CheckConstraint(
            "state IN ('WAITING', 'READY', 'ACTIVE', 'DONE', 'FAILED', 'STOPPED', 'CANCELLED', 'SKIPPED')",
            name=op.f("ck_steps_state"),
        ),
        sa.CheckConstraint("hold_ms > 0", name=op.f("ck_steps_hold")),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name=op.f("fk_steps_experiment")),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_steps_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steps")),
        sa.UniqueConstraint("experiment", "name", name=op.f("uq_steps_experiment")),
    )
    op.create_index(op.f("ix_steps_state"), "steps", ["state"], unique=False)


def _attempts() -> None:
    op.create_table(
        "attempts",
        *need(sa.String(), "id step experiment project lab node instrument session journal state fault"),
        *need(sa.BigInteger(), "epoch fence token granted_at version"),
        *need(JSON, "grant awaiting"),
        *need(sa.Boolean(), "repeatable consumes answered intended started accounted closed stored uploaded estimated"),
        *may(sa.String(), "stop_mode outcome reason"),
        *may(sa.BigInteger(), "stop_told_at started_at ended_at received_at used_ms charged_ms"),
        *may(JSON, "result"),
        *may(sa.Float(), "fraction"),
        sa.CheckConstraint(
            "state IN ('GRANTED', 'RUNNING', 'RESULT_STORED', 'SUCCEEDED', 'FAILED_RAN', 'REFUSED', 'STOPPED', 'SUSPECT', 'UNKNOWN', 'ADJUDICATED_RAN', 'ADJUDICATED_NOT_RUN', 'SUPERSEDED')",
            name=op.f("ck_attempts_state"),
        ),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name=op.f("fk_attempts_experiment")),
        sa.ForeignKeyConstraint(["instrument"], ["instruments.id"], name=op.f("fk_attempts_instrument")),
        sa.ForeignKeyConstraint(["lab"], ["labs.id"], name=op.f("fk_attempts_lab")),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name=op.f("fk_attempts_node")),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_attempts_project")),
        sa.ForeignKeyConstraint(["step"], ["steps.id"], name=op.f("fk_attempts_step")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("instrument", "fence", name=op.f("uq_attempts_instrument")),
        sa.UniqueConstraint("node", "session", "instrument", "token", name="uq_attempts_token"),
    )
    op.create_index(op.f("ix_attempts_experiment"), "attempts", ["experiment"], unique=False)
    op.create_index(op.f("ix_attempts_node"), "attempts", ["node", "stored", "uploaded"], unique=False)
    op.create_index(op.f("ix_attempts_state"), "attempts", ["state", "node"], unique=False)
    op.create_index(op.f("ix_attempts_step"), "attempts", ["step"], unique=False)
    op.create_index(
        "uq_attempts_live",
        "attempts",
        ["step"],
        unique=True,
        sqlite_where=sa.text("state IN ('GRANTED', 'RUNNING', 'RESULT_STORED', 'SUSPECT', 'UNKNOWN')"),
        postgresql_where=sa.text("state IN ('GRANTED', 'RUNNING', 'RESULT_STORED', 'SUSPECT', 'UNKNOWN')"),
    )


def _holds() -> None:
    op.create_table(
        "holds",
        *need(sa.String(), "id step allocation project person instrument_type state"),
        *need(sa.BigInteger(), "amount_ms opened_at charged_ms version"),
        *may(sa.BigInteger(), "closed_at"),
        sa.CheckConstraint("state IN ('OPEN', 'CLOSED')", name=op.f("ck_holds_state")),
        sa.CheckConstraint(
            "amount_ms > 0 AND charged_ms >= 0 AND charged_ms <= amount_ms", name=op.f("ck_holds_amounts")
        ),
        sa.ForeignKeyConstraint(["allocation"], ["allocations.id"], name=op.f("fk_holds_allocation")),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_holds_person")),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_holds_project")),
        sa.ForeignKeyConstraint(["step"], ["steps.id"], name=op.f("fk_holds_step")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
    op.create_index(op.f("ix_holds_allocation"), "holds", ["allocation"], unique=False)
    op.create_index(op.f("ix_holds_project"), "holds", ["project"], unique=False)
    op.create_index(
        "uq_holds_open",
        "holds",
        ["step"],
        unique=True,
        sqlite_where=sa.text("state = 'OPEN'"),
        postgresql_where=sa.text("state = 'OPEN'"),
    )


def _samples() -> None:
    op.create_table(
        "samples",
        *need(sa.String(), "id project experiment name state"),
        *may(sa.String(), "made_by lab"),
        *need(sa.BigInteger(), "created_at version"),
        sa.CheckConstraint(
            "state IN ('EXPECTED', 'AVAILABLE', 'RESERVED', 'COMMITTED', 'CONSUMED', 'QUARANTINED', 'VOID')",
            name=op.f("ck_samples_state"),
        ),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name=op.f("fk_samples_experiment")),
        sa.ForeignKeyConstraint(["lab"], ["labs.id"], name=op.f("fk_samples_lab")),
        sa.ForeignKeyConstraint(["made_by"], ["steps.id"], name=op.f("fk_samples_made_by")),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_samples_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_samples")),
    )
    op.create_index(op.f("ix_samples_experiment"), "samples", ["experiment"], unique=False)
    op.create_index(op.f("ix_samples_made_by"), "samples", ["made_by"], unique=False)


def _attempt_history() -> None:
    op.create_table(
        "attempt_history",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        *need(sa.String(), "attempt after cause"),
        *need(sa.BigInteger(), "at"),
        *may(sa.String(), "before"),
        sa.ForeignKeyConstraint(["attempt"], ["attempts.id"], name=op.f("fk_attempt_history_attempt")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_attempt_history")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_attempt_history_attempt"), "attempt_history", ["attempt"], unique=False)


def _records() -> None:
    op.create_table(
        "records",
        *need(sa.String(), "id ark attempt step experiment project lab instrument protocol outcome"),
        *need(sa.Boolean(), "simulated"),
        *need(JSON, "document"),
        *need(sa.BigInteger(), "created_at"),
        sa.ForeignKeyConstraint(["attempt"], ["attempts.id"], name=op.f("fk_records_attempt")),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name=op.f("fk_records_experiment")),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_records_project")),
        sa.ForeignKeyConstraint(["step"], ["steps.id"], name=op.f("fk_records_step")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_records")),
        sa.UniqueConstraint("ark", name=op.f("uq_records_ark")),
        sa.UniqueConstraint("attempt", name=op.f("uq_records_attempt")),
    )
    op.create_index(op.f("ix_records_experiment"), "records", ["experiment"], unique=False)
    op.create_index(op.f("ix_records_project"), "records", ["project"], unique=False)


def _record_objects() -> None:
    op.create_table(
        "record_objects",
        *need(sa.String(), "record name media_type sha256"),
        *need(sa.BigInteger(), "bytes"),
        sa.ForeignKeyConstraint(["record"], ["records.id"], name=op.f("fk_record_objects_record")),
        sa.ForeignKeyConstraint(["sha256"], ["objects.sha256"], name=op.f("fk_record_objects_sha256")),
        sa.PrimaryKeyConstraint("record", "name", name=op.f("pk_record_objects")),
    )
    op.create_index(op.f("ix_record_objects_sha256"), "record_objects", ["sha256"], unique=False)


def upgrade() -> None:
    for make in (
        _studies,
        _experiments,
        _objects,
        _steps,
        _attempts,
        _holds,
        _samples,
        _attempt_history,
        _records,
        _record_objects,
    ):
        make()
