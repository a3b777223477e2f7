"""One session: benches, link and uploads over one runtime, from the SESSION entry to the end of the agent's life."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from labcommons.core.errors import LabCommonsError
from labcommons.core.times import to_text
from labcommons.federation.wire import Answer, Entry, EntryKind, Grant, Health, Live, ObjectRef, ResultDetail, Stop
from labcommons.node.agent.bench import Bench
from labcommons.node.agent.local import StateFolder
from labcommons.node.agent.runs import Run
from labcommons.node.agent.services import Limits, Services
from labcommons.node.decisions import Close, Known, Standing, answer_stop, judge
from labcommons.node.drivers.contract import Description, InstrumentLost
from labcommons.node.journal import Draft, IllegalEntry, JournalReader, JournalUnavailable, JournalWriter
from labcommons.node.lines import Lines
from labcommons.node.link import BytesMissing, Caller, Link, ObjectFolder, Present, Uploads
from labcommons.node.runtime.port import Instrument, Runtime, RuntimeFailed
from labcommons.node.safety import AllowRule, allowed, prepare

__all__ = ["Plan", "RuntimeGone", "Session"]

_LOCAL_LOOK_S = 0.5
_STATUS_S = 1.0


class RuntimeGone(Exception):
    """The place where the instruments live is gone: this session ends, and a new one begins on a new place."""


@dataclass(frozen=True)
class Plan:
    """What the agent needs of the lab's settings.

    ``instruments``: name -> (driver, its options); ``manifest``: an instrument's entry in the manifest and the bytes
    of the whole document, from what it describes (raises ``InvalidInput`` with the setting that is wrong).
    """

    node: str
    lab: str
    zone: str
    time_scale: float
    rules: tuple[AllowRule, ...]
    instruments: Mapping[str, tuple[str, Mapping[str, Any]]]
    manifest: Callable[[str, Description], tuple[Mapping[str, Any], bytes]]


class Session:
    """``run`` works until cancelled, or until ``RuntimeGone``."""

    def __init__(
        self,
        session: str,
        plan: Plan,
        state: StateFolder,
        runtime: Runtime,
        books: JournalWriter,
        reader: JournalReader,
        caller: Caller,
        uploads: Caller,
        lines: Lines,
        now: Callable[[], datetime],
        limits: Limits,
    ) -> None:
        self.session, self.plan, self.state, self.runtime = session, plan, state, runtime
        self.books, self.reader, self.lines, self.now = books, reader, lines, now
        self.objects = ObjectFolder(state.objects)
        self.link = Link(caller, books, reader, session, self.present, self.take, self._manifest_file, lines)
        self.uploads = Uploads(uploads, self.objects, lines)
        self.services = self._services(limits)
        self.benches = {name: Bench(name, self._opener(name), self.services) for name in plan.instruments}
        self._manifests: dict[str, str] = {}
        self._epoch = reader.epoch()
        self._epoch_gate = asyncio.Lock()
        self._pending: set[str] = set()
        self._unstored: dict[str, asyncio.Event] = {}
        self._stops: set[tuple[str, str]] = set()
        self._tasks: asyncio.TaskGroup | None = None

    def _services(self, limits: Limits) -> Services:
        return Services(
            books=self.books,
            objects=self.objects,
            lines=self.lines,
            limits=limits,
            time_scale=self.plan.time_scale,
            acknowledged=self.link.acknowledged,
            silent_s=self.link.silent_s,
            kick=self.link.kick,
            local=self.state.local,
            result_kept=self._result_kept,
            described=self._described,
            check_runtime=self._check_runtime,
        )

    # --- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. Raises ``RuntimeGone`` (in an exception group)."""
        self.books.on_append = self.link.kick
        for bench in self.benches.values():
            bench.fence = self.reader.fence(bench.name)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._adopt(self.reader.open_attempts())
            for bench in self.benches.values():
                tasks.create_task(bench.work())
            tasks.create_task(self.link.run())
            tasks.create_task(self._watch_local())
            tasks.create_task(self._tell())

    async def drain(self, patience_s: float = 2.0) -> None:
        """Before a wished end: close what has not started, and give the facility a moment to hear it."""
        for bench in self.benches.values():
            bench.drain()
        try:
            async with asyncio.timeout(patience_s):
                await self.books.flushed()
                await self.link.acknowledged(self.books.last.seq)
        except TimeoutError:
            pass

    def _adopt(self, found: Sequence[tuple[str, tuple[EntryKind, ...]]]) -> None:
        """Give what an earlier life left open to the benches; they ask the instruments."""
        for attempt, history in found:
            grant = self.reader.grant(attempt)
            name = grant.instrument if grant is not None else ""
            run = Run(attempt, name, grant, list(history), recovered=True)
            if EntryKind.RESULT in history:
                self._result_kept(attempt, self._objects_of(attempt))
            bench = self.benches.get(name)
            if bench is not None:
                bench.runs[attempt] = run
            elif not run.closed and run.last is not EntryKind.UNKNOWN:
                text = f"the instrument {name!r} is no longer among this node's"
                self._close(attempt, Close(EntryKind.UNKNOWN, "instrument_forgot", text))

    def _objects_of(self, attempt: str) -> list[ObjectRef]:
        results = [entry for entry in self.reader.story(attempt) if entry.kind is EntryKind.RESULT]
        return ResultDetail.model_validate(results[-1].detail).objects

    def _opener(self, name: str) -> Callable[[], Any]:
        driver, options = self.plan.instruments[name]

        async def open_instrument() -> Instrument:
            try:
                return await self.runtime.open(name, driver, options)
            except (ValueError, LookupError, RuntimeFailed) as error:
                # A wrong setting is told as the instrument's state; the others work on.
                raise InstrumentLost(f"{name} cannot be opened: {error}", sent=False) from error

        return open_instrument

    def _described(self, name: str, description: Description) -> Mapping[str, Any]:
        try:
            entry, document = self.plan.manifest(name, description)
        except LabCommonsError as error:
            text = f"no manifest for {name}: {error.detail} ({error.field}): {error.remedy}"
            raise InstrumentLost(text, sent=False) from error
        sha256 = hashlib.sha256(document).hexdigest()
        target = self._manifest_file(sha256)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            building = target.with_suffix(".new")
            building.write_bytes(document)
            building.rename(target)
        self._manifests[name] = sha256
        self.link.kick()
        return entry

    def _manifest_file(self, sha256: str) -> Path:
        return self.state.manifests / sha256

    async def _check_runtime(self) -> None:
        if not await self.runtime.alive():
            raise RuntimeGone("the runtime of the instruments is gone")

    # --- what is told ---------------------------------------------------------------------------------------------

    def present(self) -> Present:
        """The node as it is now, for the head of a call."""
        live = [
            Live(attempt=run.attempt, phase=run.phase, fraction=run.fraction)
            for bench in self.benches.values()
            for run in bench.runs.values()
            if run.last is EntryKind.STARTED and run.phase
        ]
        return Present(
            epoch=self._epoch,
            tokens={name: bench.ready_tokens() for name, bench in self.benches.items()},
            manifests=dict(self._manifests),
            health={name: self._health(bench) for name, bench in self.benches.items()},
            live=live[:1024],
        )

    def _health(self, bench: Bench) -> Health:
        local = self.state.local()
        if local:
            return Health(state="local", detail=local[:500])
        running = bench.current is not None and bench.current.last is EntryKind.STARTED
        if running and bench.health.state == "idle":
            return Health(state="busy", detail=bench.health.detail)
        return bench.health

    async def _tell(self) -> None:
        told: dict[str, Any] = {}
        while True:
            status = self._status()
            if status != told:
                told = status
                self.state.tell({**status, "at": to_text(self.now())})
            await asyncio.sleep(_STATUS_S)

    def _status(self) -> dict[str, Any]:
        return {
            "session": self.session,
            "ray_cluster": self.runtime.cluster_id,
            "facility": {"reached": self.link.reached, "trouble": self.link.trouble},
            "journal_trouble": self.books.broken,
            "instruments": {
                name: {
                    **self._health(bench).model_dump(),
                    "running": bench.current.attempt if bench.current is not None else None,
                    "waiting": len(bench.queue),
                }
                for name, bench in self.benches.items()
            },
        }

    # --- answers --------------------------------------------------------------------------------------------------

    async def take(self, answer: Answer) -> bool:
        """What an answer asks for: stops first, then grants in their order. True when something was new."""
        fresh = False
        if answer.epoch > self._epoch:
            try:
                await self._new_epoch(answer.epoch)
            except JournalUnavailable as error:
                self.lines.error("no journal, no work", why=error)
                return False
        for attempt in answer.stored:
            fresh |= self._stored(attempt)
        for stop in answer.stops:
            fresh |= self._stop(stop)
        for grant in answer.grants:
            fresh |= self._grant(grant)
        return fresh

    async def _new_epoch(self, epoch: int) -> None:
        async with self._epoch_gate:
            if epoch > self._epoch:
                await self.books.append(Draft(EntryKind.EPOCH, detail={"epoch": epoch}))
                self.lines.info("epoch", epoch=epoch)
                self._epoch = epoch

    def _grant(self, grant: Grant) -> bool:
        bench = self.benches.get(grant.instrument)
        standing = None
        if bench is not None:
            standing = Standing(self.session, self._epoch, bench.tokens.out, bench.fence)
        known = grant.attempt in self._pending or bool(self.reader.history(grant.attempt))
        found = judge(grant, known, self.books.journal.id, standing)
        if isinstance(found, Known):
            return False
        if bench is None or isinstance(found, Close):
            self._close(grant.attempt, found if isinstance(found, Close) else _no_bench(grant))
            return True
        bench.tokens = bench.tokens.consume(grant.token)
        bench.raise_fence(grant.attempt, (grant.epoch, grant.fence))
        run = self._checked(grant, bench)
        draft = Draft(EntryKind.RECEIVED, grant.attempt, grant=grant)
        if isinstance(run, Close):
            draft = Draft(run.kind, grant.attempt, {"reason": run.reason, "text": run.text}, grant)
            self.lines.info("grant refused", attempt=grant.attempt, reason=run.reason, why=run.text)
        entry = self._submit(draft)

        def settle(done: asyncio.Future[Entry]) -> None:
            bench.settle_fence(grant.attempt, self.reader.fence(bench.name))
            if not done.cancelled() and isinstance(done.exception(), JournalUnavailable):
                # Nothing of it was written: the permission is as unused as the facility still thinks it.
                bench.tokens = bench.tokens.restore(grant.token)
                if isinstance(run, Run):
                    run.history.clear()
                    bench.runs.pop(run.attempt, None)

        entry.add_done_callback(settle)
        if isinstance(run, Run):
            self.lines.info("grant taken", attempt=grant.attempt, instrument=grant.instrument, step=grant.step)
            bench.take(run)
        return True

    def _checked(self, grant: Grant, bench: Bench) -> Run | Close:
        """The lab's own word: LOCAL mode, allow-list, limits."""
        local = self.state.local()
        if local:
            return Close(EntryKind.TOMBSTONE, "local", local)
        refused = allowed(grant, self.plan.rules, self.now(), self.plan.zone)
        if refused is not None:
            return refused
        prepared = prepare(grant, bench.manifest or {})
        if isinstance(prepared, Close):
            return prepared
        run = Run(grant.attempt, grant.instrument, grant, [EntryKind.RECEIVED])
        run.action, run.arguments = prepared.action, prepared.arguments
        return run

    def _close(self, attempt: str, close: Close) -> None:
        self.lines.info("attempt closed", attempt=attempt, kind=close.kind, reason=close.reason, why=close.text)
        self._submit(Draft(close.kind, attempt, {"reason": close.reason, "text": close.text}))

    def _submit(self, draft: Draft) -> asyncio.Future[Entry]:
        """Submit the first entry of an attempt; until it is synced, its id is known by ``_pending``."""
        attempt = str(draft.attempt)
        self._pending.add(attempt)
        entry = self.books.submit(draft)
        entry.add_done_callback(lambda _: self._pending.discard(attempt))
        return entry

    def _stop(self, stop: Stop) -> bool:
        run = next((b.runs[stop.attempt] for b in self.benches.values() if stop.attempt in b.runs), None)
        if stop.attempt in self._pending and run is None:
            return False
        close = Close(EntryKind.TOMBSTONE, "stopped", "stopped before it started")
        if run is None:
            if answer_stop(self.reader.history(stop.attempt), start_sent=False) != "tombstone":
                # An entry answers it already; or it is UNKNOWN at an instrument that is no longer ours.
                return False
            self._close(stop.attempt, close)
            return True
        key, bench = (stop.attempt, stop.mode), self.benches[run.instrument]
        match answer_stop(run.history, run.may_have_sent):
            case "nothing":
                return False
            case "tombstone":
                if run.last is EntryKind.RECEIVED and not run.recovered:
                    bench.close_run(run, close)
                    return True
                # Either the bench is about to send the start, or it asks the instrument first: it journals this.
                run.bar(close)
                return self._first(key)
            case "stop":
                if self._first(key):
                    bench.stop(run, stop.mode, "person")
                    return True
                return False
            case "void":
                if self._first(key):
                    bench.ask_again(run)
                    return True
                return False

    def _first(self, key: tuple[str, str]) -> bool:
        """Whether this stop is heard for the first time: the facility repeats it until an entry answers."""
        if key in self._stops:
            return False
        self._stops.add(key)
        self.lines.info("stop", attempt=key[0], mode=key[1])
        return True

    # --- results --------------------------------------------------------------------------------------------------

    def _result_kept(self, attempt: str, objects: list[ObjectRef]) -> None:
        self._unstored[attempt] = asyncio.Event()
        if objects and self._tasks is not None:
            self._tasks.create_task(self._upload(attempt, objects))

    async def _upload(self, attempt: str, objects: list[ObjectRef]) -> None:
        stored = self._unstored[attempt]
        try:
            await self.uploads.until_stored(attempt, objects, stored, self.link.kick)
        except BytesMissing as error:
            self.lines.error("bytes missing", attempt=attempt, why=error)
            if self.reader.history(attempt)[-1] is EntryKind.RESULT:
                draft = Draft(EntryKind.UNKNOWN, attempt, _missing(error))
                await self._write_until(draft, self.books.submit(draft))

    def _stored(self, attempt: str) -> bool:
        stored = self._unstored.pop(attempt, None)
        if stored is None or self._tasks is None:
            return False
        stored.set()
        draft = Draft(EntryKind.UPLOADED, attempt)
        self._tasks.create_task(self._write_until(draft, self.books.submit(draft)))
        return True

    async def _write_until(self, draft: Draft, entry: asyncio.Future[Entry]) -> None:
        while True:
            try:
                await asyncio.shield(entry)
                return
            except JournalUnavailable:
                await asyncio.sleep(1.0)
                entry = self.books.submit(draft)
            except IllegalEntry as error:
                self.lines.error("entry not written", attempt=draft.attempt, why=error)
                return

    # --- LOCAL ----------------------------------------------------------------------------------------------------

    async def _watch_local(self) -> None:
        was = ""
        while True:
            local = self.state.local()
            if local and not was:
                self.lines.warning("LOCAL", why=local)
                self._go_local(local)
            if bool(local) != bool(was):
                self.link.kick()
            was = local
            await asyncio.sleep(_LOCAL_LOOK_S)

    def _go_local(self, local: str) -> None:
        for bench in self.benches.values():
            bench.bar_waiting(Close(EntryKind.TOMBSTONE, "local", local))
            for run in list(bench.runs.values()):
                if run.last is EntryKind.STARTED or (run.last is EntryKind.INTENT and run.may_have_sent):
                    bench.stop(run, "safe_point", "local")


def _no_bench(grant: Grant) -> Close:
    return Close(EntryKind.TOMBSTONE, "bad_request", f"this node has no instrument called {grant.instrument!r}")


def _missing(error: BytesMissing) -> dict[str, str]:
    return {"reason": "bytes_missing", "text": str(error)[:2000]}
