"""A durable memory of attempts: one row an attempt, on the disk before the call returns.

The host keeps one (what it sent and what came back), and a simulated instrument keeps its own.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labcommons.node.drivers.contract import Json

__all__ = ["AttemptMemory", "Remembered"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (
    attempt   TEXT PRIMARY KEY,
    state     TEXT NOT NULL,
    action    TEXT,
    arguments TEXT,
    status    TEXT,
    starts    INTEGER NOT NULL DEFAULT 0
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Remembered:
    """One attempt. `starts`: how often a `start` of it may have gone out; `status`: last known, as JSON."""

    attempt: str
    state: str
    action: str | None = None
    arguments: Json | None = None
    status: Json | None = None
    starts: int = 0


class AttemptMemory:
    """A file of attempts (SQLite, WAL, `synchronous=FULL`), safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._rows = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
        self._rows.execute("PRAGMA journal_mode=WAL")
        self._rows.execute("PRAGMA synchronous=FULL")
        self._rows.execute(_SCHEMA)

    def get(self, attempt: str) -> Remembered | None:
        """The row of that attempt."""
        with self._lock:
            row = self._rows.execute(
                "SELECT attempt, state, action, arguments, status, starts FROM attempts WHERE attempt = ?", (attempt,)
            ).fetchone()
        return None if row is None else _remembered(row)

    def put(self, row: Remembered) -> None:
        """Write the row, in place of an older one."""
        with self._lock:
            self._rows.execute(
                "INSERT OR REPLACE INTO attempts (attempt, state, action, arguments, status, starts) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (row.attempt, row.state, row.action, _dump(row.arguments), _dump(row.status), row.starts),
            )

    def in_states(self, *states: str) -> list[Remembered]:
        """All rows in one of these states."""
        marks = ", ".join("?" * len(states))
        with self._lock:
            rows = self._rows.execute(
                "SELECT attempt, state, action, arguments, status, starts FROM attempts "
                f"WHERE state IN ({marks}) ORDER BY rowid",
                states,
            ).fetchall()
        return [_remembered(row) for row in rows]

    def count(self) -> int:
        """How often something was started, over all attempts."""
        with self._lock:
            return int(self._rows.execute("SELECT coalesce(sum(starts), 0) FROM attempts").fetchone()[0])

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._rows.close()


def _dump(value: Json | None) -> str | None:
    return None if value is None else json.dumps(value, separators=(",", ":"))


def _remembered(row: tuple[Any, ...]) -> Remembered:
    attempt, state, action, arguments, status, starts = row
    return Remembered(
        attempt,
        state,
        action,
        json.loads(arguments) if arguments else None,
        json.loads(status) if status else None,
        starts,
    )
