"""Who can log in and which programs may ask: the rows of people and clients."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, import_key

from labcommons.core.errors import Conflict, InvalidInput, NotFound
from labcommons.facility.identity.issuer.config import PasswordCost
from labcommons.facility.identity.issuer.models import Client, Person, check_redirect
from labcommons.facility.identity.issuer.store.database import Database
from labcommons.facility.identity.issuer.store.passwords import check_password, hash_password, matches

__all__ = ["Registry", "check_jwks"]


class Registry:
    """People and clients. Blocking."""

    def __init__(self, database: Database, cost: PasswordCost) -> None:
        self._db = database
        self._cost = cost
        # Compared with when there is no such person, so that an answer's time does not tell which names exist.
        self._nobody = hash_password("nobody has this password", cost)

    def add_person(
        self, username: str, name: str, password: str, roles: Iterable[str], sub: str, email: str | None = None
    ) -> Person:
        """A new person, or the same one again with everything but the identifier replaced.

        Raises ``InvalidInput`` for a weak password, ``Conflict`` (``username_taken``) if another has the name.
        """
        check_password(password)
        person = Person(sub, username, name, email, tuple(sorted(roles)))
        hashed = hash_password(password, self._cost)
        try:
            with self._db.transaction() as db:
                db.execute(
                    "INSERT INTO people (sub, username, name, email, roles, password) VALUES (?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (sub) DO UPDATE SET username = excluded.username, name = excluded.name, "
                    "email = excluded.email, roles = excluded.roles, password = excluded.password, enabled = 1",
                    (sub, username, name, email, json.dumps(person.roles), hashed),
                )
        except sqlite3.IntegrityError:
            raise Conflict(
                f"the user name {username!r} belongs to somebody else",
                code="username_taken",
                field="/username",
                remedy="take another user name",
            ) from None
        return person

    def person(self, *, sub: str | None = None, username: str | None = None) -> Person | None:
        """The person with this identifier or user name, enabled or not."""
        row = self._db.row("SELECT * FROM people WHERE sub = ? OR username = ?", (sub, username))
        return None if row is None else _person(row)

    def people(self) -> list[Person]:
        """All, by user name."""
        return [_person(row) for row in self._db.rows("SELECT * FROM people ORDER BY username")]

    def authenticate(self, username: str, password: str) -> Person | None:
        """The enabled person with this name and password; as slow when there is none."""
        row = self._db.row("SELECT * FROM people WHERE username = ?", (username,))
        good = matches(password, self._nobody if row is None else row["password"])
        return _person(row) if row is not None and good and row["enabled"] else None

    def enable_person(self, username: str, enabled: bool) -> Person:
        """Let a person log in, or no longer. Raises ``NotFound``."""
        with self._db.transaction() as db:
            db.execute("UPDATE people SET enabled = ? WHERE username = ?", (enabled, username))
        person = self.person(username=username)
        if person is None:
            raise NotFound(f"there is no person {username!r}", remedy="look at the list of people")
        return person

    def remove_person(self, username: str) -> None:
        """Forget a person and the person's sessions; nothing if there is none."""
        with self._db.transaction() as db:
            db.execute("DELETE FROM people WHERE username = ?", (username,))

    def add_client(
        self,
        client_id: str,
        *,
        jwks: Mapping[str, Any] | None,
        redirect_uris: Sequence[str] = (),
        post_logout_redirect_uris: Sequence[str] = (),
    ) -> Client:
        """A new client, or the same one again with everything replaced. Raises ``InvalidInput``."""
        for field, uris in (("redirect_uris", redirect_uris), ("post_logout_redirect_uris", post_logout_redirect_uris)):
            for place, uri in enumerate(uris):
                check_redirect(uri, f"/{field}/{place}")
        if jwks is not None:
            check_jwks(jwks)
        elif not redirect_uris:
            raise InvalidInput(
                f"the client {client_id!r} has neither a key nor an address to send people back to",
                code="bad_client",
                remedy="give `jwks` for a program that speaks for itself, `redirect_uris` for one that logs people in",
            )
        _check_client_id(client_id)
        client = Client(client_id, jwks, tuple(redirect_uris), tuple(post_logout_redirect_uris))
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO clients VALUES (?, ?, ?, ?, 1) ON CONFLICT (client_id) DO UPDATE SET "
                "jwks = excluded.jwks, redirect_uris = excluded.redirect_uris, enabled = 1, "
                "post_logout_redirect_uris = excluded.post_logout_redirect_uris",
                (
                    client_id,
                    None if jwks is None else json.dumps(dict(jwks)),
                    json.dumps(list(redirect_uris)),
                    json.dumps(list(post_logout_redirect_uris)),
                ),
            )
        return client

    def client(self, client_id: str) -> Client | None:
        """The client with this id, enabled or not."""
        row = self._db.row("SELECT * FROM clients WHERE client_id = ?", (client_id,))
        if row is None:
            return None
        return Client(
            client_id=row["client_id"],
            jwks=None if row["jwks"] is None else json.loads(row["jwks"]),
            redirect_uris=tuple(json.loads(row["redirect_uris"])),
            post_logout_redirect_uris=tuple(json.loads(row["post_logout_redirect_uris"])),
            enabled=bool(row["enabled"]),
        )

    def enable_client(self, client_id: str, enabled: bool) -> None:
        """Let a client get tokens, or no longer. Raises ``NotFound``."""
        with self._db.transaction() as db:
            found = db.execute("UPDATE clients SET enabled = ? WHERE client_id = ?", (enabled, client_id)).rowcount
        if not found:
            raise NotFound(f"there is no client {client_id!r}", remedy="register it first")

    def remove_client(self, client_id: str) -> None:
        """Forget a client and its sessions; nothing if there is none."""
        with self._db.transaction() as db:
            db.execute("DELETE FROM clients WHERE client_id = ?", (client_id,))


def _check_client_id(client_id: str) -> None:
    if not client_id or not client_id.isascii() or not client_id.isprintable() or " " in client_id:
        raise InvalidInput(
            f"{client_id[:80]!r} cannot name a client",
            code="bad_client",
            field="/client_id",
            remedy="take letters, digits, - and _",
        )


def check_jwks(jwks: Mapping[str, Any]) -> None:
    """Raise ``InvalidInput`` (``bad_key``) unless ``jwks`` is ``{"keys": [...]}`` of public EC P-256 keys.

    No key at all is a client that cannot prove itself yet, which is allowed.
    """
    keys = jwks.get("keys")
    for data in keys if isinstance(keys, list) else [None]:
        try:
            key = import_key(data) if isinstance(data, dict) else None
        except (JoseError, ValueError, KeyError, TypeError):
            key = None
        if not isinstance(key, ECKey) or key.is_private or key.curve_name != "P-256":
            raise InvalidInput(
                "a client's key must be the public half of an EC P-256 key, in a JSON Web Key Set",
                code="bad_key",
                field="/jwks",
                remedy='give {"keys": [{"kty": "EC", "crv": "P-256", "x": ..., "y": ...}]}',
            )


def _person(row: sqlite3.Row) -> Person:
    return Person(
        row["sub"], row["username"], row["name"], row["email"], tuple(json.loads(row["roles"])), bool(row["enabled"])
    )
