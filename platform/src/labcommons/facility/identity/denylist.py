"""Words that make a token worthless before its ``exp``: its id, its session, its holder, its client.

A local signature check passes until ``exp``; the verifier therefore asks here too. An entry is kept for as long as a
token that it denies could live. The file is shared by all processes of the facility: each reads it again every two
seconds, so that a revocation takes effect everywhere well within the promised 60 s (at once in its own process).
"""

from __future__ import annotations

import sqlite3
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

from labcommons.facility.identity.claims import VerifiedClaims
from labcommons.facility.ports import Clock

__all__ = ["Denylist", "Kind", "NoDenylist", "SqliteDenylist"]

Kind = Literal["jti", "sid", "sub", "azp"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS denied (
    kind TEXT NOT NULL CHECK (kind IN ('jti', 'sid', 'sub', 'azp')),
    value TEXT NOT NULL,
    -- Tokens issued up to here (seconds since 1970) are denied: a holder who is enabled again gets new ones.
    issued_until REAL NOT NULL,
    keep_until REAL NOT NULL,
    PRIMARY KEY (kind, value)
) WITHOUT ROWID
"""


class Denylist(Protocol):
    """What the verifier asks."""

    def denies(self, claims: VerifiedClaims) -> bool:
        """Whether a token with these claims has been revoked."""
        ...


class NoDenylist:
    """Denies nothing; for tests of the verifier alone."""

    def denies(self, claims: VerifiedClaims) -> bool:
        """Never."""
        return False


class SqliteDenylist:
    """A denylist in a file of its own. Thread-safe; ``close`` it in the end."""

    REFRESH_S = 2.0

    def __init__(self, path: Path, clock: Clock, *, keep: timedelta = timedelta(hours=24)) -> None:
        """``keep``: how long an entry is kept, at least the longest life of a token."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._clock = clock
        self._keep = keep
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(_SCHEMA)
        self._entries: dict[tuple[str, str], float] = {}
        self._read_at = -self.REFRESH_S
        with self._lock:
            self._read()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def deny(self, kind: Kind, value: str) -> None:
        """Deny every token issued up to now whose ``kind`` is ``value``; on return it is durable and in force."""
        now = self._clock.now()
        with self._lock:
            self._db.execute("DELETE FROM denied WHERE keep_until < ?", (now.timestamp(),))
            self._db.execute(
                "INSERT INTO denied VALUES (?, ?, ?, ?) ON CONFLICT (kind, value) "
                "DO UPDATE SET issued_until = excluded.issued_until, keep_until = excluded.keep_until",
                (kind, value, now.timestamp(), (now + self._keep).timestamp()),
            )
            self._read()

    def denies(self, claims: VerifiedClaims) -> bool:
        """Whether the token, its session, its holder or its client is denied."""
        with self._lock:
            if self._clock.monotonic() - self._read_at >= self.REFRESH_S:
                self._read()
            entries = self._entries
        if not entries:
            return False
        words = (("jti", claims.token_id), ("sid", claims.session), ("sub", claims.subject), ("azp", claims.client))
        return any(self._covers(entries.get((kind, word)), claims.issued_at) for kind, word in words if word)

    @staticmethod
    def _covers(issued_until: float | None, issued_at: datetime | None) -> bool:
        # `iat` has whole seconds: one issued within the second of the revocation counts as before it.
        return issued_until is not None and (issued_at is None or issued_at.timestamp() <= issued_until)

    def _read(self) -> None:
        self._entries = {
            (kind, value): at for kind, value, at in self._db.execute("SELECT kind, value, issued_until FROM denied")
        }
        self._read_at = self._clock.monotonic()
