"""A facility without HTTP on a real SQLite file, with a clock that tests move, and a node double on its link.

The double speaks ``federation.wire``: every message goes through JSON, as it would on the wire.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from labcommons.core.ids import AllocationId, JournalId, LabId, NodeId, PersonId, ProjectId, SessionId
from labcommons.core.times import to_text
from labcommons.facility import ports
from labcommons.facility.bus.memory import MemoryBus
from labcommons.facility.entropy import RandomIds
from labcommons.facility.services.lab import node_link
from labcommons.facility.services.run import experiments, invariants, protocols
from labcommons.facility.services.run.submission import SubmitAnswer
from labcommons.facility.services.transact import transact
from labcommons.facility.storage.engine import make_engine
from labcommons.facility.storage.migrate import migrate
from labcommons.facility.storage.objects import FolderObjects
from labcommons.facility.storage.work import SqlWork
from labcommons.facility.workers.dispatcher import Dispatcher
from labcommons.federation.chain import GENESIS, entry_hash
from labcommons.federation.wire import Answer, Entry, EntryKind, Grant, NextCall, ReportCall
from labcommons.protocols.canonical import canonical
from labcommons.protocols.library import load_library
from labcommons.scheduler.allocation import ledger
from labcommons.scheduler.authority import Principal

K = TypeVar("K")
START = datetime(2026, 10, 1, 9, tzinfo=UTC)
TYPE = "barrel-press"


class MovableClock:
    """A clock that stands until a test moves it."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return (self.at - START).total_seconds()

    def pass_ms(self, ms: int) -> None:
        self.at += timedelta(milliseconds=ms)


def press_manifest(name: str = "press", *, time_scale: str = "60", **more: Any) -> dict[str, Any]:
    """A manifest with presses that crush barrels: 60 s of lab time expected, 120 s at most."""
    offer = {
        "capability": "compression.test@1",
        "actions": {"crush": {"duration": {"expected_ms": "60000", "maximum_ms": "120000"}}},
    }
    press = {
        "name": name,
        "type": TYPE,
        "simulated": True,
        "remembers_attempts": True,
        "can_void": True,
        "on_disconnect": "continue",
        "offers": [offer],
        "calibration": {"id": "cal-1"},
    }
    return {
        "manifest": 1,
        "lab": {"name": "Lab", "time_zone": "Europe/Lisbon", "ror": None},
        "time_scale": time_scale,
        "instruments": [press | more],
    }


@cache
def _migrated() -> bytes:
    """A migrated database, made once: migrating takes longer than most tests."""
    with TemporaryDirectory() as folder:
        engine = make_engine(f"sqlite:///{folder}/facility.sqlite")
        migrate(engine)
        engine.dispose()
        return (Path(folder) / "facility.sqlite").read_bytes()


class Books:
    """A facility's storage and services, without HTTP and without running workers."""

    def __init__(self, folder: Path, clock: MovableClock | None = None) -> None:
        self.folder = folder
        self.clock = clock or MovableClock()
        self.ids = RandomIds(self.clock)
        self.bus = MemoryBus()
        file = folder / "facility.sqlite"
        if not file.exists():
            file.write_bytes(_migrated())
        self.engine = make_engine(f"sqlite:///{file}")
        self.objects = FolderObjects(folder / "objects")
        self.work = SqlWork(self.engine, self.clock, self.ids, self.objects, self.bus)
        self.dispatcher = Dispatcher(self.bus, self.work)

    def restarted(self) -> Books:
        """The same files, opened by a new facility; the old one is gone."""
        self.engine.dispose()
        return Books(self.folder, self.clock)

    def close(self) -> None:
        """Judge the books and let the files go."""
        with self.work.read() as uow:
            found = invariants.broken(uow)
        self.engine.dispose()
        assert not found, "\n".join(found)

    # --- people and labs ---

    def person(self, username: str) -> PersonId:
        row = ports.PersonRow(self.ids.mint(PersonId), username, username.title(), self.clock.now())
        with self.work.write() as uow:
            uow.office.people.add(row)
            uow.commit()
        return row.id

    def project(self, name: str, *, granted_ms: int | None = 3_600_000, instrument_type: str = TYPE) -> Member:
        """A project with one PI and, unless ``None``, an allocation."""
        person = self.person(f"pi-of-{name}")
        with self.work.write() as uow:
            project = ports.ProjectRow(uow.ids.mint(ProjectId), name, name.title(), uow.now)
            uow.office.projects.add(project)
            uow.office.members.add(ports.MemberRow(project.id, person, "pi", uow.now))
            uow.commit()
        if granted_ms is not None:
            self.grant(project.id, granted_ms, instrument_type)
        return Member(self, Principal(person=person, projects={project.id: "pi"}), project.id)

    def grant(self, project: ProjectId, granted_ms: int, instrument_type: str = TYPE) -> AllocationId:
        """An open allocation."""
        with self.work.write() as uow:
            start, end = uow.now - timedelta(days=1), uow.now + timedelta(days=30)
            row = ports.AllocationRow(uow.ids.mint(AllocationId), project, instrument_type, start, end, uow.now)
            uow.office.allocations.add(row)
            entry = ledger.grant(row.id, instrument_type, granted_ms, at=uow.now, actor="staff")
            uow.office.ledger.add(ports.LedgerRow(**{**vars(entry), "kind": str(entry.kind)}))
            uow.commit()
        return row.id

    def lab(self, name: str, manifest: dict[str, Any] | None = None) -> NodeDouble:
        """A lab with its node."""
        with self.work.write() as uow:
            lab = ports.LabRow(uow.ids.mint(LabId), name, name.title(), "UTC", uow.now)
            node = ports.NodeRow(uow.ids.mint(NodeId), lab.id, uow.now)
            uow.lab.labs.add(lab)
            uow.lab.nodes.add(node)
            uow.commit()
        return NodeDouble(self, node.id, lab.id, manifest or press_manifest())

    def library(self) -> None:
        """Store the shipped protocols."""
        with self.work.write() as uow:
            for protocol in load_library().values():
                protocols.store(uow, "staff", protocol.document)
            uow.commit()

    def dispatch(self) -> int:
        return self.dispatcher.dispatch()

    def attempt(self, attempt: str) -> ports.AttemptRow:
        with self.work.read() as uow:
            row = uow.run.attempts.get(attempt)
        assert row is not None
        return row

    def experiment(self, experiment: str) -> dict[str, Any]:
        with self.work.read() as uow:
            return experiments.show(uow, experiments.get(uow, experiment))

    def balance(self, allocation: str) -> tuple[int, int]:
        """What is available and what is held, in ms."""
        accounts = [ledger.alloc(allocation), ledger.held(allocation)]
        with self.work.read() as uow:
            found = uow.office.balances(accounts)
        return found[accounts[0]], found[accounts[1]]

    def audited(self, action: str) -> list[ports.AuditRow]:
        with self.work.read() as uow:
            return uow.run.audit.find(action=action)


