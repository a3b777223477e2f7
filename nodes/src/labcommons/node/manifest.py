"""The lab's word to the facility, derived: what `node.yaml` offers, as far as the instrument describes that it can.

Nothing is offered that the instrument does not cover: each doubt is a refusal that names the place in `node.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from labcommons.core import units
from labcommons.core.decimals import decimal_text
from labcommons.core.errors import InvalidInput
from labcommons.core.quantities import Quantity
from labcommons.node.drivers.contract import Action, Description, Json
from labcommons.node.drivers.values import limits
from labcommons.node.settings import ActionSettings, InstrumentSettings, Narrowed, NodeSettings, OfferSettings
from labcommons.protocols.capabilities import Action as CapabilityAction
from labcommons.protocols.capabilities import Capability, load_shipped
from labcommons.protocols.durations import evaluate_duration, numbers_of
from labcommons.protocols.manifests import parse_manifest
from labcommons.protocols.specs import OutputSpec, ParameterSpec

__all__ = ["derive", "derive_instrument"]

_Range = tuple[Decimal | None, Decimal | None]


def derive(
    settings: NodeSettings,
    descriptions: Mapping[str, Description],
    capabilities: Mapping[str, Capability] | None = None,
) -> Json:
    """The manifest (JSON, valid) of the instruments that were described; the others are left out.

    Raises `InvalidInput` whose `field` points into `node.yaml`.
    """
    known = load_shipped() if capabilities is None else capabilities
    instruments = []
    for name, instrument in settings.instruments.items():
        if name in descriptions:
            described = descriptions[name]
            instruments.append(derive_instrument(name, instrument, described, settings.time_scale, known))
    manifest: Json = {
        "manifest": 1,
        "lab": {"name": settings.lab.name, "time_zone": settings.lab.time_zone, "ror": settings.lab.ror},
        "time_scale": decimal_text(settings.time_scale),
        "instruments": instruments,
    }
    parse_manifest(manifest)
    return manifest


def derive_instrument(
    name: str,
    instrument: InstrumentSettings,
    described: Description,
    time_scale: Decimal,
    capabilities: Mapping[str, Capability],
) -> Json:
    """One entry of the manifest. Raises `InvalidInput` whose `field` points into `node.yaml`."""
    here = f"/instruments/{name}"
    if Decimal(described.time_scale) != time_scale:
        raise InvalidInput(
            f"{name} says that its time scale is {described.time_scale}, node.yaml says {decimal_text(time_scale)}",
            code="bad_manifest",
            field="/time_scale",
            remedy="give both the same: durations of the one would be charged by the other",
        )
    offers = [_offer(offer, described, capabilities, f"{here}/offers/{i}") for i, offer in enumerate(instrument.offers)]
    calibration = instrument.calibration
    return {
        "name": name,
        "type": instrument.type,
        "simulated": described.simulated,
        "capacity": instrument.capacity,
        "remembers_attempts": described.remembers_attempts,
        "can_void": described.can_void,
        "on_disconnect": described.on_disconnect,
        "pidinst": {**_pidinst(described.instrument), **instrument.pidinst},
        "calibration": None if calibration is None else calibration.model_dump(mode="json", exclude_none=True),
        "offers": offers,
        "limitations": list(instrument.limitations),
    }


def _pidinst(about: Mapping[str, Any]) -> Json:
    """What PIDINST calls the words of `describe`."""
    found: Json = {"name": str(about.get("name") or "instrument")}
    if about.get("manufacturer"):
        found["manufacturers"] = [{"name": str(about["manufacturer"])}]
    if about.get("model"):
        found["model"] = {"name": str(about["model"])}
    if about.get("serial"):
        found["alternateIdentifiers"] = [{"type": "SerialNumber", "value": str(about["serial"])}]
    return found


def _offer(offer: OfferSettings, described: Description, known: Mapping[str, Capability], here: str) -> Json:
    capability = known.get(offer.capability)
    if capability is None:
        raise _bad(
            f"no capability is called {offer.capability}",
            f"{here}/capability",
            f"there are: {', '.join(sorted(known))}",
        )
    wanted = offer.actions or {name: ActionSettings() for name in capability.actions}
    actions = {}
    for name, mapped in wanted.items():
        at = f"{here}/actions/{name}"
        if name not in capability.actions:
            raise _bad(f"{offer.capability} has no action {name!r}", at, f"it has: {', '.join(capability.actions)}")
        actions[name] = _action(name, capability.actions[name], mapped, described, at)
    return {"capability": offer.capability, "actions": actions, "limitations": list(offer.limitations)}


def _action(name: str, wanted: CapabilityAction, mapped: ActionSettings, described: Description, here: str) -> Json:
    own = mapped.driver_action or name
    found = described.action(own)
    if found is None:
        known = ", ".join(a.name for a in described.actions) or "none"
        raise _bad(
            f"the instrument describes no action {own!r}", f"{here}/driver_action", f"name one that it has: {known}"
        )
    for extra in found.parameters.keys() - wanted.parameters.keys() - wanted.takes.keys():
        raise _bad(
            f"the instrument's {own} wants a parameter {extra!r} that the capability does not give",
            here,
            "offer another action, or let the instrument do without it",
        )
    for extra in mapped.parameters.keys() - wanted.parameters.keys():
        known = ", ".join(wanted.parameters) or "none"
        raise _bad(f"{name} has no parameter {extra!r}", f"{here}/parameters/{extra}", f"it has: {known}")
    parameters = {
        p: _parameter(p, spec, found, mapped.parameters.get(p, Narrowed()), f"{here}/parameters/{p}")
        for p, spec in wanted.parameters.items()
    }
    outputs = {o: _output(o, spec, found, f"{here}/outputs/{o}") for o, spec in wanted.outputs.items()}
    return {
        "driver_action": own,
        "parameters": parameters,
        "takes": {t: take.model_dump(mode="json") for t, take in wanted.takes.items()},
        "outputs": outputs,
        "duration": _duration(mapped, found, parameters, f"{here}/duration"),
        "limitations": list(mapped.limitations),
    }


def _parameter(name: str, wanted: ParameterSpec, found: Action, narrowed: Narrowed, here: str) -> Json:
    spec = found.parameters.get(name)
    if spec is None:
        raise _bad(
            f"the instrument's {found.name} takes no parameter {name!r}",
            here,
            "offer an action that the instrument covers",
        )
    unit = _same_kind(f"the parameter {name!r}", wanted.kind, wanted.unit, spec, here)
    entry: Json = {"kind": wanted.kind} | ({} if unit is None else {"unit": unit})
    if wanted.kind == "enum":
        return entry | {"values": _words(name, wanted, spec, narrowed, here)}
    try:
        instrument = limits(spec)
    except ValueError as error:
        raise _bad(f"the instrument describes {name!r} badly: {error}", here, "mend what it describes") from error
    _within(f"{name!r} is offered", (narrowed.min, narrowed.max), instrument, unit, "the instrument's", here)
    vocabulary = _converted((wanted.min, wanted.max), wanted.unit, unit)
    _within(f"{name!r} is offered", (narrowed.min, narrowed.max), vocabulary, unit, "the capability's", here)
    low = narrowed.min if narrowed.min is not None else _largest(instrument[0], vocabulary[0])
    high = narrowed.max if narrowed.max is not None else _smallest(instrument[1], vocabulary[1])
    if low is not None and high is not None and low > high:
        raise _bad(f"nothing is left of the range of {name!r}: {low} to {high}", here, "widen it, or do not offer it")
    entry |= {} if low is None else {"min": decimal_text(low)}
    return entry | ({} if high is None else {"max": decimal_text(high)})


def _same_kind(what: str, kind: str, unit: str | None, spec: Mapping[str, Any], here: str) -> str | None:
    """The instrument's own unit, if kind and dimension are those of the capability. Raises `InvalidInput`."""
    if spec.get("kind") != kind:
        raise _bad(
            f"{what} is of kind {kind}, the instrument describes {spec.get('kind')}", here, "mend what it describes"
        )
    own = spec.get("unit")
    if unit is None:
        return None
    if not isinstance(own, str):
        raise _bad(f"the instrument describes {what} without a unit", here, f"let it describe {unit}")
    try:
        units.conversion(unit, own)
    except InvalidInput as error:
        raise _bad(
            f"{what} is in {unit}, the instrument describes {own}: {error.detail}", here, f"describe {unit}"
        ) from error
    return own


