"""A simulated instrument: one thing at a time, in real time divided by the time scale, with a memory of its own.

It is the instrument, and keeps the line protocol as one must: the line server puts it on a socket, the simulated
driver holds it in process. What it remembers is on the disk before anything moves. Closing it takes its power away:
a run under way ends there, and the next one that opens its memory says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from labcommons.node.drivers.clock import monotonic
from labcommons.node.drivers.contract import (
    Arguments,
    Description,
    Event,
    Health,
    InstrumentRefused,
    Json,
    Status,
    StopMode,
)
from labcommons.node.drivers.memory import AttemptMemory, Remembered
from labcommons.node.drivers.values import fit_action, same_arguments
from labcommons.node.simulated.models import Model

__all__ = ["SimulatedInstrument"]

_SAFE_POINTS = 10
"""A run may be left at each tenth of it."""
_CUT = {"code": "hardware", "message": "the instrument restarted in mid-run"}


@dataclass
class _Run:
    """The attempt that moves now, or the last ones of an instrument that remembers nothing."""

    attempt: str
    action: str
    arguments: Json
    number: int
    status: Status
    fraction: float = 0.0
    wish: StopMode | None = None
    thread: threading.Thread | None = field(default=None, repr=False)


class SimulatedInstrument:
    """The ten words over a model. `memory`: file of what it remembers; None: it remembers nothing and cannot void.

    `time_scale`: decimal as text, lab time per wall time. `on_disconnect`: what it does when the one who serves it
    says `disconnected`. `calibration`: id that its results carry.
    """

    def __init__(
        self,
        model: Model,
        memory: Path | None,
        *,
        time_scale: str = "1",
        on_disconnect: str = "continue",
        calibration: str | None = None,
    ) -> None:
        self._model = model
        self._scale = float(Decimal(time_scale))
        self._calibration = calibration
        self._description = Description.from_json(
            {
                "protocol": 1,
                "instrument": model.instrument,
                "actions": [a.to_json() for a in model.actions],
                "remembers_attempts": memory is not None,
                "can_void": memory is not None,
                "on_disconnect": on_disconnect,
                "simulated": True,
                "time_scale": time_scale,
            }
        )
        self._gate = threading.Condition()
        self._runs: dict[str, _Run] = {}
        self._made = 0
        self._listeners: list[Callable[[Event], None]] = []
        self._closing = False
        self._memory = None if memory is None else AttemptMemory(memory)
        if self._memory is not None:
            self._made = self._memory.count()
            for row in self._memory.in_states("RUNNING"):
                self._memory.put(replace(row, state="ENDED", status=Status("failed", error=_CUT).to_json()))

    # -- the ten words

    def describe(self) -> Description:
        """See `Driver`."""
        return self._description

    def health(self) -> Health:
        """See `Driver`."""
        with self._gate:
            run = self._active()
        if run is None:
            return Health("idle")
        return Health("paused" if run.status.phase == "paused" else "busy", f"running {run.attempt}")

    def start(self, attempt: str, action: str, arguments: Arguments) -> Status:
        """See `Driver`. Remembered on the disk before it moves."""
        with self._gate:
            self._check(attempt)
            known = self._known(attempt) if self._memory is not None else None
            if known is not None:
                return self._seen_before(known, attempt, action, arguments)
            try:
                _, fitted = fit_action(self._description, action, arguments, convert=False)
                if (active := self._active()) is not None:
                    raise InstrumentRefused("busy", f"running {active.attempt}", True)
            except InstrumentRefused as refusal:
                if refusal.code not in ("busy", "not_ready"):
                    self._remember(Remembered(attempt, "VOIDED"))
                raise
            self._remember(Remembered(attempt, "RUNNING", action, fitted, None, 1))
            run = _Run(attempt, action, fitted, self._made, Status("running", 0.0))
            self._made += 1
            self._forget_old_runs()
            self._runs[attempt] = run
            run.thread = threading.Thread(target=self._move, args=(run,), name=f"run {attempt}", daemon=True)
            run.thread.start()
            return Status("running")

    def status(self, attempt: str) -> Status:
        """See `Driver`."""
        with self._gate:
            self._check(attempt)
            return self._known(attempt) or Status("never_seen")

    def readback(self, attempt: str) -> Status:
        """See `Driver`."""
        return Status("cannot_tell") if self._memory is None else self.status(attempt)

    def void(self, attempt: str) -> Status:
        """See `Driver`."""
        if self._memory is None:
            raise InstrumentRefused("unsupported", "this instrument remembers nothing and cannot void")
        with self._gate:
            self._check(attempt)
            known = self._known(attempt)
            if known is None:
                self._remember(Remembered(attempt, "VOIDED"))
                return Status("voided")
            return known

    def stop(self, attempt: str, mode: StopMode) -> Status:
        """See `Driver`."""
        if mode not in ("safe_point", "now"):
            raise InstrumentRefused("bad_request", f"no mode is called {mode!r}; there are: safe_point, now")
        with self._gate:
            self._check(attempt)
            run = self._runs.get(attempt)
            if run is not None and not run.status.terminal:
                run.wish = mode
                self._gate.notify_all()
                self._gate.wait_for(lambda: run.status.terminal or self._closing)
            return self._known(attempt) or Status("never_seen")

    def resume(self, attempt: str) -> Status:
        """See `Driver`."""
        with self._gate:
            self._check(attempt)
            run = self._runs.get(attempt)
            if run is None or run.status.phase != "paused":
                raise InstrumentRefused("not_ready", f"{attempt} is not paused")
            self._set_phase(run, "running")
            return run.status

    def release(self, attempt: str) -> Status:
        """See `Driver`."""
        with self._gate:
            self._check(attempt)
            known = self._known(attempt)
            if known is None:
                return Status("never_seen")
            if known.phase in ("running", "paused"):
                raise InstrumentRefused("busy", f"{attempt} runs", True)
            bare = replace(known, result=None)
            if attempt in self._runs:
                self._runs[attempt].status = bare
            if self._memory is not None and (row := self._memory.get(attempt)) is not None and row.status is not None:
                self._memory.put(replace(row, status=bare.to_json()))
            return bare

    def subscribe(self, callback: Callable[[Event], None]) -> bool:
        """See `Driver`; several may listen."""
        with self._gate:
            self._listeners.append(callback)
        return True

    def unsubscribe(self, callback: Callable[[Event], None]) -> None:
        """Tell this one nothing more."""
        with self._gate:
            self._listeners = [c for c in self._listeners if c != callback]

    def disconnected(self, attempts: Iterable[str]) -> None:
        """The connection that carried these starts dropped: do what `on_disconnect` says."""
        with self._gate:
            for run in [self._runs[a] for a in attempts if a in self._runs]:
                if run.status.phase != "running":
                    continue
                if self._description.on_disconnect == "abort":
                    run.wish = "now"
                    self._gate.notify_all()
                elif self._description.on_disconnect == "pause":
                    self._set_phase(run, "paused")

    def close(self) -> None:
        """Take its power away. Safe to call twice."""
        with self._gate:
            self._closing = True
            self._gate.notify_all()
            threads = [r.thread for r in self._runs.values() if r.thread is not None]
        for thread in threads:
            thread.join()
        with self._gate:
            if self._memory is not None:
                self._memory.close()

    # -- what happens behind the words

    def _check(self, attempt: object) -> None:
        if not isinstance(attempt, str) or not 0 < len(attempt) <= 64:
            raise InstrumentRefused("bad_request", "attempt must be text of 1 to 64 characters")
        if self._closing:
            raise InstrumentRefused("not_ready", "the instrument is being switched off", True)

    def _forget_old_runs(self) -> None:
        """Those that ended are in the memory; without one, the last few stay in mind until the power goes."""
        ended = [a for a, r in self._runs.items() if r.status.terminal]
        for attempt in ended if self._memory is not None else ended[:-100]:
            del self._runs[attempt]

    def _active(self) -> _Run | None:
        return next((r for r in self._runs.values() if not r.status.terminal), None)

    def _known(self, attempt: str) -> Status | None:
        run = self._runs.get(attempt)
        if run is not None:
            return run.status if run.status.terminal else replace(run.status, fraction=round(run.fraction, 4))
        row = None if self._memory is None else self._memory.get(attempt)
        if row is None:
            return None
        return Status("voided") if row.state == "VOIDED" else Status.from_json(row.status or {"phase": "failed"})

    def _seen_before(self, known: Status, attempt: str, action: str, arguments: Arguments) -> Status:
        if known.phase == "voided":
            raise InstrumentRefused("voided", f"{attempt} is voided")
        row = None if self._memory is None else self._memory.get(attempt)
        if row is not None and (row.action != action or not same_arguments(row.arguments, dict(arguments))):
            raise InstrumentRefused("bad_request", f"{attempt} was started before with other arguments")
        return replace(known, duplicate=True)

    def _remember(self, row: Remembered) -> None:
        if self._memory is not None:
            self._memory.put(row)

    def _set_phase(self, run: _Run, phase: Any) -> None:
        run.status = Status(phase)
        self._gate.notify_all()
        self._tell([Event("phase", run.attempt, phase=phase)])

    def _tell(self, events: list[Event]) -> None:
        for callback in self._listeners:
            for event in events:
                callback(event)

    def _move(self, run: _Run) -> None:
        """The run itself, from safe point to safe point."""
        segment_s = self._model.duration_ms(run.action, run.arguments, run.attempt) / 1000 / self._scale / _SAFE_POINTS
        with self._gate:
            for point in range(_SAFE_POINTS):
                if not self._pass(run, point, segment_s):
                    return
                run.fraction = (point + 1) / _SAFE_POINTS
                self._tell([Event("progress", run.attempt, fraction=run.fraction)])
                if run.wish is not None:
                    self._end(run, "stopped")
                    return
            self._end(run, "done")

    def _pass(self, run: _Run, point: int, segment_s: float) -> bool:
        """Live through one segment; False where the run ended in it or the power went."""
        left = segment_s
        while True:
            before = monotonic()
            paused = run.status.phase == "paused"

            def disturbed(paused: bool = paused) -> bool:
                stops = run.wish is not None if paused else run.wish == "now"
                return self._closing or stops or (run.status.phase == "paused") != paused

            self._gate.wait_for(disturbed, None if paused else left)
            if self._closing:
                return False
            if not paused:
                left -= monotonic() - before
                run.fraction = min(point + 1, point + 1 - left / segment_s) / _SAFE_POINTS if segment_s else 1.0
            if run.wish == "now" or (paused and run.wish is not None):
                self._end(run, "stopped")
                return False
            if left <= 0 and run.status.phase == "running":
                return True

    def _end(self, run: _Run, phase: Any) -> None:
        arguments = (run.action, run.arguments, run.attempt, run.number)
        if phase == "done":
            result = self._model.measure(*arguments)
        else:
            result = self._model.partial(*arguments, run.fraction)
        status = Status(phase, result={**result, "calibration": self._calibration})
        # On the disk first: what it has said once, it says after a restart.
        self._remember(Remembered(run.attempt, "ENDED", run.action, run.arguments, status.to_json(), 1))
        run.status = status
        self._gate.notify_all()
        self._tell([Event("phase", run.attempt, phase=phase)])
