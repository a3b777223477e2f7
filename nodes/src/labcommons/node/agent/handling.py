"""How one instrument is dealt with: opened, started, followed, stopped, asked in doubt. No queue, no choice of work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from labcommons.federation.wire import Entry, EntryKind, Health, ObjectRef, ResultDetail
from labcommons.node.agent.results import Judged, judge_result, keep, least
from labcommons.node.agent.runs import Run
from labcommons.node.agent.services import Services
from labcommons.node.decisions import AskNext, Close, Follow, overdue, questions, refused, verdict
from labcommons.node.drivers.contract import Description, InstrumentLost, InstrumentRefused, Status, StopMode
from labcommons.node.journal import Draft, DraftRefused, IllegalEntry, JournalUnavailable
from labcommons.node.runtime.port import Instrument
from labcommons.protocols.canonical import canonical

__all__ = ["Handling"]

RECEIVED, STARTED, RESULT = EntryKind.RECEIVED, EntryKind.STARTED, EntryKind.RESULT
TOMBSTONE, UNKNOWN = EntryKind.TOMBSTONE, EntryKind.UNKNOWN

#: Seconds without a ready token after a refusal, doubled at each.
_QUIET_S, _LONGEST_QUIET_S = 1.0, 60.0
_PARTIAL_BYTES = 64 * 1024


class Handling:
    """One instrument. ``open_instrument`` attaches to it; ``runs`` are its attempts in hand, by id."""

    def __init__(self, name: str, open_instrument: Callable[[], Awaitable[Instrument]], services: Services) -> None:
        self.name = name
        self.services = services
        self.health = Health(state="error", detail="not reached yet")
        self.manifest: Mapping[str, Any] | None = None
        self.runs: dict[str, Run] = {}
        self.serving = False
        self._open_instrument = open_instrument
        self._instrument: Instrument | None = None
        self._description: Description | None = None
        self._idle = False
        self._refusals, self._quiet_until = 0, 0.0
        self._errands: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    # --- entries --------------------------------------------------------------------------------------------------

    def write(self, run: Run, kind: EntryKind, detail: Mapping[str, Any] | None = None) -> asyncio.Future[Entry]:
        """Submit an entry of ``run``; its history is ahead of the disk until the future is done."""
        future = self.services.books.submit(Draft(kind, run.attempt, detail or {}))
        run.history.append(kind)

        def done(finished: asyncio.Future[Entry]) -> None:
            if finished.cancelled() or finished.exception() is None:
                return
            error = finished.exception()
            if isinstance(error, IllegalEntry):
                run.history[:] = error.history
            elif kind in run.history:
                del run.history[len(run.history) - 1 - run.history[::-1].index(kind)]
            self.services.lines.warning("entry not written", attempt=run.attempt, kind=kind, why=error)

        future.add_done_callback(done)
        return future

    def close_run(self, run: Run, close: Close, partial: Status | None = None) -> asyncio.Task[None]:
        """Journal that it will never start, or that nobody can tell; tried until it is written."""
        detail: dict[str, Any] = {"reason": close.reason, "text": close.text[:2000]}
        if partial is not None:
            detail["partial"] = _partial(partial)
        self.services.lines.info("attempt closed", attempt=run.attempt, kind=close.kind, reason=close.reason)
        if close.kind is TOMBSTONE:
            # Whatever becomes of the disk meanwhile, this process does not start it.
            run.bar(close)
        return self._errand(self._closed(run, close.kind, detail, self.write(run, close.kind, detail)))

    async def _closed(self, run: Run, kind: EntryKind, detail: Mapping[str, Any], entry: asyncio.Future[Entry]) -> None:
        while True:
            try:
                await asyncio.shield(entry)
                return
            except JournalUnavailable:
                await asyncio.sleep(1.0)
                entry = self.write(run, kind, detail)
            except DraftRefused:
                # Its reason is of our own words; the rest is less than an attempt of which nothing is ever told.
                detail = {"reason": detail["reason"], "text": "what is known has no form that the journal takes"}
                entry = self.write(run, kind, detail)

    def _forget(self, run: Run) -> None:
        """What is closed is known by the journal; what is UNKNOWN is kept for late evidence."""
        if run.closed:
            self.runs.pop(run.attempt, None)

    # --- the instrument -------------------------------------------------------------------------------------------

    @property
    def _at(self) -> Instrument:
        if self._instrument is None:
            raise InstrumentLost("the instrument is not open", sent=False)
        return self._instrument

    @property
    def _about(self) -> Description:
        if self._description is None:
            raise InstrumentLost("the instrument is not described", sent=False)
        return self._description

    async def _open(self) -> None:
        self._instrument = await self._open_instrument()
        description = await self._instrument.describe()
        if description != self._description or self.manifest is None:
            self.manifest = self.services.described(self.name, description)
            self._description = description
            self.services.lines.info("instrument described", instrument=self.name, void=description.can_void)
        await self._look()

    async def _look(self) -> None:
        """Ask its health; tell a change."""
        told = await self._at.health()
        health = Health(state=told.state, detail=told.detail[:500])
        self._idle = health.state == "idle"
        if health != self.health:
            self.health = health
            # Something happened at the bench: a hand that filled it up, a door that was closed.
            self._refusals, self._quiet_until = 0, 0.0
            self.services.kick()

    def _be_quiet(self, code: str) -> None:
        """After a start that it refused for what the bench lacks: no token for a while, longer each time. Idle as it
        looks, it would refuse each next grant too, as fast as they come."""
        if code in ("bad_request", "unsupported", "out_of_range", "voided"):
            return  # it speaks of that grant, and not of the next
        pause = min(_QUIET_S * 2.0**self._refusals, _LONGEST_QUIET_S)
        self._refusals = min(self._refusals + 1, 20)
        self._quiet_until = self._loop.time() + pause
        self._loop.call_later(pause, self.services.kick)

    def _down(self, error: Exception) -> None:
        detail = f"{type(error).__name__}: {error}"[:500]
        if self.health.detail != detail:
            self.services.lines.warning("instrument lost", instrument=self.name, why=detail)
        self.serving, self._idle = False, False
        self.health = Health(state="error", detail=detail)
        self.services.kick()

    async def _reopen(self, error: Exception) -> None:
        self._down(error)
        await self.services.check_runtime()
        await asyncio.sleep(0.1)
        try:
            await self._open()
            self.serving = True
            self.services.kick()
        except (InstrumentLost, InstrumentRefused) as again:
            self._down(again)

    async def _until_idle(self, run: Run) -> None:
        pause = 0.02
        while run.barred is None and not run.closed:
            await self._look()
            if self._idle:
                return
            try:
                async with asyncio.timeout(pause):
                    await run.bar_rings.wait()
            except TimeoutError:
                pause = min(pause * 1.5, 1.0)

    # --- one run --------------------------------------------------------------------------------------------------

    def _bar(self, run: Run) -> bool:
        """Whether it must not start; then that is journalled."""
        local = self.services.local()
        if local and run.barred is None:
            run.bar(Close(TOMBSTONE, "local", local))
        if run.barred is None:
            return False
        self.close_run(run, run.barred)
        return True

    async def _start(self, run: Run) -> Status | None:
        """Send the start; ``None`` when the attempt is closed by what came of it."""
        deadline = self._loop.time() + self.services.limits.ready
        while True:
            run.start_sent = True
            run.began = self._loop.time()
            try:
                status = await self._at.start(run.attempt, run.action, run.arguments)
            except InstrumentRefused as error:
                # Every start of it so far was answered by an error: none moved anything, none ever will.
                self._idle = False
                again = error.code in ("busy", "not_ready") and self._about.remembers_attempts
                if not again or self._loop.time() > deadline:
                    self._be_quiet(error.code)
                    await self.close_run(run, refused(error.code, error.message))
                    return None
                run.start_sent = False
                await self._until_idle(run)
                if self._bar(run):
                    return None
            except InstrumentLost as error:
                self._idle = False
                if error.sent:
                    return await self._doubt(run, error)
                # Nobody could be dialled, so not one byte of it went out: it may be sent when somebody can.
                run.start_sent = False
                if self._loop.time() > deadline or self._bar(run):
                    if not run.closed:
                        await self.close_run(run, Close(TOMBSTONE, "not_ready", f"not reached: {error.reason}"))
                    return None
                await self._reopen(error)
            else:
                if status.terminal or status.phase in ("running", "paused", "voided"):
                    return self._begun(run, status)
                return await self._doubt(run, InstrumentLost(f"garbage: it answers the start with {status.phase}"))

    def _begun(self, run: Run, status: Status) -> Status | None:
        if status.phase == "voided":
            self.close_run(run, Close(TOMBSTONE, "voided", "the instrument had barred the id"))
            return None
        self._idle = False
        self._refusals = 0
        if run.last is not STARTED:
            self.write(run, STARTED)
        if not run.followed_since:
            run.followed_since = self._loop.time()
        self._progress(run, status)
        return status

    async def _follow(self, run: Run, status: Status | None) -> None:
        """Wait for its end, whatever happens to the link on the way."""
        while status is not None and not status.terminal:
            if status.phase not in ("running", "paused"):
                status = await self._doubt(run, InstrumentLost(f"it now answers {status.phase}"))
                continue
            self._hold_to_limits(run)
            if run.closed or run.last is UNKNOWN:
                return
            try:
                status = await self._at.wait(run.attempt, self._slice(run))
            except (InstrumentLost, InstrumentRefused) as error:
                status = await self._doubt(run, error)
            if status is not None:
                self._progress(run, status)
        if status is not None:
            await self._finish(run, status)

    def _timeout_s(self, run: Run) -> float:
        # Lab time in the grant, wall time here.
        return 0.0 if run.grant is None else run.grant.timeout_ms / 1000 / self.services.time_scale

    def _slice(self, run: Run) -> float:
        left = run.followed_since + self._timeout_s(run) - self._loop.time()
        return min(self.services.limits.slice, left) if left > 0.01 else self.services.limits.slice

    def _hold_to_limits(self, run: Run) -> None:
        limits = self.services.limits
        match overdue(self._loop.time() - run.followed_since, self._timeout_s(run), limits.grace):
            case "safe_point":
                self.stop(run, "safe_point", "timeout")
            case "now":
                self.stop(run, "now", "timeout")
            case "give_up":
                self.close_run(run, Close(UNKNOWN, "timeout", "past timeout_ms, and it does not stop"))
                return
            case "":
                pass
        asks = run.grant is not None and run.grant.on_partition == "safe_point"
        if asks and self.services.silent_s() > limits.lease:
            self.stop(run, "safe_point", "partition")

    def _progress(self, run: Run, status: Status) -> None:
        if (run.phase, run.fraction) != (status.phase, status.fraction):
            run.phase, run.fraction = status.phase, status.fraction
            self.services.kick()

    async def _finish(self, run: Run, status: Status) -> None:
        used_ms = None
        if run.began is not None and not run.recovered:
            used_ms = max(0, round((self._loop.time() - run.began) * 1000))
        if status.result is None:
            # A stop or a void may have told the phase alone.
            try:
                status = await self._at.status(run.attempt)
            except (InstrumentLost, InstrumentRefused) as error:
                self.services.lines.warning("no result to be had", attempt=run.attempt, why=error)
        if not status.terminal:
            await self.close_run(run, Close(UNKNOWN, "garbage", f"it had ended, and now answers {status.phase}"))
            return
        # Idle is what an instrument is after a run; if not, the next start is told so and waits.
        self._idle = status.phase == "done"
        judged = judge_result(status, ended_by=run.ended_by, used_ms=used_ms)
        detail = await self._kept(run, judged)
        body = detail.model_dump(mode="json")
        if run.last is not STARTED:
            self.write(run, STARTED)
        # Not awaited here: the INTENT of the next run joins the same commit.
        entry = self.write(run, RESULT, body)
        self._errand(self._after_result(run, entry, body, detail.objects))

    async def _kept(self, run: Run, judged: Judged) -> ResultDetail:
        """Its bytes synced. A full disk delays the result, it does not lose it: the instrument still has it."""
        while True:
            try:
                return await asyncio.to_thread(keep, judged, self.services.objects)
            except OSError as error:
                self.services.lines.error("result not kept yet", attempt=run.attempt, why=error)
                await asyncio.sleep(1.0)

    async def _after_result(
        self, run: Run, entry: asyncio.Future[Entry], body: dict[str, Any], objects: list[ObjectRef]
    ) -> None:
        while True:
            try:
                await asyncio.shield(entry)
                break
            except JournalUnavailable:
                await asyncio.sleep(1.0)
                if STARTED not in run.history:
                    self.write(run, STARTED)
                entry = self.write(run, RESULT, body)
            except DraftRefused:
                body = least(body)
                entry = self.write(run, RESULT, body)
            except IllegalEntry as error:
                self.services.lines.error("result not journalled", attempt=run.attempt, why=error)
                return
        self.services.lines.info("result", attempt=run.attempt, outcome=body["outcome"], objects=len(objects))
        self.services.result_kept(run.attempt, objects)
        self._forget(run)
        await self._release(run.attempt)

    async def _release(self, attempt: str) -> None:
        try:
            await self._at.release(attempt)
        except (InstrumentLost, InstrumentRefused) as error:
            # It keeps its result a while longer; released again at the next start of the agent.
            self.services.lines.debug("not released", attempt=attempt, why=error)

    async def _stop(self, run: Run, mode: StopMode) -> None:
        while not run.closed:
            try:
                status = await self._at.stop(run.attempt, mode)
            except InstrumentRefused as error:
                self.services.lines.warning("stop refused", attempt=run.attempt, why=error)
                return
            except InstrumentLost as error:
                self.services.lines.warning("stop not heard", attempt=run.attempt, why=error)
                if run.last is UNKNOWN:
                    return
                await asyncio.sleep(0.2)
                continue
            self.services.lines.info("stop answered", attempt=run.attempt, mode=mode, phase=status.phase)
            if run.last is UNKNOWN:
                await self._ask_once(run)
            elif status.phase == "never_seen":
                # It overtook the start, and left no trace there.
                await asyncio.sleep(0.05)
                continue
            elif status.phase == "paused" and run.ended_by != "local":
                # It stands at its safe point; LOCAL leaves it there, a stop ends it.
                self.stop(run, "now")
            return

    # --- stops ----------------------------------------------------------------------------------------------------

    def stop(self, run: Run, mode: StopMode, ended_by: str = "") -> None:
        """Stop it at the instrument, on a way of its own past everything that waits."""
        if mode in run.asked_to_stop:
            return
        run.asked_to_stop.add(mode)
        run.ended_by = run.ended_by or ended_by
        self._errand(self._stop(run, mode))

    def ask_again(self, run: Run) -> None:
        """A stop for an attempt that is UNKNOWN: the instrument may be able to bar it."""
        self._errand(self._ask_once(run))

    # --- doubt ----------------------------------------------------------------------------------------------------

    async def _doubt(self, run: Run, error: Exception) -> Status | None:
        """The link failed after the intent. Reconnect and ask; past the patience it is UNKNOWN, and asked later."""
        self.services.lines.warning("attempt in doubt", attempt=run.attempt, why=error)
        if not isinstance(error, InstrumentLost):
            await asyncio.sleep(0.1)
        deadline = self._loop.time() + self.services.limits.patience
        while True:
            try:
                return await self._ask(run)
            except InstrumentLost as lost:
                if self._loop.time() > deadline:
                    if run.last is not UNKNOWN and run.last is not RECEIVED:
                        text = f"no answer for {self.services.limits.patience:g} s: {lost.reason}"
                        await self.close_run(run, Close(UNKNOWN, _why_lost(error), text))
                    raise
                await self._reopen(lost)

    async def _ask(self, run: Run) -> Status | None:
        """Ask until an answer decides. Raises ``InstrumentLost``."""
        about = self._about
        words = questions(run.history, about.can_void, about.remembers_attempts)
        restarted = run.recovered and not run.start_sent
        for index in range(max(1, len(words))):
            status = None
            if words:
                try:
                    status = await getattr(self._at, words[index])(run.attempt)
                except InstrumentRefused:
                    pass
            found = verdict(
                run.history,
                status,
                can_void=about.can_void,
                remembers=about.remembers_attempts,
                restarted=restarted,
                last=index >= len(words) - 1,
            )
            match found:
                case AskNext():
                    continue
                case Close():
                    if not (found.kind is UNKNOWN and run.last is UNKNOWN):
                        await self.close_run(run, found, status)
                    return None
                case Follow():
                    return self._begun(run, found.status)
        return None

    async def _ask_once(self, run: Run) -> None:
        try:
            status = await self._ask(run)
        except InstrumentLost as error:
            self.services.lines.warning("no answer about an attempt in doubt", attempt=run.attempt, why=error)
            return
        if status is not None:
            await self._follow(run, status)

    def _errand(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def go() -> None:
            try:
                await work
            except (JournalUnavailable, IllegalEntry) as error:
                self.services.lines.error("entry not written", why=error)

        task = asyncio.ensure_future(go())
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
        return task


def _partial(status: Status) -> dict[str, Any]:
    """What a doubtful attempt gave, for the person who decides; its files stay with the instrument."""
    told: dict[str, Any] = {"phase": status.phase}
    if status.fraction is not None:
        told["fraction"] = str(status.fraction)
    judged = judge_result(status, ended_by="", used_ms=None) if status.result is not None else None
    if judged is not None:
        outputs = judged.detail.outputs
        told["outputs"] = outputs if len(canonical(outputs)) <= _PARTIAL_BYTES else "too many for an entry"
    if status.error is not None:
        told["error"] = {name: str(status.error.get(name) or "")[:500] for name in ("code", "message")}
    return told


def _why_lost(error: Exception) -> str:
    return "garbage" if "garbage" in str(error).lower() or "makes no sense" in str(error) else "link_lost"
