"""Whether a document makes sense beside the capabilities: names, kinds, units, order. No instrument is asked here."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from labcommons.core.errors import InvalidInput, LabCommonsError
from labcommons.core.quantities import Quantity
from labcommons.core.values import Enum, Int, Kind, Sample, Text, Value, kind_of
from labcommons.protocols.capabilities import Action, Capability
from labcommons.protocols.documents import Argument, OutputRef, ParameterRef, Protocol, SampleRef, Step
from labcommons.protocols.guards import check_guard, compile_guard
from labcommons.protocols.manifests import Manifest
from labcommons.protocols.plans import Reason
from labcommons.protocols.specs import OutputSpec, ParameterSpec

__all__ = ["check_document", "check_manifest", "dependencies"]


def check_document(protocol: Protocol, capabilities: Mapping[str, Capability]) -> list[Reason]:
    """Everything that is wrong with the document itself; fields are ``/protocol`` and a pointer into the document."""
    reasons = _unsupported(protocol)
    for name, role in protocol.roles.items():
        if role.capability not in capabilities:
            known = ", ".join(sorted(capabilities)[:20]) or "none"
            reasons.append(
                _reason(
                    None,
                    "unknown_capability",
                    f"/roles/{name}/capability",
                    f"nobody has published the capability {role.capability}",
                    f"use one of: {known}",
                )
            )
    reasons += _check_samples(protocol)
    for index, step in enumerate(protocol.steps):
        reasons += _check_step(protocol, capabilities, index, step)
    if not reasons:
        # On a sound document only: a cycle through a name that does not exist is no finding.
        reasons += _check_order(protocol, capabilities)
    return reasons


def dependencies(protocol: Protocol, step: Step) -> tuple[str, ...]:
    """The steps that must end before ``step``: those in ``after``, those whose outputs its arguments or its guard
    read, and the makers of its samples; in the order of the document. A step may use a sample that it makes itself."""
    wanted = set(step.after)
    for given in step.arguments.values():
        if isinstance(given, OutputRef):
            wanted.add(given.step)
        elif isinstance(given, SampleRef) and given.name in protocol.samples:
            maker = protocol.samples[given.name].made_by
            if maker is not None and maker != step.id:
                wanted.add(maker)
    if step.guard is not None:
        try:
            read = compile_guard(step.guard).references
        except LabCommonsError:
            read = frozenset()  # said by _check_guard
        wanted |= {name.split(".")[1] for name in read if name.startswith("steps.")}
    return tuple(other.id for other in protocol.steps if other.id in wanted)


def action_of(protocol: Protocol, capabilities: Mapping[str, Capability], step: Step) -> Action | None:
    """The capability's action behind the step, if role, capability and action exist."""
    role = protocol.roles.get(step.role)
    capability = capabilities.get(role.capability) if role is not None else None
    return capability.actions.get(step.action) if capability is not None else None


def _reason(step: str | None, code: str, field: str, text: str, remedy: str, limit: str | None = None) -> Reason:
    return Reason(step, None, code, limit, f"/protocol{field}", remedy, text)


def _unsupported(protocol: Protocol) -> list[Reason]:
    """What the form knows and this version does not do: refused rather than passed over in silence."""
    found: list[tuple[str | None, str]] = [
        (None, f"/{name}") for name in ("safety", "analysis") if getattr(protocol, name) is not None
    ]
    found += [(None, f"/roles/{n}/constraints") for n, role in protocol.roles.items() if role.constraints is not None]
    found += [(None, f"/materials/{i}/hazards") for i, material in enumerate(protocol.materials) if material.hazards]
    for index, step in enumerate(protocol.steps):
        for name in ("foreach", "on_error", "interlocks", "signals"):
            if getattr(step, name) is not None:
                found.append((step.id, f"/steps/{index}/{name}"))
    return [
        _reason(step, "unsupported", field, f"{field.rsplit('/', 1)[-1]} is not supported yet", "leave it out")
        for step, field in found
    ]


