"""Logins, sessions, and the secrets that may be used once: codes, refresh tokens, ids of assertions.

Each such secret is consumed **at look-up**, in one transaction, whatever becomes of the request after: of two requests
with the same secret, at most one goes on. Used ones are kept, so that a second use is seen; it ends the whole session
(the family of tokens that came from one code), because one of the two who hold the secret has stolen it.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from datetime import datetime

from labcommons.facility.identity.denylist import SqliteDenylist
from labcommons.facility.identity.issuer.config import IssuerConfig
from labcommons.facility.identity.issuer.models import Code, RefreshToken, SignedIn
from labcommons.facility.identity.issuer.store.database import Database
from labcommons.facility.identity.issuer.store.registry import Registry
from labcommons.facility.ports import Clock

__all__ = ["Sessions"]

_KEEP_S = 24 * 3600


class Sessions:
    """Everything that begins with a login and ends by itself after twelve hours at most. Blocking."""

    def __init__(
        self, database: Database, registry: Registry, denylist: SqliteDenylist, clock: Clock, config: IssuerConfig
    ) -> None:
        self._db = database
        self._registry = registry
        self._denylist = denylist
        self._clock = clock
        self._config = config

    def open_login(self, sub: str) -> str:
        """A new login of a person in a browser; returns the secret for the browser's cookie."""
        secret = secrets.token_urlsafe(32)
        now = self._seconds()
        with self._db.transaction() as db:
            self._sweep(db, now)
            db.execute(
                "INSERT INTO logins VALUES (?, ?, ?, ?)", (_hash(secret), sub, now, now + self._config.session_s)
            )
        return secret

    def login(self, secret: str) -> tuple[str, int] | None:
        """The subject and the time of the login with this secret, while it lasts and the person is enabled."""
        row = self._db.row(
            "SELECT sub, auth_time FROM logins JOIN people USING (sub) "
            "WHERE secret = ? AND expires_at > ? AND people.enabled",
            (_hash(secret), self._seconds()),
        )
        return None if row is None else (row["sub"], row["auth_time"])

    def close_login(self, secret: str) -> None:
        """End a login and all sessions that came from it."""
        hashed = _hash(secret)
        with self._db.transaction() as db:
            db.execute("DELETE FROM logins WHERE secret = ?", (hashed,))
        self._end("login = ?", hashed)

    def add_code(
        self,
        login: str,
        *,
        client_id: str,
        redirect_uri: str,
        scope: str,
        nonce: str | None,
        challenge: str,
    ) -> str | None:
        """A new session of the person behind ``login`` with its code; None when the login has ended meanwhile."""
        found = self.login(login)
        if found is None:
            return None
        sub, auth_time = found
        code, sid, now = secrets.token_urlsafe(32), secrets.token_urlsafe(16), self._seconds()
        with self._db.transaction() as db:
            self._sweep(db, now)
            db.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, 0)",
                (sid, sub, client_id, _hash(login), auth_time, auth_time + self._config.session_s),
            )
            db.execute(
                "INSERT INTO codes VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
                (_hash(code), sid, client_id, redirect_uri, scope, nonce, challenge, now + self._config.code_s),
            )
        return code

    def take_code(self, code: str, client_id: str) -> Code | None:
        """Consume a code; None if it is unknown, too old, another client's, or was used before."""
        row = self._take("codes", code)
        if row is None or row["client_id"] != client_id or row["expires_at"] <= self._seconds():
            return None
        signed_in = self.signed_in(row["sid"])
        if signed_in is None:
            return None
        return Code(client_id, row["redirect_uri"], row["scope"], row["nonce"], row["challenge"], signed_in)

    def add_refresh_token(self, token: str, *, sid: str, client_id: str, scope: str) -> None:
        """Keep a refresh token that was just given out."""
        with self._db.transaction() as db:
            db.execute("INSERT INTO refresh_tokens VALUES (?, ?, ?, ?, 0)", (_hash(token), sid, client_id, scope))

    def take_refresh_token(self, token: str) -> RefreshToken | None:
        """Consume a refresh token; None if it is unknown, its session has ended, or it was used before."""
        row = self._take("refresh_tokens", token)
        signed_in = None if row is None else self.signed_in(row["sid"])
        return None if row is None or signed_in is None else RefreshToken(row["client_id"], row["scope"], signed_in)

    def find_refresh_token(self, token: str) -> tuple[str, str] | None:
        """Session and client of a refresh token, without consuming it; for revocation."""
        row = self._db.row("SELECT sid, client_id FROM refresh_tokens WHERE secret = ?", (_hash(token),))
        return None if row is None else (row["sid"], row["client_id"])

    def use_assertion_id(self, client_id: str, jti: str, expires_at: float) -> bool:
        """Consume the id of an assertion; False if the client used it before."""
        now = self._seconds()
        with self._db.transaction() as db:
            db.execute("DELETE FROM assertion_ids WHERE expires_at < ?", (now - self._config.leeway_s,))
            made = db.execute(
                "INSERT INTO assertion_ids VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (client_id, jti, int(expires_at) + 1),
            )
            return made.rowcount == 1

    def signed_in(self, sid: str) -> SignedIn | None:
        """The person of a session that is still open, if the person is still enabled."""
        row = self._db.row("SELECT * FROM sessions WHERE sid = ? AND NOT ended", (sid,))
        if row is None or row["expires_at"] <= self._seconds():
            return None
        person = self._registry.person(sub=row["sub"])
        if person is None or not person.enabled:
            return None
        return SignedIn(person, sid, row["auth_time"], row["expires_at"])

    def end_session(self, sid: str) -> None:
        """End a session: its refresh tokens are dead, its access tokens denied."""
        self._end("sid = ?", sid)

    def end_logout(self, sid: str) -> None:
        """End a session together with the browser's login that it came from (a person's log-out)."""
        row = self._db.row("SELECT login FROM sessions WHERE sid = ?", (sid,))
        self.end_session(sid)
        if row is not None and row["login"] is not None:
            with self._db.transaction() as db:
                db.execute("DELETE FROM logins WHERE secret = ?", (row["login"],))
            self._end("login = ?", row["login"])

    def end_all_of_person(self, sub: str) -> None:
        """End everything of a person, tokens in flight included."""
        with self._db.transaction() as db:
            db.execute("DELETE FROM logins WHERE sub = ?", (sub,))
        self._end("sub = ?", sub)
        self._denylist.deny("sub", sub)

    def end_all_of_client(self, client_id: str) -> None:
        """End everything of a client, tokens in flight included."""
        self._end("client_id = ?", client_id)
        self._denylist.deny("azp", client_id)

    def deny_token(self, jti: str) -> None:
        """Revoke one access token."""
        self._denylist.deny("jti", jti)

    def _take(self, table: str, secret: str) -> sqlite3.Row | None:
        """Mark a secret used and return its row; None, and the session ended, when it was used already."""
        with self._db.transaction() as db:
            hashed = _hash(secret)
            row: sqlite3.Row | None = db.execute(f"SELECT * FROM {table} WHERE secret = ?", (hashed,)).fetchone()
            if row is None:
                return None
            db.execute(f"UPDATE {table} SET used = 1 WHERE secret = ?", (hashed,))
        if row["used"]:
            self.end_session(row["sid"])
            return None
        return row

    def _end(self, condition: str, value: str) -> None:
        with self._db.transaction() as db:
            rows = db.execute(f"SELECT sid FROM sessions WHERE {condition} AND NOT ended", (value,)).fetchall()
            db.execute(f"UPDATE sessions SET ended = 1 WHERE {condition}", (value,))
        for row in rows:
            self._denylist.deny("sid", row["sid"])

    def _sweep(self, db: sqlite3.Connection, now: int) -> None:
        """Forget what ended more than a day ago: by then a reuse has nothing left to end."""
        db.execute("DELETE FROM logins WHERE expires_at < ?", (now,))
        db.execute("DELETE FROM sessions WHERE expires_at < ?", (now - _KEEP_S,))

    def _seconds(self) -> int:
        return int(self._now().timestamp())

    def _now(self) -> datetime:
        return self._clock.now()


def _hash(secret: str) -> str:
    # The secrets are 128 bits and more of chance: no salt and no slow hash are needed.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
