"""A lab's node driven by hand: it keeps a chained journal and makes the real calls of the link, one at a time."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx

from integration.api.house import House, manifest_bytes
from labcommons.core import times
from labcommons.facility.workers.dispatcher import Dispatcher
from labcommons.federation.chain import GENESIS, entry_hash
from labcommons.federation.wire import Answer, Entry, Grant


class HandNode:
    """The node of one lab, with one press."""

    def __init__(self, house: House, lab: str) -> None:
        self.house = house
        self.lab = lab
        self.node = house.seeded.labs[lab].node
        self.manifest = hashlib.sha256(manifest_bytes(lab)).hexdigest()
        self.calls = 0
        self.entries: list[Entry] = []
        self.tokens = [1, 2]
        self.epoch = 0
        self.sent = 0

    def head(self) -> dict[str, Any]:
        """The next call's head."""
        self.calls += 1
        head = self.house.head(self.lab, self.manifest, call=self.calls)
        return head | {"tokens": {"press": self.tokens}, "epoch": self.epoch}

    def write(self, kind: str, attempt: str | None = None, **detail: Any) -> Entry:
        """Add an entry to the journal."""
        head = self.house.head(self.lab, self.manifest)
        bare = Entry(
            seq=len(self.entries) + 1,
            at=times.to_text(self.house.facility.clock.now()),
            kind=kind,  # type: ignore[arg-type]
            attempt=attempt,
            session=head["session"],
            detail=detail,
            previous=self.entries[-1].hash if self.entries else GENESIS,
            hash=GENESIS,
        )
        self.entries.append(bare.model_copy(update={"hash": entry_hash(head["journal"], bare)}))
        return self.entries[-1]

    async def post(self, lane: str, **more: Any) -> httpx.Response:
        """One call; `more` goes beside the head."""
        bearer = {"Authorization": f"Bearer {self.house.node_token(self.lab)}"}
        return await self.house.client.post(f"/v1/node/{lane}", json=self.head() | more, headers=bearer)

    async def report(self) -> Answer:
        """Send what was written since the last report."""
        entries = [entry.model_dump(mode="json") for entry in self.entries[self.sent :]]
        answer = await self.post("report", entries=entries)
        assert answer.status_code == 200, answer.text
        self.sent = len(self.entries)
        return Answer.model_validate_json(answer.content)

    async def next(self, wait_ms: int = 0) -> Answer:
        """Ask what to do."""
        answer = await self.post("next", wait_ms=wait_ms)
        assert answer.status_code == 200, answer.text
        return Answer.model_validate_json(answer.content)

    async def put(self, content: bytes, sha256: str | None = None) -> httpx.Response:
        """Send bytes, under their own hash unless told otherwise."""
        name = sha256 or hashlib.sha256(content).hexdigest()
        bearer = {"Authorization": f"Bearer {self.house.node_token(self.lab)}"}
        return await self.house.client.put(f"/v1/node/objects/{name}", content=content, headers=bearer)

    async def arrive(self) -> None:
        """Be there: manifest, session, epoch."""
        assert (await self.put(manifest_bytes(self.lab))).status_code == 201
        self.write("SESSION", node=self.node, versions={}, ray_cluster="cluster-1")
        answer = await self.report()
        self.epoch = answer.epoch
        self.write("EPOCH", epoch=answer.epoch)
        await self.report()

    async def granted(self) -> Grant:
        """Let the dispatcher decide once, and fetch the grant."""
        Dispatcher(self.house.facility.bus, self.house.facility.work).dispatch()
        (grant,) = (await self.next()).grants
        return grant

    async def perform(self, grant: Grant, content: bytes) -> None:
        """Take the grant, run it, report its result and send its bytes."""
        self.tokens = [number for number in self.tokens if number != grant.token]
        for kind in ("RECEIVED", "INTENT", "STARTED"):
            self.write(kind, grant.attempt)
        await self.report()
        named = {
            "name": "curve/übung.csv",
            "media_type": "text/csv",
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        outputs = {"toughness": {"value": "12.5", "unit": "J", "u": "0.4"}}
        self.write("RESULT", grant.attempt, outcome="done", outputs=outputs, objects=[named], used_ms=2_000)
        await self.report()
        assert (await self.put(content)).status_code == 201
