"""One driver contract: the ten words of the line protocol, whatever the standard behind them.

A driver is synchronous and safe to call from several threads at once: while `stop` waits for its safe point,
`status` is answered. It translates, nothing else. It never sends a `start` on its own account, and never one twice.

Arguments, results and quantities are JSON in the forms of docs/line-protocol.md, never Python numbers.

Errors, and what each proves::

    DriverError
    ├── InstrumentRefused   an error reply: this very request moved nothing, and never will
    └── InstrumentLost      a dropped link, a time-out, garbage, half a line: it proves nothing
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, Protocol, cast, get_args, runtime_checkable

__all__ = [
    "ERROR_CODES",
    "PHASES",
    "TERMINAL",
    "Action",
    "Arguments",
    "Description",
    "Driver",
    "DriverError",
    "DriverFactory",
    "Event",
    "Health",
    "HealthState",
    "InstrumentLost",
    "InstrumentRefused",
    "Json",
    "Phase",
    "Status",
    "StopMode",
]

Json = dict[str, Any]
"""One JSON object, as the line protocol writes it."""

Arguments = Mapping[str, Any]
"""Parameter name -> `Value` in its JSON form."""

Phase = Literal["never_seen", "voided", "running", "paused", "done", "failed", "stopped", "cannot_tell"]
"""What an instrument says about an attempt. `cannot_tell` is an answer of `readback` alone."""

HealthState = Literal["idle", "busy", "paused", "error", "maintenance", "local"]
StopMode = Literal["safe_point", "now"]
OnDisconnect = Literal["continue", "pause", "abort"]
EventKind = Literal["progress", "phase", "health", "signal", "link"]

PHASES: frozenset[str] = frozenset(get_args(Phase))
TERMINAL: frozenset[str] = frozenset({"done", "failed", "stopped"})
"""Phases of an attempt that ran and ended. `voided` is the end of one that never ran."""

ERROR_CODES: frozenset[str] = frozenset(
    {
        "bad_request",
        "unsupported",
        "busy",
        "not_ready",
        "out_of_supply",
        "out_of_range",
        "voided",
        "interlock",
        "hardware",
    }
)


class DriverError(Exception):
    """Base of what a driver raises."""


class InstrumentRefused(DriverError):
    """The instrument answered with an error: this request moved nothing and never will.

    `code` is one of `ERROR_CODES`; `retryable` is the instrument's own word.
    """

    def __init__(self, code: str, message: str, retryable: bool = False) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable

    def __reduce__(self) -> tuple[type[InstrumentRefused], tuple[str, str, bool]]:
        return (type(self), (self.code, self.message, self.retryable))


class InstrumentLost(DriverError):
    """No usable answer came: dropped link, time-out, garbage, half a line. It proves nothing about what moved.

    `sent` is False only where no byte of this request can have left (nobody could be dialled).
    """

    def __init__(self, reason: str, sent: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent

    def __reduce__(self) -> tuple[type[InstrumentLost], tuple[str, bool]]:
        return (type(self), (self.reason, self.sent))


@dataclass(frozen=True, slots=True)
class Action:
    """One action as `describe` lists it.

    `parameters`: name -> `{kind, unit, min, max, values}` and `outputs`: name -> `{kind, unit}`, as JSON.
    `expected_ms`, `max_ms`: whole milliseconds of lab time.
    """

    name: str
    parameters: Mapping[str, Json]
    outputs: Mapping[str, Json]
    expected_ms: int
    max_ms: int

    def to_json(self) -> Json:
        """Return the line protocol's form."""
        return {
            "name": self.name,
            "parameters": {k: dict(v) for k, v in self.parameters.items()},
            "outputs": {k: dict(v) for k, v in self.outputs.items()},
            "duration": {"expected_ms": self.expected_ms, "max_ms": self.max_ms},
        }


