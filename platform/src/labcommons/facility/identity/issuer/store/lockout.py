"""Against guessing passwords: a user name is locked for a while after some wrong ones.

A try is counted **before** the password is looked at, so that many tries at once count as many. Names that nobody has
are counted in the same way: the lock does not tell which names exist.
"""

from __future__ import annotations

import math

from labcommons.facility.identity.issuer.config import IssuerConfig
from labcommons.facility.identity.issuer.store.database import Database
from labcommons.facility.ports import Clock

__all__ = ["Lockout"]

_FORGET_S = 3600.0


class Lockout:
    """Counts tries by user name. Blocking."""

    def __init__(self, database: Database, clock: Clock, config: IssuerConfig) -> None:
        self._db = database
        self._clock = clock
        self._config = config

    def begin(self, username: str) -> int:
        """Count a try; returns 0, or for how many more seconds the name is locked (then nothing is to be tried)."""
        now = self._clock.now().timestamp()
        with self._db.transaction() as db:
            db.execute("DELETE FROM guesses WHERE last_at < ? AND locked_until < ?", (now - _FORGET_S, now))
            row = db.execute("SELECT count, locked_until FROM guesses WHERE username = ?", (username,)).fetchone()
            count, locked_until = (0, 0.0) if row is None else (row["count"], row["locked_until"])
            if locked_until > now:
                return math.ceil(locked_until - now)
            count += 1
            db.execute(
                "INSERT OR REPLACE INTO guesses VALUES (?, ?, ?, ?)", (username, count, now + self._lock_s(count), now)
            )
        return 0

    def succeed(self, username: str) -> None:
        """The password was right: forget the wrong ones before it."""
        with self._db.transaction() as db:
            db.execute("DELETE FROM guesses WHERE username = ?", (username,))

    def _lock_s(self, count: int) -> int:
        """Seconds of lock that the ``count``-th wrong password in a row brings."""
        beyond = count - self._config.guesses
        if beyond < 0:
            return 0
        # The exponent is bounded, so that no patience makes the number itself a burden.
        return min(self._config.lock_maximum_s, self._config.lock_s << min(beyond, 20))
