# ruff: noqa: E501
"""Lay the ground of the books.

Revision 0001, after None.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("detail", JSON, nullable=False),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_subject"), "audit", ["subject"], unique=False)


def _counters() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=True),
        sa.Column("experiment", sa.String(), nullable=True),
        sa.Column("lab", sa.String(), nullable=True),
        sa.Column("node", sa.String(), nullable=True),
        sa.Column("topics", JSON, nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )


def _idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=False),
        sa.Column("answer", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("person", "route", "key", name=op.f("pk_idempotency")),
    )
    op.create_index(op.f("ix_idempotency_created_at"), "idempotency", ["created_at"], unique=False)


def _labs() -> None:
    op.create_table(
        "labs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("time_zone", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("time_scale", sa.String(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("ror", sa.String(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labs")),
        sa.UniqueConstraint("name", name=op.f("uq_labs_name")),
    )


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("entry", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("counter_account", sa.String(), nullable=False),
        sa.Column("instrument_type", sa.String(), nullable=False),
        sa.Column("amount_ms", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.CheckConstraint(
            "kind IN ('grant', 'hold', 'charge', 'release', 'refund', 'reversal', 'compensation', 'transfer', 'advance', 'expiry', 'adjustment')",
            name=op.f("ck_ledger_kind"),
        ),
        sa.CheckConstraint("account <> counter_account", name=op.f("ck_ledger_two_accounts")),
        sa.CheckConstraint("amount_ms > 0", name=op.f("ck_ledger_amount")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_ledger")),
        sa.UniqueConstraint("entry", name="uq_ledger_key"),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_ledger_account"), "ledger", ["account"], unique=False)
    op.create_index(op.f("ix_ledger_cause"), "ledger", ["cause"], unique=False)
    op.create_index(op.f("ix_ledger_counter_account"), "ledger", ["counter_account"], unique=False)


def _people() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("username", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("roles", JSON, nullable=False),
        sa.Column("issuer", sa.String(), nullable=True),
        sa.Column("subject", sa.String(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_people_issuer")),
        sa.UniqueConstraint("username", name=op.f("uq_people_username")),
    )


def _projects() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )


def _protocols() -> None:
    op.create_table(
        "protocols",
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("intent", sa.String(), nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_protocols")),
    )
    op.create_index(op.f("ix_protocols_name"), "protocols", ["name"], unique=False)


def _allocations() -> None:
    op.create_table(
        "allocations",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("instrument_type", sa.String(), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_allocations_window")),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_allocations_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allocations")),
    )
    op.create_index(op.f("ix_allocations_project"), "allocations", ["project"], unique=False)


def _lab_members() -> None:
    op.create_table(
        "lab_members",
        sa.Column("lab", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["lab"], ["labs.id"], name=op.f("fk_lab_members_lab")),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_lab_members_person")),
        sa.PrimaryKeyConstraint("lab", "person", name=op.f("pk_lab_members")),
    )
    op.create_index(op.f("ix_lab_members_person"), "lab_members", ["person"], unique=False)


def _members() -> None:
    op.create_table(
        "members",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("cap_ms", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("role IN ('pi', 'manager', 'researcher', 'viewer')", name=op.f("ck_members_role")),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_members_person")),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_members_project")),
        sa.PrimaryKeyConstraint("project", "person", name=op.f("pk_members")),
    )
    op.create_index(op.f("ix_members_person"), "members", ["person"], unique=False)


def _nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("lab", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("public_jwk", JSON, nullable=True),
        sa.Column("session", sa.String(), nullable=True),
        sa.Column("call", sa.BigInteger(), nullable=False),
        sa.Column("next_call", sa.BigInteger(), nullable=False),
        sa.Column("journal", sa.String(), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("wire", sa.BigInteger(), nullable=True),
        sa.Column("software", sa.String(), nullable=True),
        sa.Column("ray_cluster", sa.String(), nullable=True),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=True),
        sa.Column("lease_from", sa.BigInteger(), nullable=True),
        sa.Column("silence", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("silence IN ('heard', 'lost')", name=op.f("ck_nodes_silence")),
        sa.CheckConstraint("state IN ('pending', 'active', 'quarantined', 'revoked')", name=op.f("ck_nodes_state")),
        sa.ForeignKeyConstraint(["lab"], ["labs.id"], name=op.f("fk_nodes_lab")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
    )
    op.create_index(op.f("ix_nodes_lab"), "nodes", ["lab"], unique=False)


def _studies() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("protocol", sa.String(), nullable=False),
        sa.Column("submitted_by", sa.String(), nullable=False),
        sa.Column("submitted_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_studies_project")),
        sa.ForeignKeyConstraint(["protocol"], ["protocols.hash"], name=op.f("fk_studies_protocol")),
        sa.ForeignKeyConstraint(["submitted_by"], ["people.id"], name=op.f("fk_studies_submitted_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
    )
    op.create_index(op.f("ix_studies_project"), "studies", ["project"], unique=False)


def _experiments() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("study", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("protocol", sa.String(), nullable=False),
        sa.Column("protocol_id", sa.String(), nullable=False),
        sa.Column("arguments", JSON, nullable=False),
        sa.Column("submitted_by", sa.String(), nullable=False),
        sa.Column("submitted_at", sa.BigInteger(), nullable=False),
        sa.Column("label", sa.String(), nullable=True),
        sa.Column("labs", JSON, nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("bindings", JSON, nullable=False),
        sa.Column("cancel_wished", sa.Boolean(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
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


def _instruments() -> None:
    op.create_table(
        "instruments",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("lab", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("manifest", sa.String(), nullable=True),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("lock", sa.String(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('idle', 'busy', 'paused', 'error', 'maintenance', 'local', 'unknown')",
            name=op.f("ck_instruments_state"),
        ),
        sa.CheckConstraint("fence >= 0", name=op.f("ck_instruments_fence")),
        sa.ForeignKeyConstraint(["lab"], ["labs.id"], name=op.f("fk_instruments_lab")),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name=op.f("fk_instruments_node")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instruments")),
        sa.UniqueConstraint("node", "name", name=op.f("uq_instruments_node")),
    )
    op.create_index(op.f("ix_instruments_lab"), "instruments", ["lab"], unique=False)


def _manifests() -> None:
    op.create_table(
        "manifests",
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("lab", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["lab"], ["labs.id"], name=op.f("fk_manifests_lab")),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name=op.f("fk_manifests_node")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_manifests")),
    )


def _node_entries() -> None:
    op.create_table(
        "node_entries",
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("journal", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("previous", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.String(), nullable=True),
        sa.Column("detail", JSON, nullable=False),
        sa.Column("applied", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name=op.f("fk_node_entries_node")),
        sa.PrimaryKeyConstraint("node", "journal", "seq", name=op.f("pk_node_entries")),
    )
    op.create_index(op.f("ix_node_entries_attempt"), "node_entries", ["attempt"], unique=False)


def _node_journals() -> None:
    op.create_table(
        "node_journals",
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("journal", sa.String(), nullable=False),
        sa.Column("first_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('current', 'retired', 'broken')", name=op.f("ck_node_journals_state")),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name=op.f("fk_node_journals_node")),
        sa.PrimaryKeyConstraint("node", "journal", name=op.f("pk_node_journals")),
    )


def _node_sessions() -> None:
    op.create_table(
        "node_sessions",
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("journal", sa.String(), nullable=False),
        sa.Column("first_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('current', 'past')", name=op.f("ck_node_sessions_state")),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name=op.f("fk_node_sessions_node")),
        sa.PrimaryKeyConstraint("node", "session", name=op.f("pk_node_sessions")),
    )


def _objects() -> None:
    op.create_table(
        "objects",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("length(sha256) = 64", name=op.f("ck_objects_sha256")),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name=op.f("fk_objects_node")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_objects")),
    )


def _steps() -> None:
    op.create_table(
        "steps",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("plan", JSON, nullable=False),
        sa.Column("instrument_type", sa.String(), nullable=False),
        sa.Column("hold_ms", sa.BigInteger(), nullable=False),
        sa.Column("aged_from", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("after", JSON, nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("struck", JSON, nullable=False),
        sa.Column("attempt", sa.String(), nullable=True),
        sa.Column("adopted", sa.Boolean(), nullable=False),
        sa.Column("faults", sa.BigInteger(), nullable=False),
        sa.Column("skip", sa.String(), nullable=True),
        sa.Column("arguments", JSON, nullable=True),
        sa.Column("outputs", JSON, nullable=True),
        sa.Column("ready_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("cancel_wished", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
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


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("instrument", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.String(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("number >= 1", name=op.f("ck_tokens_number")),
        sa.ForeignKeyConstraint(["instrument"], ["instruments.id"], name=op.f("fk_tokens_instrument")),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name=op.f("fk_tokens_node")),
        sa.PrimaryKeyConstraint("node", "session", "instrument", "number", name=op.f("pk_tokens")),
    )
    op.create_index(op.f("ix_tokens_instrument"), "tokens", ["instrument", "attempt"], unique=False)


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("lab", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("instrument", sa.String(), nullable=False),
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("journal", sa.String(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("grant", JSON, nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("repeatable", sa.Boolean(), nullable=False),
        sa.Column("consumes", sa.Boolean(), nullable=False),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.Column("intended", sa.Boolean(), nullable=False),
        sa.Column("started", sa.Boolean(), nullable=False),
        sa.Column("accounted", sa.Boolean(), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("fault", sa.String(), nullable=False),
        sa.Column("stop_mode", sa.String(), nullable=True),
        sa.Column("stop_told_at", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("result", JSON, nullable=True),
        sa.Column("awaiting", JSON, nullable=False),
        sa.Column("stored", sa.Boolean(), nullable=False),
        sa.Column("uploaded", sa.Boolean(), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.Column("charged_ms", sa.BigInteger(), nullable=True),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("fraction", sa.Float(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
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
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("allocation", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("instrument_type", sa.String(), nullable=False),
        sa.Column("amount_ms", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("charged_ms", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
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
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("made_by", sa.String(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("lab", sa.String(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
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
        sa.Column("attempt", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("before", sa.String(), nullable=True),
        sa.Column("after", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.ForeignKeyConstraint(["attempt"], ["attempts.id"], name=op.f("fk_attempt_history_attempt")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_attempt_history")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_attempt_history_attempt"), "attempt_history", ["attempt"], unique=False)


def _records() -> None:
    op.create_table(
        "records",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("ark", sa.String(), nullable=False),
        sa.Column("attempt", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("lab", sa.String(), nullable=False),
        sa.Column("instrument", sa.String(), nullable=False),
        sa.Column("protocol", sa.String(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
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
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["record"], ["records.id"], name=op.f("fk_record_objects_record")),
        sa.ForeignKeyConstraint(["sha256"], ["objects.sha256"], name=op.f("fk_record_objects_sha256")),
        sa.PrimaryKeyConstraint("record", "name", name=op.f("pk_record_objects")),
    )
    op.create_index(op.f("ix_record_objects_sha256"), "record_objects", ["sha256"], unique=False)


def upgrade() -> None:
    for make in (
        _audit,
        _counters,
        _events,
        _idempotency,
        _labs,
        _ledger,
        _people,
        _projects,
        _protocols,
        _allocations,
        _lab_members,
        _members,
        _nodes,
        _studies,
        _experiments,
        _instruments,
        _manifests,
        _node_entries,
        _node_journals,
        _node_sessions,
        _objects,
        _steps,
        _tokens,
        _attempts,
        _holds,
        _samples,
        _attempt_history,
        _records,
        _record_objects,
    ):
        make()
    counters = sa.table("counters", sa.column("name", sa.String()), sa.column("value", sa.BigInteger()))
    op.bulk_insert(counters, [{"name": "event", "value": 0}, {"name": "epoch", "value": 1}])
