"""Rules that start nothing: what the instrument says of itself, and that asking moves nothing."""

from __future__ import annotations

from labcommons.core import units
from labcommons.core.errors import InvalidInput
from labcommons.node.checks.probe import Breach, NotApplicable, Probe
from labcommons.node.drivers.contract import Action, InstrumentRefused, Json
from labcommons.node.drivers.values import KINDS, limits

__all__ = [
    "bad_line",
    "describe",
    "half_request",
    "health",
    "never_seen",
    "stop_leaves_no_trace",
    "unknown_fields",
    "unknown_op",
    "void_holds",
]

_WITH_UNIT = ("quantity", "array", "profile")


def describe(p: Probe) -> None:
    """The description can be read, and hangs together."""
    p.described = p.driver.describe()
    d = p.described
    for word in ("name", "manufacturer", "model", "serial"):
        if not isinstance(d.instrument.get(word), str):
            raise Breach(f"instrument.{word} is missing or no text")
    if not d.actions:
        raise Breach("it lists no action")
    if len({a.name for a in d.actions}) < len(d.actions):
        raise Breach("two actions have one name")
    for action in d.actions:
        _described_action(action)


def _described_action(action: Action) -> None:
    for what, specs in (("parameter", action.parameters), ("output", action.outputs)):
        for name, spec in specs.items():
            where = f"{what} {name} of {action.name}"
            if spec.get("kind") not in KINDS:
                raise Breach(f"{where}: the kind {spec.get('kind')!r} is none of {', '.join(KINDS)}")
            if spec["kind"] in _WITH_UNIT:
                try:
                    units.check(spec.get("unit"))
                except InvalidInput as error:
                    raise Breach(f"{where}: {error.detail}") from error
            if spec["kind"] == "enum" and what == "parameter" and not spec.get("values"):
                raise Breach(f"{where}: an enum lists its values")
            _range(where, spec)


def _range(where: str, spec: Json) -> None:
    try:
        low, high = limits(spec)
    except ValueError as error:
        raise Breach(f"{where}: {error}") from error
    if low is not None and high is not None and low > high:
        raise Breach(f"{where}: min is above max")


def health(p: Probe) -> None:
    """It has a state; the checks want it idle."""
    state = p.driver.health()
    if state.state != "idle":
        raise NotApplicable(f"it is {state.state} ({state.detail}); bring it to idle, then check again")


def unknown_op(p: Probe) -> None:
    """A word it does not know."""
    with p.raw() as line:
        reply = line.ask({"id": 41, "op": "x-nobody-knows-this"})
    _error(reply, 41, ("unsupported",))


def bad_line(p: Probe) -> None:
    """A line that is not JSON gets an answer, and the connection lives on."""
    with p.raw() as line:
        _error(line.ask(b"this is not JSON"), None, ("bad_request",))
        if line.ask({"id": 42, "op": "health"}).get("id") != 42:
            raise Breach("after a line that is not JSON it does not answer the next request")


def unknown_fields(p: Probe) -> None:
    """More in a request than it knows."""
    with p.raw() as line:
        reply = line.ask({"id": 43, "op": "health", "colour": "green", "later": {"more": [1]}})
    if reply.get("ok") is not True or reply.get("id") != 43:
        raise Breach(f"a request with unknown fields got {str(reply)[:200]}")


def half_request(p: Probe) -> None:
    """Half a line, then the link drops: nothing may come of it."""
    attempt = p.fresh_id()
    with p.raw() as line:
        line.send(f'{{"id": 44, "op": "void", "attempt": "{attempt}"'.encode())
    with p.raw() as line:
        if line.ask({"id": 45, "op": "health"}).get("ok") is not True:
            raise Breach("after half a line and a hang-up it answers no more")
        found = line.ask({"id": 46, "op": "status", "attempt": attempt})
    if found.get("phase") != "never_seen":
        raise Breach(f"half a line was acted upon: {str(found)[:200]}")


def _error(reply: Json, number: int | None, codes: tuple[str, ...]) -> None:
    error = reply.get("error")
    if reply.get("ok") is not False or not isinstance(error, dict):
        raise Breach(f"it answered {str(reply)[:200]}, not an error")
    if reply.get("id") != number:
        raise Breach(f"the reply's id is {reply.get('id')!r}, the request's {number!r}")
    if error.get("code") not in codes:
        raise Breach(f"the code is {error.get('code')!r}, wanted is {' or '.join(codes)}")


def never_seen(p: Probe) -> None:
    """Asking for an id does nothing to it."""
    attempt = p.fresh_id()
    for _ in range(2):
        status = p.driver.status(attempt)
        if status.phase != "never_seen":
            raise Breach(f"the status of an id that nobody sent is {status.phase}")
    p.unmoved("status of an id that nobody sent")


def stop_leaves_no_trace(p: Probe) -> None:
    """Stopping an id that was never seen is not a way to bar it."""
    attempt = p.fresh_id()
    said = p.driver.stop(attempt, "now")
    after = p.driver.status(attempt)
    if said.phase != "never_seen" or after.phase != "never_seen":
        raise Breach(f"stop of an id that nobody sent said {said.phase}, and its status is {after.phase} afterwards")


def void_holds(p: Probe) -> None:
    """A voided id stays voided, however late its start comes, and whoever sends it."""
    attempt = p.fresh_id()
    if not p.description.can_void:
        try:
            said = p.driver.void(attempt)
        except InstrumentRefused as refusal:
            if refusal.code != "unsupported":
                raise Breach(f"can_void is false and void answers {refusal.code}") from refusal
            raise NotApplicable("it says that it cannot void") from refusal
        raise Breach(f"can_void is false and void answers {said.phase}")
    said = p.driver.void(attempt)
    if said.phase != "voided":
        raise Breach(f"void of an id that nobody sent answers {said.phase}")
    if (found := p.driver.status(attempt)).phase != "voided":
        raise Breach(f"after void the status is {found.phase}")
    if not p.motion:
        return
    for again in (False, True):
        driver = p.reconnect() if again else p.driver
        try:
            started = driver.start(attempt, p.action.name, p.arguments)
        except InstrumentRefused as refusal:
            if refusal.code != "voided":
                raise Breach(f"the start of a voided id is refused with {refusal.code}") from refusal
        else:
            driver.stop(attempt, "now")
            raise Breach(f"the start of a voided id answers {started.phase}")
    p.unmoved("the start of a voided id")
