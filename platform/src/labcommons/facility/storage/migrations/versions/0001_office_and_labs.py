# ruff: noqa: E501
"""Lay the ground: people, projects, the ledger, labs and their nodes.

Revision 0001, after None.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def need(kind: sa.types.TypeEngine[Any], names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names.split()]


def may(kind: sa.types.TypeEngine[Any], names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=True) for name in names.split()]


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        *need(sa.BigInteger(), "at"),
        *need(sa.String(), "actor action subject"),
        *need(JSON, "detail"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_subject"), "audit", ["subject"], unique=False)


def _counters() -> None:
    op.create_table(
        "counters",
        *need(sa.String(), "name"),
        *need(sa.BigInteger(), "value"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )


def _events() -> None:
    op.create_table(
        "events",
        *need(sa.BigInteger(), "at id"),
        *need(sa.String(), "event subject state"),
        *may(sa.String(), "project experiment lab node"),
        *need(JSON, "topics"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )


def _idempotency() -> None:
    op.create_table(
        "idempotency",
        *need(sa.String(), "person route key digest"),
        *need(sa.BigInteger(), "status created_at"),
        *need(JSON, "answer"),
        sa.PrimaryKeyConstraint("person", "route", "key", name=op.f("pk_idempotency")),
    )
    op.create_index(op.f("ix_idempotency_created_at"), "idempotency", ["created_at"], unique=False)


def _labs() -> None:
    op.create_table(
        "labs",
        *need(sa.String(), "id name title time_zone time_scale"),
        *need(sa.BigInteger(), "created_at version"),
        *need(sa.Boolean(), "simulated"),
        *may(sa.String(), "ror"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labs")),
        sa.UniqueConstraint("name", name=op.f("uq_labs_name")),
    )


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        *need(sa.String(), "entry kind account counter_account instrument_type cause actor"),
        *need(sa.BigInteger(), "at amount_ms"),
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
        *need(sa.String(), "id username name"),
        *need(sa.BigInteger(), "created_at version"),
        *need(JSON, "roles"),
        *may(sa.String(), "issuer subject"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_people_issuer")),
        sa.UniqueConstraint("username", name=op.f("uq_people_username")),
    )


def _projects() -> None:
    op.create_table(
        "projects",
        *need(sa.String(), "id name title"),
        *need(sa.BigInteger(), "created_at version"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )


def _protocols() -> None:
    op.create_table(
        "protocols",
        *need(sa.String(), "hash name title intent created_by"),
        *need(JSON, "document"),
        *need(sa.BigInteger(), "created_at"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_protocols")),
    )
    op.create_index(op.f("ix_protocols_name"), "protocols", ["name"], unique=False)


def _allocations() -> None:
    op.create_table(
        "allocations",
        *need(sa.String(), "id project instrument_type"),
        *need(sa.BigInteger(), "starts_at ends_at created_at version"),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_allocations_window")),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_allocations_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allocations")),
    )
    op.create_index(op.f("ix_allocations_project"), "allocations", ["project"], unique=False)


def _lab_members() -> None:
    op.create_table(
        "lab_members",
        *need(sa.String(), "lab person role"),
        *need(sa.BigInteger(), "created_at"),
        sa.ForeignKeyConstraint(["lab"], ["labs.id"], name=op.f("fk_lab_members_lab")),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_lab_members_person")),
        sa.PrimaryKeyConstraint("lab", "person", name=op.f("pk_lab_members")),
    )
    op.create_index(op.f("ix_lab_members_person"), "lab_members", ["person"], unique=False)


def _members() -> None:
    op.create_table(
        "members",
        *need(sa.String(), "project person role"),
        *need(sa.BigInteger(), "created_at version"),
        *may(sa.BigInteger(), "cap_ms"),
        sa.CheckConstraint("role IN ('pi', 'manager', 'researcher', 'viewer')", name=op.f("ck_members_role")),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_members_person")),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_members_project")),
        sa.PrimaryKeyConstraint("project", "person", name=op.f("pk_members")),
    )
    op.create_index(op.f("ix_members_person"), "members", ["person"], unique=False)


def _nodes() -> None:
    op.create_table(
        "nodes",
        *need(sa.String(), "id lab state silence"),
        *need(sa.BigInteger(), "created_at call next_call epoch version"),
        *need(JSON, "tokens"),
        *may(JSON, "public_jwk"),
        *may(sa.String(), "session journal software ray_cluster reason"),
        *may(sa.BigInteger(), "wire last_seen_at lease_from"),
        sa.CheckConstraint("silence IN ('heard', 'lost')", name=op.f("ck_nodes_silence")),
        sa.CheckConstraint("state IN ('pending', 'active', 'quarantined', 'revoked')", name=op.f("ck_nodes_state")),
        sa.ForeignKeyConstraint(["lab"], ["labs.id"], name=op.f("fk_nodes_lab")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
    )
    op.create_index(op.f("ix_nodes_lab"), "nodes", ["lab"], unique=False)


def _instruments() -> None:
    op.create_table(
        "instruments",
        *need(sa.String(), "id lab node name type state detail"),
        *need(sa.BigInteger(), "created_at fence version"),
        *may(sa.String(), "manifest lock"),
        *need(sa.Boolean(), "simulated"),
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
        *need(sa.String(), "hash lab node"),
        *need(JSON, "document"),
        *need(sa.BigInteger(), "created_at"),
        sa.ForeignKeyConstraint(["lab"], ["labs.id"], name=op.f("fk_manifests_lab")),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name=op.f("fk_manifests_node")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_manifests")),
    )


def _node_entries() -> None:
    op.create_table(
        "node_entries",
        *need(sa.String(), "node journal at kind session previous hash applied"),
        *need(sa.BigInteger(), "seq received_at"),
        *may(sa.String(), "attempt"),
        *need(JSON, "detail"),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name=op.f("fk_node_entries_node")),
        sa.PrimaryKeyConstraint("node", "journal", "seq", name=op.f("pk_node_entries")),
    )
    op.create_index(op.f("ix_node_entries_attempt"), "node_entries", ["attempt"], unique=False)


def _node_journals() -> None:
    op.create_table(
        "node_journals",
        *need(sa.String(), "node journal state hash"),
        *need(sa.BigInteger(), "first_seen_at seq version"),
        sa.CheckConstraint("state IN ('current', 'retired', 'broken')", name=op.f("ck_node_journals_state")),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name=op.f("fk_node_journals_node")),
        sa.PrimaryKeyConstraint("node", "journal", name=op.f("pk_node_journals")),
    )


def _node_sessions() -> None:
    op.create_table(
        "node_sessions",
        *need(sa.String(), "node session journal state"),
        *need(sa.BigInteger(), "first_seen_at version"),
        sa.CheckConstraint("state IN ('current', 'past')", name=op.f("ck_node_sessions_state")),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name=op.f("fk_node_sessions_node")),
        sa.PrimaryKeyConstraint("node", "session", name=op.f("pk_node_sessions")),
    )


def _tokens() -> None:
    op.create_table(
        "tokens",
        *need(sa.String(), "node session instrument"),
        *need(sa.BigInteger(), "number created_at version"),
        *may(sa.String(), "attempt"),
        sa.CheckConstraint("number >= 1", name=op.f("ck_tokens_number")),
        sa.ForeignKeyConstraint(["instrument"], ["instruments.id"], name=op.f("fk_tokens_instrument")),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name=op.f("fk_tokens_node")),
        sa.PrimaryKeyConstraint("node", "session", "instrument", "number", name=op.f("pk_tokens")),
    )
    op.create_index(op.f("ix_tokens_instrument"), "tokens", ["instrument", "attempt"], unique=False)


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
        _instruments,
        _manifests,
        _node_entries,
        _node_journals,
        _node_sessions,
        _tokens,
    ):
        make()
    counters = sa.table("counters", sa.column("name", sa.String()), sa.column("value", sa.BigInteger()))
    op.bulk_insert(counters, [{"name": "event", "value": 0}, {"name": "epoch", "value": 1}])
