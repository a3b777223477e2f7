"""The instrument's host: what lives in the lab's Ray actor, or in the agent's process on a laptop.

It owns the driver and a durable memory of attempts of its own, so that an agent that was killed finds its answers
here. Its constructor moves nothing and dials nobody.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from labcommons.node.drivers import open_driver
from labcommons.node.drivers.clock import monotonic
from labcommons.node.drivers.contract import (
    Description,
    Event,
    InstrumentLost,
    InstrumentRefused,
    Json,
    Status,
    StopMode,
)
from labcommons.node.drivers.memory import AttemptMemory, Remembered
from labcommons.node.drivers.results import judge
from labcommons.node.drivers.values import fit_action, same_arguments

__all__ = ["InstrumentHost"]

_POLL_S = 0.2
_HEARTBEAT_S = 2.0
"""With events, `status` is still asked this often: an event can be lost with its line."""
_REDIAL_S = (0.1, 0.2, 0.5, 1.0)
_SETTLED = frozenset({"done", "failed", "stopped", "voided", "never_seen", "cannot_tell"})
_MAX_ATTEMPT = 64


class InstrumentHost:
    """The ten words again, and `wait`; plain JSON-able objects cross its border, so that no class of ours is pickled.

    `driver_name`: an entry point of group `labcommons.drivers`; `options`: the driver's options (JSON);
    `memory_path`: file of the durable memory. Every word raises `InstrumentRefused` (an error reply, or a refusal
    before any byte went out) or `InstrumentLost` (proves nothing); both pickle. Words that speak of an attempt return
    `Status.to_json()`; read them with `Status.from_json`.

    Its memory of one attempt: SENDING (written before `start` goes out), UNSENT (it could not go out), REFUSED, SENT
    (accepted), ENDED (with the result), VOIDED, RELEASED (ended, result let go).
    """

    def __init__(self, driver_name: str, options: Mapping[str, Any], memory_path: str | Path) -> None:
        path = Path(memory_path)
        self._driver = open_driver(driver_name, {"memory": f"{path}.instrument", **options})
        self._memory = AttemptMemory(path)
        self._starting = threading.Lock()
        self._news = threading.Condition()
        self._turn = 0
        self._subscribed: bool | None = None
        self._description: Description | None = None
        self._closed = False

    def describe(self) -> Json:
        """`Description.to_json()`, asked anew."""
        self._description = self._driver.describe()
        return self._description.to_json()

    def health(self) -> Json:
        """`Health.to_json()`."""
        return self._driver.health().to_json()

    def start(self, attempt: str, action: str, arguments: Mapping[str, Any]) -> Json:
        """Start once. An id already sent never goes out twice unless the instrument remembers ids.

        Units are converted to those that `describe` names; ranges are checked; a refusal of these says `bad_request`
        or `out_of_range` and nothing went out.
        """
        _check_id(attempt)
        with self._starting:
            try:
                description = self._described()
            except InstrumentLost as lost:
                # What was lost is the question before the start: no byte of the start itself went out.
                raise InstrumentLost(lost.reason, sent=False) from lost
            _, fitted = fit_action(description, action, _holdable(description, action, arguments), convert=True)
            known = self._memory.get(attempt)
            if known is not None:
                told = self._known_start(known, description, action, fitted)
                if told is not None:
                    return told.to_json()
            return self._send(attempt, action, fitted, known).to_json()

    def status(self, attempt: str) -> Json:
        """The phase now, with the result when there is one."""
        return self._look(attempt, "status").to_json()

    def readback(self, attempt: str) -> Json:
        """From what survives a restart of the instrument, or of this host."""
        try:
            return self._look(attempt, "readback").to_json()
        except InstrumentRefused as refusal:
            if refusal.code != "unsupported":
                raise
            return Status("cannot_tell").to_json()

    def void(self, attempt: str) -> Json:
        """`voided`, or the present phase. Refused `unsupported` where the instrument cannot."""
        _check_id(attempt)
        known = self._memory.get(attempt)
        if known is not None and known.state in ("ENDED", "RELEASED"):
            return _ended(known).to_json()
        return self._keep(attempt, self._driver.void(attempt)).to_json()

    def stop(self, attempt: str, mode: StopMode = "safe_point") -> Json:
        """Returns when the phase is reached."""
        _check_id(attempt)
        known = self._memory.get(attempt)
        if known is not None and known.state in ("ENDED", "RELEASED"):
            return _ended(known).to_json()
        status = self._keep(attempt, self._driver.stop(attempt, mode))
        self._wake()
        return status.to_json()

    def resume(self, attempt: str) -> Json:
        """From `paused` to `running`."""
        _check_id(attempt)
        return self._keep(attempt, self._driver.resume(attempt)).to_json()

    def release(self, attempt: str) -> Json:
        """The result may be forgotten, never the id."""
        _check_id(attempt)
        with contextlib.suppress(InstrumentLost):
            # Without an answer the instrument may keep it longer; nothing is wrong with that.
            try:
                self._driver.release(attempt)
            except InstrumentRefused as refusal:
                if refusal.code != "unsupported":
                    raise
        known = self._memory.get(attempt)
        if known is None or known.state not in ("ENDED", "RELEASED"):
            return self._look(attempt, "status").to_json()
        phase = _ended(known).phase
        self._memory.put(replace(known, state="RELEASED", status=Status(phase).to_json()))
        return Status(phase).to_json()

    def wait(self, attempt: str, timeout_s: float) -> Json:
        """Block until the attempt is terminal or `timeout_s` of wall time passed; then its present status.

        Returns early also with `never_seen`, `voided` or `cannot_tell` (nothing more will come by waiting). A dropped
        link is dialled again within the time; `InstrumentLost` if it is still down at the end of it.
        """
        deadline = monotonic() + timeout_s
        failures = 0
        while True:
            turn = self._turn
            try:
                events = self._events()
                status = self._look(attempt, "status")
            except InstrumentLost:
                if monotonic() >= deadline or self._closed:
                    raise
                pause = _REDIAL_S[min(failures, len(_REDIAL_S) - 1)]
                failures += 1
                self._sleep(min(pause, max(0.0, deadline - monotonic())), None)
                continue
            failures = 0
            left = deadline - monotonic()
            if status.phase in _SETTLED or left <= 0:
                return status.to_json()
            self._sleep(min(left, _HEARTBEAT_S if events else _POLL_S), turn)

    def close(self) -> None:
        """Let go of the driver and the memory. Says nothing to the instrument; safe to call twice."""
        with self._news:
            if self._closed:
                return
            self._closed = True
            self._news.notify_all()
        self._driver.close()
        self._memory.close()

    # -- what happens behind the words

    def _described(self) -> Description:
        if self._description is None:
            self._description = self._driver.describe()
        return self._description

    def _known_start(self, known: Remembered, description: Description, action: str, fitted: Json) -> Status | None:
        """What to answer for an id that was here before; None where the `start` may go out (again)."""
        if known.state == "VOIDED":
            raise InstrumentRefused("voided", f"{known.attempt} is voided")
        if known.state == "UNSENT":
            return None
        if known.action is not None and (known.action != action or not same_arguments(known.arguments, fitted)):
            raise InstrumentRefused("bad_request", f"{known.attempt} was started before with other arguments")
        if known.state in ("ENDED", "RELEASED"):
            return replace(_ended(known), duplicate=True)
        if description.remembers_attempts:
            return None
        if known.state == "REFUSED":
            told = known.status or {}
            raise InstrumentRefused(str(told.get("code")), str(told.get("message")), told.get("retryable") is True)
        status = self._keep(known.attempt, self._driver.status(known.attempt))
        if status.phase in ("running", "paused") or status.terminal:
            return replace(status, duplicate=True)
        raise InstrumentLost(
            f"start of {known.attempt} went out before, the instrument remembers no ids and now says {status.phase}: "
            "whether it ran cannot be told, and it is not sent again"
        )

    def _send(self, attempt: str, action: str, fitted: Json, known: Remembered | None) -> Status:
        earlier = known.starts if known is not None and known.state in ("SENDING", "SENT") else 0
        row = Remembered(attempt, "SENDING", action, fitted, None, earlier + 1)
        self._memory.put(row)
        try:
            status = self._driver.start(attempt, action, fitted)
        except InstrumentRefused as refusal:
            if earlier:
                # Rule 8: only an error reply to the only start ever sent proves that it did not run.
                raise InstrumentLost(f"refused ({refusal}), but an earlier start of it got no answer") from refusal
            told = {"code": refusal.code, "message": refusal.message, "retryable": refusal.retryable}
            self._memory.put(replace(row, state="REFUSED", status=told))
            raise
        except InstrumentLost as lost:
            if not lost.sent:
                self._memory.put(replace(row, state="SENDING" if earlier else "UNSENT", starts=earlier))
            # The instrument that comes back need not be the one that was described.
            self._description = None
            # Where an earlier start is in doubt, it makes no difference that this one never left.
            raise InstrumentLost(lost.reason, sent=lost.sent or earlier > 0) from lost
        return self._keep(attempt, status)

    def _look(self, attempt: str, word: str) -> Status:
        _check_id(attempt)
        known = self._memory.get(attempt)
        if known is not None and known.state in ("ENDED", "RELEASED"):
            return _ended(known)
        return self._keep(attempt, getattr(self._driver, word)(attempt))

    def _keep(self, attempt: str, status: Status) -> Status:
        """Judge what the instrument said, and remember what can be used later."""
        known = self._memory.get(attempt)
        if known is not None and known.state in ("ENDED", "RELEASED"):
            return _ended(known)
        if status.terminal:
            status = judge(status, self._described(), known.action if known else None)
        state = _state(status)
        row = known or Remembered(attempt, state)
        if state and (row.state != state or known is None):
            starts = max(row.starts, 0 if state == "VOIDED" else 1)
            kept = replace(status, duplicate=False).to_json() if state == "ENDED" else None
            self._memory.put(replace(row, state=state, status=kept, starts=starts))
        return status

    def _events(self) -> bool:
        if self._subscribed is None:
            try:
                self._subscribed = self._driver.subscribe(self._heard)
            except InstrumentLost as lost:
                # An instrument that says nothing to `subscribe` is asked for its status instead.
                self._subscribed = False if lost.sent else None
        return bool(self._subscribed)

    def _heard(self, event: Event) -> None:
        if event.kind in ("phase", "link"):
            self._wake()

    def _wake(self) -> None:
        with self._news:
            self._turn += 1
            self._news.notify_all()

    def _sleep(self, seconds: float, turn: int | None) -> None:
        """Until there is news since `turn`, or the time passed, or the host closes."""
        with self._news:
            self._news.wait_for(lambda: self._closed or (turn is not None and self._turn != turn), seconds)
        if self._closed:
            raise InstrumentLost("the host is closed", sent=False)


def _holdable(description: Description, action: str, arguments: Mapping[str, Any]) -> Json:
    """The arguments without samples that the action describes no place for: not every bench can hold an identifier."""
    found = description.action(action)
    known = found.parameters if found is not None else arguments
    return {n: v for n, v in arguments.items() if n in known or not (isinstance(v, Mapping) and "sample" in v)}


def _state(status: Status) -> str:
    """The memory's word for a phase; empty where the phase proves nothing."""
    if status.terminal:
        return "ENDED"
    return {"voided": "VOIDED", "running": "SENT", "paused": "SENT"}.get(status.phase, "")


def _ended(known: Remembered) -> Status:
    return Status.from_json(known.status or {"phase": "failed"})


def _check_id(attempt: object) -> None:
    if not isinstance(attempt, str) or not 0 < len(attempt) <= _MAX_ATTEMPT:
        raise InstrumentRefused("bad_request", f"an attempt's id is text of 1 to {_MAX_ATTEMPT} characters")
