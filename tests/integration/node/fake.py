"""A facility of a hundred lines that speaks the wire and nothing else, and a lab around the real agent.

The fake holds what it was told, re-sends what is not answered, and can be made to misbehave; it decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from labcommons.core.ids import AttemptId, ExperimentId, LabId, NodeId, ProjectId, StepId
from labcommons.federation.chain import GENESIS, first_break
from labcommons.federation.wire import Entry, NextCall, ReportCall
from labcommons.node.clock import mint
from support.keys import write_key
from witness.fixtures import CRUSH, WitnessProcess

PATIENCE_S = 30.0


async def until(what: Callable[[], Any], patience: float = PATIENCE_S) -> Any:
    """Wait until ``what`` gives something true, and return it."""
    deadline = time.monotonic() + patience
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {patience} s"
        await asyncio.sleep(0.01)


@dataclass
class FakeFacility:
    """What a facility keeps of one node."""

    epoch: int = 1
    entries: list[Entry] = field(default_factory=list)
    journal: str = ""
    heads: list[ReportCall | NextCall] = field(default_factory=list)
    grants: dict[str, dict[str, Any]] = field(default_factory=dict)
    stops: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    spoil: dict[str, list[bytes]] = field(default_factory=lambda: {"report": [], "next": []})
    deaf: bool = False
    manifest_missing: int = 0
    tokens_given: int = 0
    unauthorized: int = 0
    no_objects: bool = False
    forget_objects: int = 0
    assertions: list[str] = field(default_factory=list)
    used_tokens: set[tuple[str, str, int]] = field(default_factory=set)
    fence: int = 0
    port: int = 0
    closing: bool = False

    def __post_init__(self) -> None:
        self.news = asyncio.Event()
        self.links: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def head(self) -> ReportCall | NextCall | None:
        """The newest one."""
        return max(self.heads, key=lambda head: (head.session, head.call), default=None)

    def kinds(self, attempt: str) -> list[str]:
        """What the journal says of an attempt."""
        return [entry.kind.value for entry in self.entries if entry.attempt == attempt]

    def last(self, attempt: str) -> Entry:
        return [entry for entry in self.entries if entry.attempt == attempt][-1]

    def detail(self, attempt: str, kind: str) -> dict[str, Any]:
        return next(dict(e.detail) for e in self.entries if e.attempt == attempt and e.kind.value == kind)

    def free_token(self, instrument: str) -> int | None:
        head = self.head
        if head is None:
            return None
        given = head.tokens.get(instrument, [])
        return next((n for n in given if (head.session, instrument, n) not in self.used_tokens), None)

    async def grant(self, instrument: str = "press", **over: Any) -> str:
        """Grant one attempt when the instrument has a token; returns its id."""
        token = await until(lambda: self.free_token(instrument))
        head = self.head
        assert head is not None
        self.used_tokens.add((head.session, instrument, token))
        self.fence += 1
        document = {
            "attempt": mint(AttemptId),
            "experiment": mint(ExperimentId),
            "step": mint(StepId),
            "project": mint(ProjectId),
            "protocol": "sha256:" + "0" * 64,
            "protocol_id": "compression-toughness",
            "instrument": instrument,
            "manifest": head.manifests[instrument],
            "action": "crush",
            "arguments": CRUSH,
            "expected_ms": 480_000,
            "maximum_ms": 720_000,
            "timeout_ms": 720_000,
            "session": head.session,
            "journal": head.journal,
            "epoch": self.epoch,
            "fence": self.fence,
            "token": token,
            **over,
        }
        self.grants[document["attempt"]] = document
        self.news.set()
        return str(document["attempt"])

    def stop(self, attempt: str, mode: str = "safe_point") -> None:
        self.stops[attempt] = mode
        self.news.set()

    # --- the wire -------------------------------------------------------------------------------------------------

    def answer(self, *, work: bool) -> dict[str, Any]:
        answered = {entry.attempt for entry in self.entries if entry.attempt}
        ended = {e.attempt for e in self.entries if e.kind.value in ("RESULT", "TOMBSTONE", "BARRED", "UNKNOWN")}
        results = {e.attempt: e for e in self.entries if e.kind.value == "RESULT"}
        uploaded = {e.attempt for e in self.entries if e.kind.value == "UPLOADED"}
        stored = [
            attempt
            for attempt, entry in results.items()
            if attempt not in uploaded and all(o["sha256"] in self.objects for o in _objects(entry))
        ]
        last = self.entries[-1] if self.entries else None
        return {
            "wire": 1,
            "epoch": self.epoch,
            "cursor": {
                "journal": self.journal,
                "seq": last.seq if last else 0,
                "hash": last.hash if last else GENESIS,
            },
            "stored": stored,
            "stops": [{"attempt": a, "mode": m} for a, m in self.stops.items() if a not in ended] if work else [],
            "grants": [g for a, g in self.grants.items() if a not in answered] if work else [],
            "a_field_of_tomorrow": True,
        }

    def report(self, call: ReportCall) -> dict[str, Any]:
        self.heads.append(call)
        if not self.journal:
            self.journal = call.journal
        if not self.deaf:
            known = len(self.entries)
            fresh = [entry for entry in call.entries if entry.seq > known]
            if fresh:
                previous = self.entries[-1].hash if self.entries else GENESIS
                broken = first_break(call.journal, fresh, seq=known, previous=previous)
                assert broken is None, broken
                self.entries += fresh
                self.news.set()
        return self.answer(work=False)

    async def next(self, call: NextCall) -> dict[str, Any]:
        self.heads.append(call)
        if not self.journal:
            self.journal = call.journal
        deadline = time.monotonic() + call.wait_ms / 1000
        while time.monotonic() < deadline and not self.closing:
            answer = self.answer(work=True)
            if answer["stops"] or answer["grants"] or answer["stored"]:
                return answer
            self.news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self.news.wait()
        return self.answer(work=True)

    async def handle(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if path == "/oidc/.well-known/openid-configuration":
            about = {"issuer": f"{self.url}/oidc", "token_endpoint": f"{self.url}/oidc/token"}
            return 200, json.dumps(about).encode()
        if path == "/oidc/token":
            self.assertions.append(body.decode())
            self.tokens_given += 1
            return 200, json.dumps({"access_token": f"token-{self.tokens_given}", "expires_in": 300}).encode()
        if headers.get("authorization") != f"Bearer token-{self.tokens_given}" or self.unauthorized > 0:
            self.unauthorized = max(0, self.unauthorized - 1)
            return 401, b'{"type": "token_expired", "detail": "it has ended"}'
        if method == "PUT" and path.startswith("/v1/node/objects/"):
            sha256 = path.rsplit("/", 1)[1]
            if self.no_objects:
                return 503, b'{"type": "unavailable", "detail": "no room"}'
            if hashlib.sha256(body).hexdigest() != sha256:
                return 422, b'{"type": "hash_mismatch"}'
            if self.forget_objects:
                self.forget_objects -= 1
                return 201, b"{}"
            self.objects[sha256] = body
            self.news.set()
            return 201, b"{}"
        lane = path.rsplit("/", 1)[1]
        if self.spoil[lane]:
            return 200, self.spoil[lane].pop(0)
        call = (ReportCall if lane == "report" else NextCall).model_validate_json(body)
        if self.manifest_missing and set(call.manifests.values()) - set(self.objects):
            self.manifest_missing -= 1
            return 409, b'{"type": "manifest_missing", "detail": "upload it"}'
        answer = self.report(call) if isinstance(call, ReportCall) else await self.next(call)
        return 200, json.dumps(answer).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.links.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path, _ = head.split(" ", 2)
                pairs = [line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line]
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                status, answer = await self.handle(method, path, headers, body)
                writer.write(
                    f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n"
                    f"content-length: {len(answer)}\r\n\r\n".encode()
                    + answer
                )
                await writer.drain()
        self.links.discard(writer)
        writer.close()


def _objects(entry: Entry) -> list[dict[str, Any]]:
    found = entry.detail.get("objects")
    return [o for o in found if isinstance(o, dict)] if isinstance(found, list) else []


@contextlib.asynccontextmanager
async def facility() -> AsyncIterator[FakeFacility]:
    """A fake facility on a free port of loopback."""
    fake = FakeFacility()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        fake.closing = True
        for writer in list(fake.links):
            writer.transport.abort()
        fake.news.set()
        await asyncio.sleep(0)
        await until(lambda: not fake.links)


@dataclass
class Lab:
    """A lab's folder with its node.yaml; ``start`` runs the real agent in a process of its own."""

    folder: Path
    url: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.folder / "node.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def write(self, witness: WitnessProcess, *, runtime: str = "inprocess", **over: Any) -> None:
        press = {
            "type": "barrel-press",
            "driver": "line",
            "address": witness.address,
            "shared_folder": str(witness.folder),
            "offers": [{"capability": "compression.test@1"}],
        }
        document = {
            "node": 1,
            "lab": {"name": "Test lab", "time_zone": "Europe/Lisbon", "ror": None},
            "facility": {"url": self.url},
            "runtime": runtime,
            "time_scale": "1",
            "instruments": {"press": {**press, **over.pop("press", {})}},
            "allow": [{"protocol": "*", "projects": "any"}],
            **over,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(yaml.safe_dump(document))
        if not (self.state / "identity.json").exists():
            node, lab = mint(NodeId), mint(LabId)
            write_key(self.state / "node-key.pem")
            (self.state / "identity.json").write_text(json.dumps({"client_id": node, "node": node, "lab": lab}))

    def start(self) -> None:
        """The agent, as an operator would start it."""
        run = "import sys; from labcommons.node.cli import main; main()"
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", run, "run", "--config", str(self.config), "--log-level", "debug"],
                stderr=log,
                stdout=subprocess.DEVNULL,
            )

    def kill(self) -> None:
        """SIGKILL, at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def end(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self.process = None
        return code

    def log(self) -> str:
        return (self.folder / "agent.log").read_text()


@contextlib.contextmanager
def lab(folder: Path, url: str) -> Iterator[Lab]:
    """A lab whose agent is gone at the end of the block."""
    found = Lab(folder, url)
    try:
        yield found
    finally:
        if found.process is not None:
            found.process.kill()
            found.process.wait(10)
        if os.environ.get("SHOW_AGENT_LOG") and (folder / "agent.log").exists():
            print(found.log())
