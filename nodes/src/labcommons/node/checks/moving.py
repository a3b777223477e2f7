"""Rules that start something: each run once, refusals that move nothing, results as described, stops, lost links."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

from labcommons.node.checks.probe import Breach, NotApplicable, Probe
from labcommons.node.drivers.clock import monotonic
from labcommons.node.drivers.contract import DriverError, Event, InstrumentRefused, Json, Status
from labcommons.node.drivers.results import judge
from labcommons.node.drivers.values import limits

__all__ = [
    "busy",
    "duplicate",
    "events",
    "lost_link",
    "other_arguments",
    "readback",
    "refusals",
    "release",
    "resume",
    "run_once",
    "stop",
    "void_after_run",
]

_OTHER_UNIT = {"m": "s"}


def refusals(p: Probe) -> None:
    """What must be refused is refused, moves nothing, and bars its id."""
    for what, action, arguments, codes in _wrong(p):
        attempt = p.fresh_id()
        try:
            said = p.driver.start(attempt, action, arguments)
        except InstrumentRefused as refusal:
            if refusal.code not in codes:
                raise Breach(
                    f"a start with {what} is refused with {refusal.code}, not {' or '.join(codes)}"
                ) from refusal
        else:
            p.driver.stop(attempt, "now")
            raise Breach(f"a start with {what} answers {said.phase}")
        p.unmoved(f"a start with {what}")
        phase = p.driver.status(attempt).phase
        if p.description.remembers_attempts and phase != "voided":
            raise Breach(f"a start with {what} was refused, and its id is {phase} afterwards, not voided")
        if not p.description.remembers_attempts and phase not in ("never_seen", "voided"):
            raise Breach(f"a start with {what} was refused, and its id is {phase} afterwards")


def _wrong(p: Probe) -> list[tuple[str, str, Json, tuple[str, ...]]]:
    action, good = p.action.name, p.arguments
    bad = ("bad_request",)
    found: list[tuple[str, str, Json, tuple[str, ...]]] = [
        ("an unknown action", "x-no-such-action", good, bad),
        ("an unlisted parameter", action, {**good, "x_nobody": "1"}, bad),
    ]
    for name, spec in p.action.parameters.items():
        found.append((f"the parameter {name} missing", action, {k: v for k, v in good.items() if k != name}, bad))
        if spec.get("kind") == "quantity":
            other = _OTHER_UNIT.get(str(spec.get("unit")), "m")
            wrong_unit = {**good, name: {**good[name], "unit": other}}
            found.append((f"{name} in {other}", action, wrong_unit, bad))
            found.append((f"{name} as a bare number", action, {**good, name: 1}, bad))
        _, high = limits(spec)
        if high is not None and (beyond := _beyond(spec["kind"], good[name], high)) is not None:
            found.append((f"{name} above its max", action, {**good, name: beyond}, ("out_of_range", "bad_request")))
        if spec.get("kind") == "enum":
            unlisted = {**good, name: {"enum": "x-not-listed"}}
            found.append((f"{name} with an unlisted word", action, unlisted, bad))
    return found


def _beyond(kind: str, good: Any, high: Decimal) -> Any:
    number = high + max(abs(high), Decimal(1))
    if kind == "quantity":
        return {**good, "value": str(number)}
    return {"int": int(number)} if kind == "int" else None


def run_once(p: Probe) -> None:
    """A whole run: answered at once, seen running, ended in time, its result as described."""
    attempt = p.fresh_id()
    before = monotonic()
    try:
        said = p.start(attempt)
    except InstrumentRefused as refusal:
        raise Breach(f"a good start is refused, {refusal}; then health says {p.driver.health().state}") from refusal
    took = monotonic() - before
    if said.phase not in ("running", "done") or said.duplicate:
        raise Breach(f"the first start of an id answers {said.to_json()}")
    if took > max(1.0, p.longest_s / 2):
        raise Breach(f"start was answered after {took:.1f} s: it waits for the run")
    status = p.finished(attempt)
    if status.phase != "done":
        raise Breach(f"the run ended {status.phase}: {dict(status.error or {})}")
    if status.result is None:
        raise Breach("done, and there is no result")
    judged = judge(status, p.description, p.action.name)
    if judged.phase != "done":
        raise Breach(str(dict(judged.error or {}).get("message")))
    p.done = attempt
    p.unmoved("the end of a run")


def _done(p: Probe) -> str:
    if p.done is None:
        raise NotApplicable("no run ended as it should")
    return p.done


def duplicate(p: Probe) -> None:
    """The same start again, with its numbers written otherwise: nothing moves."""
    p.remembering()
    attempt = _done(p)
    for arguments in (p.arguments, _rewritten(p.arguments)):
        try:
            said = p.start(attempt, arguments)
        except InstrumentRefused as refusal:
            raise Breach(f"the same start again is refused: {refusal}") from refusal
        if not said.duplicate or said.phase != "done":
            p.driver.stop(attempt, "now")
            raise Breach(f"the same start again answers phase {said.phase} and duplicate {said.duplicate}")
        p.unmoved("the same start again")


def _rewritten(value: Any) -> Any:
    """12.5 as 12.50: the same number."""
    if isinstance(value, dict):
        return {k: _more_digits(v) if k == "value" and isinstance(v, str) else _rewritten(v) for k, v in value.items()}
    return value


def _more_digits(text: str) -> str:
    return text + "0" if "." in text else text + ".0"


def other_arguments(p: Probe) -> None:
    """The same id with other arguments is refused."""
    p.remembering()
    attempt = _done(p)
    changed = _changed(p)
    try:
        said = p.start(attempt, changed)
    except InstrumentRefused as refusal:
        if refusal.code != "bad_request":
            raise Breach(f"the same id with other arguments is refused with {refusal.code}") from refusal
    else:
        raise Breach(f"the same id with other arguments answers {said.phase}")
    p.unmoved("the same id with other arguments")
    if (phase := p.driver.status(attempt).phase) != "done":
        raise Breach(f"the id that was done is {phase} after a start with other arguments")


def _changed(p: Probe) -> Json:
    for name, spec in p.action.parameters.items():
        low, _ = limits(spec)
        if spec.get("kind") == "quantity" and low is not None and Decimal(p.arguments[name]["value"]) != low:
            return {**p.arguments, name: {**p.arguments[name], "value": str(low)}}
        if spec.get("kind") == "int" and low is not None and p.arguments[name]["int"] != int(low):
            return {**p.arguments, name: {"int": int(low)}}
        if spec.get("kind") == "text":
            return {**p.arguments, name: p.arguments[name] + " other"}
    raise NotApplicable("its action has no parameter that could be changed within its range")


def void_after_run(p: Probe) -> None:
    """Void of an id that ran tells its phase and changes nothing."""
    if not p.description.can_void:
        raise NotApplicable("it says that it cannot void")
    if (said := p.driver.void(_done(p))).phase != "done":
        raise Breach(f"void of an id that is done answers {said.phase}")


def readback(p: Probe) -> None:
    """As status, from what survives a restart."""
    attempt = _done(p)
    try:
        said = p.driver.readback(attempt)
    except InstrumentRefused as refusal:
        if refusal.code == "unsupported":
            raise NotApplicable("it does not support readback") from refusal
        raise
    wanted = ("done",) if p.description.remembers_attempts else ("cannot_tell", "done")
    if said.phase not in wanted:
        raise Breach(f"readback of an id that is done answers {said.phase}")


def release(p: Probe) -> None:
    """The result may go, the id stays."""
    attempt = _done(p)
    try:
        p.driver.release(attempt)
    except InstrumentRefused as refusal:
        if refusal.code == "unsupported":
            raise NotApplicable("it does not support release") from refusal
        raise
    phase = p.driver.status(attempt).phase
    if p.description.remembers_attempts and phase != "done":
        raise Breach(f"after release the status of a done id is {phase}")


def busy(p: Probe) -> None:
    """While one runs: seen running, health busy, a second one refused, release refused."""
    first, second = p.fresh_id(), p.fresh_id()
    p.start(first)
    status, state = p.driver.status(first), p.driver.health().state
    try:
        said: Status | None = p.start(second)
    except InstrumentRefused as refusal:
        said = None
        code, retryable = refusal.code, refusal.retryable
    else:
        code, retryable = "", False
    try:
        if status.phase != "running" or p.driver.status(first).phase != "running":
            raise NotApplicable(f"a run is over too soon to look ({status.phase})")
        if state != "busy":
            raise Breach(f"health says {state} while an attempt runs")
        if said is not None:
            raise NotApplicable("it runs several attempts at a time")
        if code != "busy" or not retryable:
            raise Breach(f"a second start is refused with {code!r}, retryable {retryable}")
        _release_of_running(p, first)
    finally:
        for attempt in (first, second):
            p.driver.stop(attempt, "now")


def _release_of_running(p: Probe, attempt: str) -> None:
    try:
        said = p.driver.release(attempt)
    except InstrumentRefused as refusal:
        if refusal.code not in ("busy", "unsupported"):
            raise Breach(f"release of a running attempt is refused with {refusal.code}") from refusal
    else:
        raise Breach(f"release of a running attempt answers {said.phase}")


def stop(p: Probe) -> None:
    """A stop is answered when its phase is reached, and others are answered meanwhile."""
    attempt = p.fresh_id()
    p.start(attempt)
    said: list[Status | DriverError] = []

    def ask() -> None:
        try:
            said.append(p.driver.stop(attempt, "safe_point"))
        except DriverError as error:
            said.append(error)

    waiting = threading.Thread(target=ask, daemon=True)
    waiting.start()
    p.driver.status(attempt)
    p.driver.health()
    waiting.join(p.longest_s + 2 * p.reply_s)
    if not said:
        raise Breach("a stop at the safe point is not answered within the longest run")
    if isinstance(said[0], DriverError):
        raise Breach(f"a stop at the safe point got {said[0]}")
    if said[0].phase not in ("stopped", "paused", "done", "failed"):
        raise Breach(f"a stop at the safe point answers {said[0].phase}")
    ended = p.driver.stop(attempt, "now")
    if ended.phase not in ("stopped", "done", "failed"):
        raise Breach(f"a stop now answers {ended.phase}")
    p.unmoved("a stop")


def resume(p: Probe) -> None:
    """What is not paused cannot be resumed."""
    attempt = _done(p)
    try:
        said = p.driver.resume(attempt)
    except InstrumentRefused as refusal:
        if refusal.code == "unsupported":
            raise NotApplicable("it does not support resume") from refusal
        if refusal.code != "not_ready":
            raise Breach(f"resume of what is not paused is refused with {refusal.code}") from refusal
        return
    raise Breach(f"resume of what is not paused answers {said.phase}")


def events(p: Probe) -> None:
    """After subscribe, the end of a run is told."""
    heard: list[Event] = []
    ended = threading.Event()
    attempt = p.fresh_id()

    def hear(event: Event) -> None:
        heard.append(event)
        if event.kind == "phase" and event.attempt == attempt and event.phase in ("done", "failed", "stopped"):
            ended.set()

    if not p.driver.subscribe(hear):
        raise NotApplicable("it sends no events")
    p.start(attempt)
    p.finished(attempt)
    if not ended.wait(p.reply_s):
        kinds = ", ".join(sorted({e.kind for e in heard if e.kind != "link"}))
        raise Breach(f"a run ended and no phase event said so; heard was: {kinds or 'nothing'}")
    if any(not 0 <= e.fraction <= 1 for e in heard if e.fraction is not None):
        raise Breach("a progress event has a fraction outside 0 to 1")


def lost_link(p: Probe) -> None:
    """When the link that carried the start drops, it does what on_disconnect says."""
    if p.address is None:
        raise NotApplicable("this driver holds its instrument in process")
    attempt = p.fresh_id()
    p.start(attempt)
    if p.driver.status(attempt).phase != "running":
        raise NotApplicable("a run is over too soon to drop its link")
    p.reconnect()
    word = p.description.on_disconnect
    wanted = {"continue": ("running", "done"), "pause": ("paused",), "abort": ("stopped",)}[word]
    deadline = monotonic() + p.reply_s
    status = p.driver.status(attempt)
    while status.phase not in wanted and status.phase == "running" and monotonic() < deadline:
        status = p.driver.status(attempt)
    p.driver.stop(attempt, "now")
    if status.phase not in wanted:
        raise Breach(f"on_disconnect is {word}, and after the link dropped the phase is {status.phase}")
