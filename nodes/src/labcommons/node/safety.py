"""The lab's own word about a grant: its allow-list, its hours, its limits. The facility cannot widen it.

Pure: the time and the manifest come in. Each refusal says what speaks against the grant and what would lift it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, assert_never

from labcommons.core.errors import InvalidInput, UnknownUnit, WrongDimension
from labcommons.core.profiles import Profile
from labcommons.core.quantities import Quantity
from labcommons.core.times import to_text
from labcommons.core.values import Array, Enum, Int, Sample, Text, Value, kind_of, value_from_json, value_to_json
from labcommons.core.windows import Hours
from labcommons.federation.wire import EntryKind, Grant
from labcommons.node.decisions import Close

__all__ = ["AllowRule", "Prepared", "allowed", "prepare"]


@dataclass(frozen=True)
class AllowRule:
    """One line of the lab's allow-list.

    ``protocol``: a pattern of names (``colour.*``), ``*``, or a hash (``sha256:...``); ``projects``: ``None`` for any;
    ``hours``: ``None`` for always, with ``hours_text`` as the lab wrote it.
    """

    protocol: str
    projects: frozenset[str] | None = None
    hours: Hours | None = None
    hours_text: str = ""

    def names(self, grant: Grant) -> bool:
        """Whether it speaks of this protocol. A grant without a protocol's name matches ``*`` and hashes alone."""
        if self.protocol.startswith("sha256:"):
            return self.protocol == grant.protocol
        return self.protocol == "*" or (grant.protocol_id is not None and fnmatchcase(grant.protocol_id, self.protocol))


def allowed(grant: Grant, rules: Sequence[AllowRule], now: datetime, zone: str) -> Close | None:
    """``None`` when one rule allows it whole; else why not, rule by rule. ``now`` is aware, ``zone`` an IANA name."""
    protocol = grant.protocol_id or grant.protocol
    speaking = [rule for rule in rules if rule.names(grant)]
    if not speaking:
        return _not_allowed(f"no line of the allow-list names the protocol {protocol} ({grant.protocol})")
    why = []
    for rule in speaking:
        if rule.projects is not None and grant.project not in rule.projects:
            why.append(f"{rule.protocol}: the project {grant.project} is not listed")
        elif rule.hours is not None and not rule.hours.contains(now, zone):
            opens = to_text(rule.hours.next_open(now, zone))
            why.append(f"{rule.protocol}: outside the hours {rule.hours_text} ({zone}), which begin again at {opens}")
        else:
            return None
    return _not_allowed("; ".join(why))


def _not_allowed(text: str) -> Close:
    return Close(EntryKind.TOMBSTONE, "not_allowed", text[:2000])


@dataclass(frozen=True)
class Prepared:
    """What goes to the driver: its own action, and the arguments in the units that it described."""

    action: str
    arguments: dict[str, Any]


def prepare(grant: Grant, instrument: Mapping[str, Any]) -> Prepared | Close:
    """The grant held against this instrument's manifest once more.

    ``instrument``: its entry in the manifest (JSON): ``offers`` with, per action, ``driver_action`` and
    ``parameters {p: {kind, unit, min, max, values}}`` and ``takes`` (samples by name).
    """
    found = _action(grant.action, instrument)
    if found is None:
        return Close(EntryKind.TOMBSTONE, "unsupported", f"{grant.instrument} offers no action {grant.action!r}")
    driver_action, parameters, takes = found
    given = {name: grant.arguments[name] for name in grant.arguments if name not in takes}
    unknown = sorted(set(given) - set(parameters))
    missing = sorted(set(parameters) - set(given))
    if unknown or missing:
        text = "; ".join(
            f"{what}: {', '.join(names)}"
            for what, names in (("unknown arguments", unknown), ("missing arguments", missing))
            if names
        )
        return Close(EntryKind.TOMBSTONE, "bad_request", text)
    ready = {}
    samples = {name: {"kind": "sample"} for name in takes if name in grant.arguments}
    for name, spec in {**parameters, **samples}.items():
        try:
            value = _converted(value_from_json(grant.arguments[name], f"/arguments/{name}"), spec)
        except InvalidInput as error:
            reason = "out_of_range" if error.word == "out_of_range" else "bad_request"
            return Close(EntryKind.TOMBSTONE, reason, f"{name}: {error.detail}")
        ready[name] = value_to_json(value)
    return Prepared(driver_action, ready)


def _action(
    name: str, instrument: Mapping[str, Any]
) -> tuple[str, Mapping[str, Mapping[str, Any]], Mapping[str, Any]] | None:
    """By the capability's name for it first; else by the driver's own, which a grant may carry."""
    offered = [
        (own, (str(mapped.get("driver_action") or own), mapped.get("parameters") or {}, mapped.get("takes") or {}))
        for offer in instrument.get("offers") or ()
        for own, mapped in (offer.get("actions") or {}).items()
    ]
    for own, found in offered:
        if own == name:
            return found
    return next((found for _, found in offered if found[0] == name), None)


def _converted(value: Value, spec: Mapping[str, Any]) -> Value:
    """``value`` in the unit of ``spec``, within its limits. Raises ``InvalidInput``."""
    kind = kind_of(value)
    if kind != spec.get("kind"):
        raise InvalidInput(f"it is of kind {kind}, and the manifest asks for {spec.get('kind')}")
    unit = str(spec.get("unit") or "1")
    match value:
        case Quantity():
            quantity = _to(value, unit)
            _within([quantity.value], spec, unit)
            return quantity
        case Int():
            _within([Decimal(value.value)], spec, "")
        case Enum():
            if value.word not in (spec.get("values") or ()):
                raise InvalidInput(f"{value.word!r} is none of {', '.join(spec.get('values') or ())}")
        case Array():
            if value.unit != unit:
                converted = tuple(_to(Quantity(number, value.unit), unit).value for number in value.values)
                value = Array(unit, converted)
            _within(value.values, spec, unit)
        case Profile():
            if value.unit != unit:
                raise WrongDimension(f"its unit is {value.unit}, and the manifest asks for {unit}")
            _within([point.value for point in value.points], spec, unit)
        case Text() | Sample():
            pass
        case _:
            assert_never(value)
    return value


def _to(value: Quantity, unit: str) -> Quantity:
    try:
        return value.to(unit)
    except (UnknownUnit, WrongDimension) as error:
        raise InvalidInput(f"its unit is {value.unit}, and the manifest asks for {unit}: {error.detail}") from error


def _within(numbers: Sequence[Decimal], spec: Mapping[str, Any], unit: str) -> None:
    low, high = spec.get("min"), spec.get("max")
    for number in numbers:
        if (low is not None and number < Decimal(str(low))) or (high is not None and number > Decimal(str(high))):
            raise InvalidInput(
                f"{number} {unit} is outside {'-' if low is None else low} to {'-' if high is None else high} {unit}",
                code="out_of_range",
            )