def _words(name: str, wanted: ParameterSpec, spec: Mapping[str, Any], narrowed: Narrowed, here: str) -> list[str]:
    own = [str(w) for w in spec.get("values") or ()]
    left = [w for w in wanted.values if w in own]
    for word in narrowed.values or ():
        if word not in left:
            raise _bad(f"{name!r} is offered with {word!r}, which is not there", f"{here}/values", f"there are: {left}")
    kept = list(narrowed.values) if narrowed.values is not None else left
    if not kept:
        raise _bad(f"no word is left of {name!r}", here, f"the instrument describes: {', '.join(own) or 'none'}")
    return kept


def _output(name: str, wanted: OutputSpec, found: Action, here: str) -> Json:
    spec = found.outputs.get(name)
    if spec is None:
        raise _bad(f"the instrument's {found.name} gives no output {name!r}", here, "offer a capability that it covers")
    unit = _same_kind(f"the output {name!r}", wanted.kind, wanted.unit, spec, here)
    entry = wanted.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return {**entry, "kind": wanted.kind} | ({} if unit is None else {"unit": unit})


def _duration(mapped: ActionSettings, found: Action, parameters: Json, here: str) -> Json:
    text = {
        "expected_ms": mapped.duration.expected_ms or str(found.expected_ms),
        "maximum_ms": mapped.duration.maximum_ms or str(found.max_ms),
    }
    highest = numbers_of({}, {name: ParameterSpec.model_validate(spec) for name, spec in parameters.items()})
    found_ms = {}
    for word, expression in text.items():
        try:
            found_ms[word] = evaluate_duration(expression, highest)
        except InvalidInput as error:
            raise error.at(f"{here}/{word}") from None
    if found_ms["expected_ms"] > found_ms["maximum_ms"]:
        raise _bad(
            f"with the largest arguments {found_ms['expected_ms']} ms are expected, above the maximum of "
            f"{found_ms['maximum_ms']} ms",
            f"{here}/maximum_ms",
            "raise the maximum",
        )
    return text