class Member:
    """A person in a project."""

    def __init__(self, books: Books, principal: Principal, project: ProjectId) -> None:
        self.books = books
        self.principal = principal
        self.project = project

    def body(self, n: int = 1, **changes: Any) -> dict[str, Any]:
        """A submit body of ``n`` experiments; ``changes`` go into every item."""
        arguments = {
            "n": {"int": 8},
            "theta": {"value": "40", "unit": "deg"},
            "r": {"value": "2.1", "unit": "mm"},
            "t": {"value": "1.05", "unit": "mm"},
        }
        item = {"arguments": arguments, "labs": [], "types": [], "priority": 0, "label": None, **changes}
        return {
            "project": self.project,
            "protocol": "compression-toughness",
            "study": "barrels",
            "experiments": [item for _ in range(n)],
        }

    def submit(self, n: int = 1, *, key: str | None = None, **changes: Any) -> SubmitAnswer:
        body = self.body(n, **changes)
        return transact(self.books.work, lambda uow: experiments.submit(uow, self.principal, body, key))

    def cancel(self, experiment: str, mode: str = "safe_point") -> str:
        def act(uow: ports.UnitOfWork) -> str:
            return experiments.cancel(uow, self.principal, experiments.get(uow, experiment), mode).state

        return transact(self.books.work, act)