def _check_samples(protocol: Protocol) -> list[Reason]:
    reasons = []
    steps = {step.id for step in protocol.steps}
    for name, sample in protocol.samples.items():
        if sample.made_by is not None and sample.made_by not in steps:
            reasons.append(_unknown_step(None, f"/samples/{name}/made_by", sample.made_by, steps))
        for index, parent in enumerate(sample.derives_from):
            if parent not in protocol.samples or parent == name:
                reasons.append(_unknown_sample(None, f"/samples/{name}/derives_from/{index}", parent, protocol))
    return reasons


def _unknown_step(step: str | None, field: str, name: str, known: set[str]) -> Reason:
    return _reason(
        step, "unknown_step", field, f"there is no step {name!r}", f"name one of: {', '.join(sorted(known))}"
    )


def _unknown_sample(step: str | None, field: str, name: str, protocol: Protocol) -> Reason:
    known = ", ".join(sorted(protocol.samples)) or "none"
    return _reason(
        step, "unknown_sample", field, f"there is no sample {name!r}", f"declare it in samples; known are {known}"
    )


def _check_step(protocol: Protocol, capabilities: Mapping[str, Capability], index: int, step: Step) -> list[Reason]:
    here = f"/steps/{index}"
    reasons = []
    ids = {other.id for other in protocol.steps}
    for place, name in enumerate(step.after):
        if name not in ids:
            reasons.append(_unknown_step(step.id, f"{here}/after/{place}", name, ids))
    role = protocol.roles.get(step.role)
    if role is None:
        known = ", ".join(sorted(protocol.roles))
        reasons.append(
            _reason(step.id, "unknown_role", f"{here}/role", f"there is no role {step.role!r}", f"name one of: {known}")
        )
        return reasons
    capability = capabilities.get(role.capability)
    if capability is None:
        return reasons  # said of the role
    action = capability.actions.get(step.action)
    if action is None:
        known = ", ".join(sorted(capability.actions))
        text = f"{capability.key} has no action {step.action!r}"
        reasons.append(_reason(step.id, "unknown_action", f"{here}/action", text, f"name one of: {known}"))
        return reasons
    reasons += _check_arguments(protocol, capabilities, here, step, action)
    if step.guard is not None:
        reasons += _check_guard(protocol, capabilities, here, step, step.guard)
    return reasons


def _check_arguments(
    protocol: Protocol, capabilities: Mapping[str, Capability], here: str, step: Step, action: Action
) -> list[Reason]:
    reasons = []
    for name, given in step.arguments.items():
        field = f"{here}/arguments/{name}"
        spec = action.parameters.get(name)
        if spec is None and name in action.takes:
            spec = ParameterSpec(kind="sample")
        if spec is None:
            known = ", ".join(sorted({*action.parameters, *action.takes})) or "none"
            text = f"{step.action} has no parameter {name!r}"
            reasons.append(_reason(step.id, "unknown_parameter", field, text, f"leave it out; known are {known}"))
            continue
        found = _check_argument(protocol, capabilities, field, step, given, spec)
        reasons += [found] if found is not None else []
    for name, spec in action.parameters.items():
        if name not in step.arguments and spec.default is None:
            text = f"{step.action} needs {name!r}"
            remedy = f"add {name}: {spec.example()}, or a reference to a parameter"
            reasons.append(_reason(step.id, "missing_argument", f"{here}/arguments/{name}", text, remedy))
    for name in action.takes:
        if name not in step.arguments:
            text = f"{step.action} takes a sample as {name!r}"
            remedy = f"add {name}: {{from: samples.NAME}}"
            reasons.append(_reason(step.id, "missing_argument", f"{here}/arguments/{name}", text, remedy))
    return reasons


def _check_argument(
    protocol: Protocol,
    capabilities: Mapping[str, Capability],
    field: str,
    step: Step,
    given: Argument,
    spec: ParameterSpec,
) -> Reason | None:
    match given:
        case ParameterRef():
            source = protocol.parameters.get(given.name)
            if source is None:
                known = ", ".join(sorted(protocol.parameters)) or "none"
                text = f"there is no parameter {given.name!r}"
                return _reason(step.id, "unknown_parameter", field, text, f"declare it; known are {known}")
            return _kind_reason(step, field, spec, source.kind, source.unit)
        case OutputRef():
            output = _output(protocol, capabilities, step, field, given.step, given.output)
            if output is None or isinstance(output, Reason):
                return output
            return _kind_reason(step, field, spec, output.kind, output.unit)
        case SampleRef():
            if given.name not in protocol.samples:
                return _unknown_sample(step.id, field, given.name, protocol)
            return _kind_reason(step, field, spec, "sample", None)
        case _:
            # Its range is checked with those of the experiment's arguments, by the same code.
            amount = given.amount if isinstance(given, Sample) else None
            unit = amount.unit if amount is not None else getattr(given, "unit", None)
            return _kind_reason(step, field, spec, kind_of(given), unit)