def _converted(span: _Range, unit: str | None, target: str | None) -> _Range:
    def one(number: Decimal | None) -> Decimal | None:
        if number is None or unit is None or target is None or unit == target:
            return number
        return Quantity(number, unit).to(target).value

    return one(span[0]), one(span[1])


def _within(what: str, offered: _Range, allowed: _Range, unit: str | None, whose: str, here: str) -> None:
    low, high = allowed
    text = f"{'' if low is None else low} to {'' if high is None else high} {unit or ''}".strip()
    if offered[0] is not None and ((low is not None and offered[0] < low) or (high is not None and offered[0] > high)):
        raise _bad(f"{what} from {offered[0]} on, outside {whose} range {text}", f"{here}/min", f"stay within {text}")
    if offered[1] is not None and ((high is not None and offered[1] > high) or (low is not None and offered[1] < low)):
        raise _bad(f"{what} up to {offered[1]}, outside {whose} range {text}", f"{here}/max", f"stay within {text}")


def _largest(*numbers: Decimal | None) -> Decimal | None:
    return max((n for n in numbers if n is not None), default=None)


def _smallest(*numbers: Decimal | None) -> Decimal | None:
    return min((n for n in numbers if n is not None), default=None)


def _bad(detail: str, field: str, remedy: str) -> InvalidInput:
    return InvalidInput(detail, code="bad_manifest", field=field, remedy=remedy)
