"""A whole facility for a test: the real application on SQLite in a temporary folder, with the embedded issuer.

People, project, labs and nodes are those of the demo. Tokens are signed with the issuer's own key, so that a test can
also make the wrong ones; a node speaks by the real calls of the link.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from joserfc import jwt
from sqlalchemy import func, select

from labcommons.core.ids import JournalId, SessionId
from labcommons.facility.bootstrap import Facility, create_app, open_facility
from labcommons.facility.identity.issuer import PasswordCost
from labcommons.facility.identity.issuer.keys import load_signing_key
from labcommons.facility.seed import LABS, Seeded, seed
from labcommons.facility.services.run import invariants
from labcommons.facility.settings import ServerSettings, Settings
from labcommons.facility.storage.tables import METADATA
from labcommons.federation.wire import Answer

URL = "http://127.0.0.1:8399"
CHEAP = PasswordCost(n=1 << 4, r=1, p=1)
ARGUMENTS: dict[str, Any] = {
    "n": {"int": 9},
    "theta": {"value": "40", "unit": "deg"},
    "r": {"value": "2.1", "unit": "mm"},
    "t": {"value": "1.05", "unit": "mm"},
}


class House:
    """The facility and its application; `client` speaks HTTP with it in this process."""

    def __init__(self, facility: Facility, app: FastAPI, seeded: Seeded, home: Path) -> None:
        self.facility = facility
        self.app = app
        self.seeded = seeded
        self.home = home
        self.project = seeded.project
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=URL)
        self._keys = load_signing_key(home / "facility" / "identity" / "signing-key.pem")
        self._draws = 0

    # --- tokens -------------------------------------------------------------------------------------------------------

    def person(self, username: str) -> str:
        """The person's id."""
        with self.facility.work.read() as uow:
            row = uow.office.people.one(username=username)
        assert row is not None
        return row.id

    def sign(self, claims: dict[str, Any]) -> str:
        """A token with exactly these claims, signed as the issuer signs."""
        header = {"alg": "ES256", "typ": "JWT", "kid": self._keys.keys[0].kid}
        return jwt.encode(header, claims, self._keys, algorithms=["ES256"])

    def claims(self, username: str, **changes: Any) -> dict[str, Any]:
        """What a good token of this person says, or with `changes` (None: left out)."""
        now = int(self.facility.clock.now().timestamp())
        self._draws += 1
        found = {
            "iss": f"{URL}/oidc",
            "aud": "labcommons",
            "sub": self.person(username),
            "azp": "labcommons-cli",
            "typ": "Bearer",
            "iat": now,
            "exp": now + 300,
            "jti": f"test-{self._draws}",
            "preferred_username": username,
        } | changes
        return {name: value for name, value in found.items() if value is not None}

    def token(self, username: str, **changes: Any) -> str:
        """A token of this person."""
        return self.sign(self.claims(username, **changes))

    def node_token(self, lab: str) -> str:
        """A token of this lab's node."""
        node = self.seeded.labs[lab].node
        now = int(self.facility.clock.now().timestamp())
        self._draws += 1
        claims = {
            "iss": f"{URL}/oidc",
            "aud": "labcommons",
            "sub": node,
            "azp": node,
            "client_id": node,
            "typ": "Bearer",
        }
        return self.sign(claims | {"iat": now, "exp": now + 300, "jti": f"test-{self._draws}"})

    # --- calls --------------------------------------------------------------------------------------------------------

    async def call(
        self, method: str, path: str, who: str | None = None, *, key: str | None = "", **more: Any
    ) -> httpx.Response:
        """One call as this person; `key`: the Idempotency-Key (empty: a new one for each POST; None: none)."""
        headers = dict(more.pop("headers", {}))
        if who is not None:
            headers["Authorization"] = f"Bearer {self.token(who)}"
        if method == "POST" and key is not None:
            self._draws += 1
            headers.setdefault("Idempotency-Key", key or f"key-{self._draws}")
        return await self.client.request(method, path, headers=headers, **more)

    def submission(self, **changes: Any) -> dict[str, Any]:
        """The body of a good submit of one experiment; `arguments` are laid over the good ones."""
        arguments = ARGUMENTS | changes.pop("arguments", {})
        item = {"arguments": arguments} | changes.pop("item", {})
        return {
            "project": self.project,
            "protocol": "compression-toughness",
            "study": "A study",
            "experiments": [item],
        } | changes

    # --- labs ---------------------------------------------------------------------------------------------------------

    async def announce(self, lab: str) -> Answer:
        """Let the lab's node call for the first time, with a manifest of one press and two ready tokens."""
        content = manifest_bytes(lab)
        sha256 = hashlib.sha256(content).hexdigest()
        bearer = {"Authorization": f"Bearer {self.node_token(lab)}"}
        put = await self.client.put(f"/v1/node/objects/{sha256}", content=content, headers=bearer)
        assert put.status_code in {200, 201}, put.text
        answer = await self.client.post(
            "/v1/node/report", json=self.head(lab, sha256) | {"entries": []}, headers=bearer
        )
        assert answer.status_code == 200, answer.text
        return Answer.model_validate_json(answer.content)

    def head(self, lab: str, sha256: str, call: int = 1) -> dict[str, Any]:
        """The head of a call of this lab's node, in its first session."""
        ids = self.facility.ids
        session, journal = self._lives.setdefault(lab, (ids.mint(SessionId), ids.mint(JournalId)))
        return {
            "wire": 1,
            "speaks": [1],
            "session": session,
            "call": call,
            "journal": journal,
            "epoch": 0,
            "tokens": {"press": [1, 2]},
            "manifests": {"press": sha256},
            "health": {"press": {"state": "idle", "detail": ""}},
            "live": [],
        }

    @property
    def _lives(self) -> dict[str, tuple[SessionId, JournalId]]:
        return self.__dict__.setdefault("lives", {})  # type: ignore[no-any-return]

    # --- the books ----------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        with self.facility.engine.connect() as connection:
            return {
                name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for name, table in METADATA.tables.items()
            }