def _kind_reason(step: Step, field: str, spec: ParameterSpec, kind: Kind, unit: str | None) -> Reason | None:
    try:
        spec.check_kind(kind, unit, f"/protocol{field}")
    except LabCommonsError as error:
        return Reason.of(error, step=step.id)
    return None


def _output(
    protocol: Protocol, capabilities: Mapping[str, Capability], step: Step, field: str, source: str, name: str
) -> OutputSpec | Reason | None:
    other = protocol.step(source)
    if other is None:
        return _unknown_step(step.id, field, source, {s.id for s in protocol.steps})
    action = action_of(protocol, capabilities, other)
    if action is None:
        return None  # said of that step
    if name not in action.outputs:
        known = ", ".join(sorted(action.outputs)) or "none"
        text = f"step {source!r} has no output {name!r}"
        return _reason(step.id, "unknown_output", field, text, f"name one of: {known}")
    return action.outputs[name]


def _check_guard(
    protocol: Protocol, capabilities: Mapping[str, Capability], here: str, step: Step, guard: str
) -> list[Reason]:
    field = f"{here}/guard"
    try:
        references = sorted(compile_guard(guard).references)
    except LabCommonsError as error:
        return [Reason.of(error.at(f"/protocol{field}"), step=step.id)]
    outputs: dict[str, dict[str, Value]] = {}
    for reference in references:
        match reference.split("."):
            case ["steps", source, "outputs", name]:
                found = _output(protocol, capabilities, step, field, source, name)
                if found is None or isinstance(found, Reason):
                    return [] if found is None else [found]
                outputs.setdefault(source, {}).update(_example(name, found))
            case ["parameters", name] if name in protocol.parameters:
                pass
            case _:
                text = f"the guard reads {reference!r}, which is nothing here"
                remedy = "read steps.STEP.outputs.NAME or parameters.NAME"
                return [_reason(step.id, "bad_reference", field, text, remedy)]
    examples: dict[str, Value] = {}
    for name, spec in protocol.parameters.items():
        examples.update(_example(name, spec))
    try:
        check_guard(guard, outputs, examples)
    except LabCommonsError as error:
        word = InvalidInput(error.detail, code=error.word, field=f"/protocol{field}", remedy=error.remedy)
        return [Reason.of(word, step=step.id)]
    return []


def _example(name: str, spec: ParameterSpec | OutputSpec) -> dict[str, Value]:
    """A value of the kind and unit of ``spec``, where guards can read the kind at all."""
    match spec.kind:
        case "quantity":
            return {name: Quantity(Decimal(1), spec.unit or "1")}
        case "int":
            return {name: Int(1)}
        case "enum":
            return {name: Enum(spec.values[0] if spec.values else "word")}
        case "text":
            return {name: Text("text")}
        case _:
            return {}


def _check_order(protocol: Protocol, capabilities: Mapping[str, Capability]) -> list[Reason]:
    before: dict[str, set[str]] = {}
    waiting = {step.id: set(dependencies(protocol, step)) for step in protocol.steps}
    while waiting:
        ready = [name for name, wanted in waiting.items() if wanted <= set(before)]
        if not ready:
            return [_cycle(protocol, waiting)]
        for name in ready:
            wanted = waiting.pop(name)
            before[name] = wanted.union(*(before[other] for other in wanted))
    return _check_consumed(protocol, capabilities, before)