@dataclass(frozen=True, slots=True)
class Description:
    """What an instrument says of itself. `time_scale`: decimal as text, lab time per wall time."""

    instrument: Mapping[str, Any]
    actions: tuple[Action, ...]
    remembers_attempts: bool
    can_void: bool
    on_disconnect: OnDisconnect
    simulated: bool
    time_scale: str = "1"
    protocol: int = 1

    def action(self, name: str) -> Action | None:
        """Return the action of that name, or None."""
        return next((a for a in self.actions if a.name == name), None)

    def to_json(self) -> Json:
        """Return the line protocol's form."""
        return {
            "protocol": self.protocol,
            "instrument": dict(self.instrument),
            "actions": [a.to_json() for a in self.actions],
            "remembers_attempts": self.remembers_attempts,
            "can_void": self.can_void,
            "on_disconnect": self.on_disconnect,
            "simulated": self.simulated,
            "time_scale": self.time_scale,
        }

    @classmethod
    def from_json(cls, reply: Mapping[str, Any]) -> Description:
        """Read a `describe` reply; unknown fields are ignored. Raises `ValueError` naming the field that is wrong."""
        if reply.get("protocol") != 1:
            raise ValueError(f"protocol: this driver speaks version 1, the instrument says {reply.get('protocol')!r}")
        instrument = _object(reply.get("instrument"), "instrument")
        listed = reply.get("actions")
        if not isinstance(listed, list):
            raise ValueError("actions: must be a list")
        remembers = _flag(reply, "remembers_attempts")
        can_void = _flag(reply, "can_void")
        if can_void and not remembers:
            raise ValueError("can_void: implies remembers_attempts, which is false")
        on_disconnect = reply.get("on_disconnect")
        if on_disconnect not in get_args(OnDisconnect):
            raise ValueError(f"on_disconnect: must be one of {', '.join(get_args(OnDisconnect))}")
        return cls(
            instrument=instrument,
            actions=tuple(_action(a, f"actions/{i}") for i, a in enumerate(listed)),
            remembers_attempts=remembers,
            can_void=can_void,
            on_disconnect=cast("OnDisconnect", on_disconnect),
            simulated=_flag(reply, "simulated"),
            time_scale=_decimal_text(reply.get("time_scale", "1"), "time_scale"),
        )


@dataclass(frozen=True, slots=True)
class Health:
    """The instrument's own state, and a sentence about it."""

    state: HealthState
    detail: str = ""

    def to_json(self) -> Json:
        """Return the line protocol's form."""
        return {"state": self.state, "detail": self.detail}

    @classmethod
    def from_json(cls, reply: Mapping[str, Any]) -> Health:
        """Read a `health` reply. Raises `ValueError` on an unknown state."""
        state = reply.get("state")
        if state not in get_args(HealthState):
            raise ValueError(f"state: must be one of {', '.join(get_args(HealthState))}, not {state!r}")
        return cls(cast("HealthState", state), str(reply.get("detail") or ""))


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of one attempt.

    `fraction`: 0 to 1, or None. `result`: `{"outputs": {name: Value}, "files": [...], "calibration": text | None}`
    once there is one. `error`: `{"code", "message"}` when failed. `duplicate`: a `start` met an id that the instrument
    had seen, and nothing moved. `flags`: what the driver found wrong with data that it kept, e.g. `wrong_unit`.
    """

    phase: Phase
    fraction: float | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    duplicate: bool = False
    flags: tuple[str, ...] = field(default=())

    @property
    def terminal(self) -> bool:
        """True when it ran and ended."""
        return self.phase in TERMINAL

    def to_json(self) -> Json:
        """Return a plain object; absent things are left out."""
        found: Json = {"phase": self.phase}
        if self.fraction is not None:
            found["fraction"] = self.fraction
        if self.result is not None:
            found["result"] = dict(self.result)
        if self.error is not None:
            found["error"] = dict(self.error)
        if self.duplicate:
            found["duplicate"] = True
        if self.flags:
            found["flags"] = list(self.flags)
        return found

    @classmethod
    def from_json(cls, reply: Mapping[str, Any]) -> Status:
        """Read a `status` reply or `to_json()`. Raises `ValueError` on an unknown phase or a malformed field."""
        phase = reply.get("phase")
        if phase not in PHASES:
            raise ValueError(f"phase: must be one of {', '.join(sorted(PHASES))}, not {phase!r}")
        fraction = reply.get("fraction")
        if fraction is not None and (isinstance(fraction, bool) or not isinstance(fraction, int | float)):
            raise ValueError("fraction: must be a number from 0 to 1")
        result, error = reply.get("result"), reply.get("error")
        return cls(
            phase=cast("Phase", phase),
            fraction=None if fraction is None else min(1.0, max(0.0, float(fraction))),
            result=None if result is None else _object(result, "result"),
            error=None if error is None else _object(error, "error"),
            duplicate=reply.get("duplicate") is True,
            flags=tuple(str(f) for f in reply.get("flags") or ()),
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something the instrument, or the link to it, said unasked.

    `progress` (attempt, fraction), `phase` (attempt, phase), `health` (state), `signal` (attempt, name, value as a
    Quantity in JSON), and the driver's own `link` (state `up` or `lost`).
    """

    kind: EventKind
    attempt: str | None = None
    fraction: float | None = None
    phase: str | None = None
    state: str | None = None
    name: str | None = None
    value: Mapping[str, Any] | None = None