def manifest(title: str) -> dict[str, Any]:
    """A lab's word on one press."""
    quantity = {"kind": "quantity"}
    parameters = {
        "n": {"kind": "int", "min": "6", "max": "12"},
        "theta": quantity | {"unit": "deg", "min": "0", "max": "200"},
        "r": quantity | {"unit": "mm", "min": "1.5", "max": "2.5"},
        "t": quantity | {"unit": "mm", "min": "0.7", "max": "1.4"},
    }
    action = {
        "driver_action": "crush",
        "parameters": parameters,
        "outputs": {"toughness": quantity | {"unit": "J"}},
        "duration": {"expected_ms": "480000", "maximum_ms": "720000"},
    }
    press = {
        "name": "press",
        "type": "barrel-press",
        "simulated": True,
        "capacity": 1,
        "remembers_attempts": True,
        "can_void": True,
        "on_disconnect": "continue",
        "pidinst": {"name": "Test press"},
        "calibration": None,
        "offers": [{"capability": "compression.test@1", "actions": {"crush": action}}],
    }
    lab = {"name": title, "time_zone": "Europe/Lisbon", "ror": None}
    return {"manifest": 1, "lab": lab, "time_scale": "240", "instruments": [press]}


def manifest_bytes(lab: str) -> bytes:
    """The manifest of this demo lab, as it crosses."""
    title = next(one for one in LABS if one.name == lab).title
    return json.dumps(manifest(title), sort_keys=True, separators=(",", ":")).encode()


@contextmanager
def house(home: Path, **settings: Any) -> Iterator[House]:
    """Build a house in `home`; `settings` go to the settings tree."""
    tree = Settings(home=home, server=ServerSettings(port=8399), **settings)
    facility = open_facility(tree, cost=CHEAP)
    try:
        keys = {lab.name: home / "labs" / lab.name / "node-key.pem" for lab in LABS}
        seeded = seed(facility, home / "people.json", keys, time_scale="240")
        yield House(facility, create_app(facility), seeded, home)
        with facility.work.read() as uow:
            found = invariants.broken(uow)
        assert not found, "\n".join(found)
    finally:
        facility.close()


def soon(facility: Facility, seconds: float) -> int:
    """A time that many seconds from now, as tokens write it."""
    return int((facility.clock.now() + timedelta(seconds=seconds)).timestamp())
