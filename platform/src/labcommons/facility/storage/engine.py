"""Engines whose durability is what the design promises, or that refuse to start."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event

from labcommons.core.errors import Unavailable

__all__ = ["WRITE", "make_engine"]

#: Execution option of a connection that is going to write.
WRITE = "labcommons_write"

_ASKED = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def make_engine(url: str, *, busy_ms: int = 10_000) -> Engine:
    """An engine for ``url`` (SQLite or PostgreSQL). ``busy_ms``: how long to wait for another process's write lock.

    On SQLite each connection is put to WAL, ``synchronous=FULL`` and ``foreign_keys=ON``, and is asked whether it is.
    """
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(
        url, connect_args={"timeout": busy_ms / 1000}, poolclass=QueuePool, pool_size=20, max_overflow=40
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # The driver's own transactions would start too late (at the first write) and never IMMEDIATE.
        connection.isolation_level = None
        try:
            _set_pragmas(connection, busy_ms)
        except Unavailable:
            connection.close()
            raise

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock at once: one that reads first and writes later could not be promoted.
        writes = connection.get_execution_options().get(WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _set_pragmas(connection: Any, busy_ms: int) -> None:
    """Set what durability needs and read it back; SQLite ignores silently what it cannot do."""
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout={int(busy_ms)}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        for pragma, wanted in _ASKED.items():
            found = cursor.execute(f"PRAGMA {pragma}").fetchone()[0]
            if found != wanted:
                raise Unavailable(
                    f"SQLite answers {pragma}={found}, and the books need {wanted}",
                    code="durability",
                    remedy="put the database on a local file system; WAL does not work on network file systems",
                )
    finally:
        cursor.close()