@runtime_checkable
class Driver(Protocol):
    """The ten words. Every one may raise `InstrumentRefused` or `InstrumentLost`, and nothing else."""

    def describe(self) -> Description:
        """What the instrument is and can do. Moves nothing."""
        ...

    def health(self) -> Health:
        """The instrument's own state. Moves nothing."""
        ...

    def start(self, attempt: str, action: str, arguments: Arguments) -> Status:
        """Set the action moving under this id; send it once. Arguments are in the units that `describe` names."""
        ...

    def status(self, attempt: str) -> Status:
        """What the instrument knows of this id now. `never_seen` is no evidence that nothing will move."""
        ...

    def readback(self, attempt: str) -> Status:
        """As `status`, from what survives a restart of the instrument; `cannot_tell` where nothing does."""
        ...

    def void(self, attempt: str) -> Status:
        """Bar this id for ever: `voided`, or its phase if it had started. Refused `unsupported` without `can_void`."""
        ...

    def stop(self, attempt: str, mode: StopMode) -> Status:
        """End or pause it; returns when the phase is reached."""
        ...

    def resume(self, attempt: str) -> Status:
        """From `paused` to `running`."""
        ...

    def release(self, attempt: str) -> Status:
        """The instrument may forget the result, never the id."""
        ...

    def subscribe(self, callback: Callable[[Event], None]) -> bool:
        """Ask for events, on a thread of the driver's; False where the instrument sends none (poll `status`)."""
        ...

    def close(self) -> None:
        """Let go of the link and of every thread. Says nothing to the instrument; safe to call twice."""
        ...


DriverFactory = Callable[[Mapping[str, Any]], Driver]
"""What an entry point of group `labcommons.drivers` names: options in, driver out. Building one moves nothing."""


def _object(value: Any, where: str) -> Json:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: must be an object")
    return dict(value)


def _flag(reply: Mapping[str, Any], name: str) -> bool:
    value = reply.get(name)
    if not isinstance(value, bool):
        raise ValueError(f"{name}: must be true or false")
    return value


def _decimal_text(value: Any, where: str) -> str:
    try:
        number = Decimal(value) if isinstance(value, str) else Decimal(-1)
    except InvalidOperation:
        number = Decimal(-1)
    if not number.is_finite() or number <= 0:
        raise ValueError(f'{where}: must be a positive decimal as text, such as "1"')
    return str(value)


def _milliseconds(duration: Json, name: str, where: str) -> int:
    value = duration.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{where}/{name}: must be whole milliseconds, not negative")
    return value


def _action(value: Any, where: str) -> Action:
    listed = _object(value, where)
    name = listed.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"{where}/name: must be text")
    parameters = _object(listed.get("parameters") or {}, f"{where}/parameters")
    outputs = _object(listed.get("outputs") or {}, f"{where}/outputs")
    duration = _object(listed.get("duration"), f"{where}/duration")
    expected = _milliseconds(duration, "expected_ms", f"{where}/duration")
    longest = _milliseconds(duration, "max_ms", f"{where}/duration")
    if longest < expected:
        raise ValueError(f"{where}/duration: max_ms is below expected_ms")
    return Action(
        name=name,
        parameters={k: _object(v, f"{where}/parameters/{k}") for k, v in parameters.items()},
        outputs={k: _object(v, f"{where}/outputs/{k}") for k, v in outputs.items()},
        expected_ms=expected,
        max_ms=longest,
    )