class NodeDouble:
    """A node's agent: a journal with its chain, ready tokens, and the two lanes."""

    def __init__(self, books: Books, node: NodeId, lab: LabId, manifest: dict[str, Any]) -> None:
        self.books = books
        self.node = node
        self.lab = lab
        self.manifest = canonical(manifest)
        self.manifest_hash = hashlib.sha256(self.manifest).hexdigest()
        self.names = [one["name"] for one in manifest["instruments"]]
        self.journal = books.ids.mint(JournalId)
        self.entries: list[Entry] = []
        self.cursor = 0
        self.epoch = 1
        self.calls = 0
        self.health = {name: {"state": "idle", "detail": ""} for name in self.names}
        self.live: list[dict[str, Any]] = []
        self.start()

    def start(self) -> None:
        """A new life of the agent on the same journal."""
        self.session = self.books.ids.mint(SessionId)
        self.calls = 0
        self.tokens: dict[str, list[int]] = {name: [] for name in self.names}
        self.given = dict.fromkeys(self.names, 0)
        detail = {"node": self.node, "versions": {"labcommons-node": "0.1.0"}, "ray_cluster": "ray-1"}
        self.write(EntryKind.SESSION, None, **detail)

    def lose_journal(self) -> None:
        """The journal file is gone; a new one is born."""
        self.journal, self.entries, self.cursor = self.books.ids.mint(JournalId), [], 0
        self.start()

    # --- journal ---

    def write(self, kind: EntryKind, attempt: str | None, **detail: Any) -> Entry:
        """Append an entry."""
        previous = self.entries[-1].hash if self.entries else GENESIS
        plain = Entry(
            seq=len(self.entries) + 1,
            at=to_text(self.books.clock.now()),
            kind=kind,
            attempt=attempt,
            session=self.session,
            detail=detail,
            previous=previous,
            hash=GENESIS,
        )
        entry = plain.model_copy(update={"hash": entry_hash(self.journal, plain)})
        self.entries.append(entry)
        return entry

    # --- messages ---

    def ready(self, name: str | None = None, n: int = 1) -> None:
        """Give ``n`` ready tokens more for an instrument."""
        name = name or self.names[0]
        for _ in range(n):
            self.given[name] += 1
            self.tokens[name].append(self.given[name])

    def head(self) -> dict[str, Any]:
        self.calls += 1
        return {
            "wire": 1,
            "speaks": [1],
            "session": self.session,
            "call": self.calls,
            "journal": self.journal,
            "epoch": self.epoch,
            "tokens": self.tokens,
            "manifests": dict.fromkeys(self.names, self.manifest_hash),
            "health": self.health,
            "live": self.live,
        }

    def report_call(self, entries: Iterable[Entry] | None = None) -> ReportCall:
        """The message, through JSON. ``entries``: by default all past the cursor that was acknowledged."""
        sent = self.entries[self.cursor :] if entries is None else list(entries)
        body = {**self.head(), "entries": [entry.model_dump(mode="json") for entry in sent]}
        return ReportCall.model_validate(json.loads(json.dumps(body)))

    def next_call(self) -> NextCall:
        return NextCall.model_validate(json.loads(json.dumps({**self.head(), "wait_ms": 0})))

    def deliver(self, call: ReportCall) -> Answer:
        """The facility gets a report; its answer may still be lost."""
        return transact(self.books.work, lambda uow: node_link.report(uow, self.node, call))

    def report(self, entries: Iterable[Entry] | None = None) -> Answer:
        """Report and take the answer."""
        return self.take(self.deliver(self.report_call(entries)))

    def take(self, answer: Answer) -> Answer:
        """Read an answer: the cursor; what is stored is written down as UPLOADED."""
        parsed = Answer.model_validate(json.loads(answer.model_dump_json()))
        if parsed.cursor.journal == self.journal:
            self.cursor = parsed.cursor.seq
        known = {entry.attempt for entry in self.entries if entry.kind is EntryKind.UPLOADED}
        for attempt in parsed.stored:
            if attempt not in known and any(e.attempt == attempt for e in self.entries):
                self.write(EntryKind.UPLOADED, attempt)
        return parsed

    def next(self, call: NextCall | None = None) -> Answer | None:
        """What there is to do now, ``None`` if the call would be held."""
        message = call or self.next_call()
        answer = transact(self.books.work, lambda uow: node_link.next_answer(uow, self.node, message))
        return None if answer is None else self.take(answer)

    def put(self, data: bytes) -> str:
        """Upload bytes."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.books.objects.put(sha256, [data])
        transact(self.books.work, lambda uow: node_link.put_object(uow, self.node, sha256))
        return sha256

    def hello(self, tokens: int = 1) -> None:
        """Send the manifest and report for the first time, with ready tokens for every instrument."""
        self.put(self.manifest)
        for name in self.names:
            self.ready(name, tokens)
        self.report()

    # --- work ---

    def grants(self) -> list[Grant]:
        """Grants that are sent now and whose attempt the journal does not know."""
        answer = self.next()
        known = {entry.attempt for entry in self.entries}
        return [] if answer is None else [grant for grant in answer.grants if grant.attempt not in known]

    def receive(self, grant: Grant) -> None:
        """Journal RECEIVED and consume the token."""
        self.tokens[grant.instrument] = [n for n in self.tokens[grant.instrument] if n != grant.token]
        self.write(EntryKind.RECEIVED, grant.attempt, grant=grant.model_dump(mode="json"))

    def begin(self, grant: Grant) -> None:
        """RECEIVED, INTENT, STARTED."""
        self.receive(grant)
        self.write(EntryKind.INTENT, grant.attempt)
        self.write(EntryKind.STARTED, grant.attempt)

    def finish(self, attempt: str, outcome: str = "done", *, used_ms: int | None = 900, **more: Any) -> Entry:
        """RESULT."""
        outputs = {"toughness": {"value": "12.5", "unit": "J", "u": "0.4"}} if outcome == "done" else {}
        detail = {"outcome": outcome, "outputs": outputs, "objects": [], "used_ms": used_ms, **more}
        return self.write(EntryKind.RESULT, attempt, **detail)

    def perform(self, grant: Grant, *, wall_ms: int = 1000, used_ms: int | None = 900, **more: Any) -> Answer:
        """Run a grant from RECEIVED to RESULT, reporting as a node does."""
        self.begin(grant)
        self.report()
        self.books.clock.pass_ms(wall_ms)
        self.finish(grant.attempt, used_ms=used_ms, **more)
        return self.report()


def random_bytes(n: int = 4096) -> bytes:
    """Bytes that no other test has."""
    return os.urandom(n)