def _cycle(protocol: Protocol, waiting: Mapping[str, set[str]]) -> Reason:
    name = min(waiting)
    seen: list[str] = []
    while name not in seen:
        seen.append(name)
        name = min(waiting[name] & set(waiting))
    ring = [*seen[seen.index(name) :], name]
    index = next(i for i, step in enumerate(protocol.steps) if step.id == name)
    return _reason(
        name,
        "cycle",
        f"/steps/{index}/after",
        f"the steps wait for each other: {' after '.join(ring)}",
        "take one of these out of the other's after, arguments or guard",
    )


def _check_consumed(
    protocol: Protocol, capabilities: Mapping[str, Capability], before: Mapping[str, set[str]]
) -> list[Reason]:
    """A sample that a step uses up can serve only steps that surely end before it."""
    users: dict[str, list[tuple[int, Step, str, bool]]] = {}
    for index, step in enumerate(protocol.steps):
        action = action_of(protocol, capabilities, step)
        for name, given in step.arguments.items():
            if isinstance(given, SampleRef) and action is not None and name in action.takes:
                consumed = action.takes[name].becomes == "consumed"
                users.setdefault(given.name, []).append((index, step, name, consumed))
    reasons = []
    for sample, uses in users.items():
        for _, consumer, _, consumed in uses:
            for index, other, name, _ in uses:
                if consumed and other.id != consumer.id and other.id not in before[consumer.id]:
                    reasons.append(
                        _reason(
                            other.id,
                            "sample_consumed",
                            f"/steps/{index}/arguments/{name}",
                            f"{consumer.id} uses up the sample {sample}, and {other.id} does not end before it",
                            f"let {consumer.id} come after {other.id}, or use another sample",
                        )
                    )
    return reasons


def check_manifest(manifest: Manifest, capabilities: Mapping[str, Capability]) -> list[Reason]:
    """Where a manifest's offers do not fit the capabilities they name; ``field`` points into the manifest."""
    reasons = []
    for i, instrument in enumerate(manifest.instruments):
        for j, offer in enumerate(instrument.offers):
            here = f"/instruments/{i}/offers/{j}"
            capability = capabilities.get(offer.capability)
            if capability is None:
                text = f"nobody has published the capability {offer.capability}"
                remedy = f"offer one of: {', '.join(sorted(capabilities))}"
                reasons.append(
                    Reason(None, instrument.name, "unknown_capability", None, f"{here}/capability", remedy, text)
                )
                continue
            for name, offered in offer.actions.items():
                action = capability.actions.get(name)
                place = f"{here}/actions/{name}"
                if action is None:
                    text = f"{capability.key} has no action {name!r}"
                    remedy = f"name one of: {', '.join(sorted(capability.actions))}"
                    reasons.append(Reason(None, instrument.name, "unknown_action", None, place, remedy, text))
                    continue
                for word, mine, theirs in (
                    ("parameters", offered.parameters, action.parameters),
                    ("outputs", offered.outputs, action.outputs),
                ):
                    reasons += _check_specs(instrument.name, f"{place}/{word}", mine, theirs)
    return reasons


def _check_specs(
    instrument: str,
    place: str,
    mine: Mapping[str, ParameterSpec] | Mapping[str, OutputSpec],
    theirs: Mapping[str, ParameterSpec] | Mapping[str, OutputSpec],
) -> list[Reason]:
    reasons = []
    for name, spec in mine.items():
        field = f"{place}/{name}"
        if name not in theirs:
            remedy = f"leave it out; known are {', '.join(sorted(theirs)) or 'none'}"
            text = f"the capability knows no {name!r}"
            reasons.append(Reason(None, instrument, "unknown_parameter", None, field, remedy, text))
            continue
        wanted = theirs[name]
        try:
            _same_kind(spec, wanted, field)
        except LabCommonsError as error:
            reasons.append(Reason.of(error, instrument=instrument))
    return reasons


def _same_kind(spec: ParameterSpec | OutputSpec, wanted: ParameterSpec | OutputSpec, field: str) -> None:
    shape = wanted if isinstance(wanted, ParameterSpec) else _as_parameter(wanted)
    shape.check_kind(spec.kind, spec.unit, field)


def _as_parameter(output: OutputSpec) -> ParameterSpec:
    values = output.values or (("word",) if output.kind == "enum" else ())
    return ParameterSpec(kind=output.kind, unit=output.unit, values=values)
