"""Arguments on their way from the submit body to an instrument: read, bound, narrowed, resolved, converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol as Shape

from labcommons.core.errors import InvalidInput, LabCommonsError
from labcommons.core.ids import SampleId
from labcommons.core.profiles import Profile
from labcommons.core.quantities import Quantity
from labcommons.core.values import Array, Enum, Int, Sample, Text, Value, value_from_json
from labcommons.protocols.capabilities import Action
from labcommons.protocols.documents import Argument, OutputRef, ParameterRef, Protocol, SampleRef, Step
from labcommons.protocols.durations import evaluate_duration, numbers_of
from labcommons.protocols.manifests import ManifestAction
from labcommons.protocols.plans import Candidate, PlannedStep, Reason
from labcommons.protocols.specs import ParameterSpec

__all__ = ["Bound", "bind", "convert", "duration", "narrow", "read_arguments", "resolve_arguments"]

VALUE_CLASSES = (Quantity, Text, Int, Enum, Sample, Array, Profile)


class Use(Shape):
    """What narrowing needs to know of a step."""

    @property
    def id(self) -> str:
        """The step's name in the document."""

    @property
    def capability(self) -> str:
        """``id@version``."""

    @property
    def action(self) -> str:
        """The capability's word for the action."""


@dataclass(frozen=True)
class Bound:
    """A step with the experiment's arguments put in; ``fields`` says where in the submit body each came from."""

    id: str
    capability: str
    action: str
    arguments: Mapping[str, Argument]
    fields: Mapping[str, str]

    def known(self) -> dict[str, Value]:
        """The arguments whose values are known before anything ran."""
        return {name: given for name, given in self.arguments.items() if isinstance(given, VALUE_CLASSES)}


def read_arguments(protocol: Protocol, arguments: Mapping[str, object]) -> tuple[dict[str, Value], list[Reason]]:
    """The experiment's arguments (values or their JSON) with defaults filled in, and what is wrong with them."""
    values: dict[str, Value] = {}
    reasons: list[Reason] = []
    for name, given in arguments.items():
        here = f"/arguments/{name.replace('~', '~0').replace('/', '~1')}"
        try:
            if name not in protocol.parameters:
                raise InvalidInput(
                    f"the protocol has no parameter {name[:60]!r}",
                    code="unknown_parameter",
                    field=here,
                    remedy=f"leave it out; known are {', '.join(sorted(protocol.parameters)) or 'none'}",
                )
            value = given if isinstance(given, VALUE_CLASSES) else value_from_json(given, here)
            protocol.parameters[name].check(value, here)
            values[name] = value
        except LabCommonsError as error:
            reasons.append(_parameter_reason(protocol, name, here, error))
    for name, spec in protocol.parameters.items():
        if name not in arguments and spec.default is not None:
            values[name] = spec.default
        elif name not in arguments:
            missing = InvalidInput(
                f"the parameter {name!r} has no value",
                code="missing_argument",
                field=f"/arguments/{name}",
                remedy=f"add {name}: {spec.example()}",
            )
            reasons.append(_parameter_reason(protocol, name, missing.field, missing))
    return values, reasons


def _parameter_reason(protocol: Protocol, name: str, here: str, error: LabCommonsError) -> Reason:
    """What is wrong with an argument, with the first step that uses it and what its parameter allows."""
    spec = protocol.parameters.get(name)
    if spec is None:
        return Reason.of(error)
    if error.word == "unknown_unit" or (error.word == "bare_number" and error.field == here):
        # The general remedy does not know what the parameter measures.
        error.remedy = f"write it in the form {spec.example()}"
    uses = (step.id for step in protocol.steps if ParameterRef(name=name) in step.arguments.values())
    return _allowed(Reason.of(error, step=next(uses, None)), spec)


def _allowed(reason: Reason, spec: ParameterSpec) -> Reason:
    """The reason with what ``spec`` allows as its limit, where the error itself names none."""
    return reason if reason.limit is not None else replace(reason, limit=spec.allowed())


def bind(
    step: Step, index: int, capability: str, action: Action, values: Mapping[str, Value]
) -> tuple[Bound, list[Reason]]:
    """The step with parameters replaced by their values and the capability's defaults filled in.

    ``index``: the step's place in the document. The reasons name values outside the capability's own limits.
    """
    arguments: dict[str, Argument] = {}
    fields: dict[str, str] = {}
    for name, given in step.arguments.items():
        fields[name] = f"/protocol/steps/{index}/arguments/{name}"
        arguments[name] = given
        if isinstance(given, ParameterRef):
            fields[name] = f"/arguments/{given.name}"
            arguments[name] = values[given.name]
    for name, spec in action.parameters.items():
        if name not in arguments and spec.default is not None:
            fields[name] = f"/protocol/steps/{index}/arguments/{name}"
            arguments[name] = spec.default
    bound = Bound(step.id, capability, step.action, arguments, fields)
    reasons = []
    for name, value in bound.known().items():
        if name in action.parameters:
            try:
                action.parameters[name].check(value, fields[name])
            except LabCommonsError as error:
                reasons.append(_allowed(Reason.of(error, step=step.id), action.parameters[name]))
    return bound, reasons


def offered(candidate: Candidate, step: Use) -> ManifestAction | None:
    """The candidate's word on the step's action, if it offers it."""
    return candidate.spec.action(step.capability, step.action)


def narrow(
    candidate: Candidate, step: Use, arguments: Mapping[str, Value], fields: Mapping[str, str] | None = None
) -> tuple[Reason, ...]:
    """Why this instrument cannot run the step with these arguments; empty when it can.

    ``step``: a ``PlannedStep`` (or anything with id, capability, action). Codes: ``unknown_action``, ``out_of_range``,
    ``wrong_kind``, ``wrong_dimension``, ``bad_duration``. ``limit`` is the instrument's.
    """
    action = offered(candidate, step)
    if action is None:
        return (
            Reason(
                step.id,
                str(candidate.instrument),
                "unknown_action",
                None,
                "",
                "wait until a lab offers it, or use another protocol",
                f"{candidate.name} in {candidate.lab_name} does not offer {step.action} of {step.capability}",
            ),
        )
    reasons = []
    for name, value in arguments.items():
        spec = action.parameters.get(name)
        if spec is None:
            continue
        try:
            spec.check(value, (fields or {}).get(name, f"/arguments/{name}"))
        except LabCommonsError as error:
            error.detail = f"{candidate.name} in {candidate.lab_name}: {error.detail}"
            reasons.append(_allowed(Reason.of(error, step=step.id, instrument=str(candidate.instrument)), spec))
    if not reasons:
        try:
            duration(candidate, step, arguments)
        except LabCommonsError as error:
            error.detail = f"{candidate.name} in {candidate.lab_name}: {error.detail}"
            reasons.append(Reason.of(error, step=step.id, instrument=str(candidate.instrument)))
    return tuple(reasons)


def duration(candidate: Candidate, step: Use, arguments: Mapping[str, Value]) -> tuple[int, int]:
    """``(expected_ms, maximum_ms)`` of lab time; the maximum is never below the expected.

    Arguments not known yet count with the manifest's ``max``. Raises ``InvalidInput`` (``bad_duration``), ``KeyError``
    where the instrument does not offer the action.
    """
    action = offered(candidate, step)
    if action is None:
        raise KeyError(f"{candidate.name} does not offer {step.action} of {step.capability}")
    numbers = numbers_of(arguments, action.parameters)
    expected = evaluate_duration(action.duration.expected_ms, numbers)
    return expected, max(expected, evaluate_duration(action.duration.maximum_ms, numbers))


def resolve_arguments(
    step: PlannedStep,
    parameters: Mapping[str, Value],
    outputs_by_step: Mapping[str, Mapping[str, Value]],
    samples: Mapping[str, SampleId],
    candidate: Candidate | None = None,
) -> dict[str, Value]:
    """The step's arguments with every reference replaced; in the units of ``candidate``'s manifest where it is given.

    Raises ``InvalidInput`` (``missing_output``, ``unknown_sample``) where a reference has nothing behind it, and what
    ``convert`` raises.
    """
    out: dict[str, Value] = {}
    for name, given in step.arguments.items():
        match given:
            case ParameterRef():
                out[name] = parameters[given.name]
            case OutputRef():
                found = outputs_by_step.get(given.step, {}).get(given.output)
                if found is None:
                    raise InvalidInput(
                        f"step {given.step} gave no output {given.output!r}, which {step.id} needs",
                        code="missing_output",
                        field=f"/arguments/{name}",
                        remedy="see the record of that step",
                    )
                out[name] = found
            case SampleRef():
                if given.name not in samples:
                    raise InvalidInput(
                        f"there is no sample {given.name!r}",
                        code="unknown_sample",
                        field=f"/arguments/{name}",
                        remedy="declare it in the protocol's samples",
                    )
                out[name] = Sample(samples[given.name])
            case _:
                out[name] = given
    return out if candidate is None else convert(candidate, step, out)


def convert(candidate: Candidate, step: Use, arguments: Mapping[str, Value]) -> dict[str, Value]:
    """The arguments in the units that the candidate's manifest names. Raises ``WrongDimension``, ``UnknownUnit``."""
    action = offered(candidate, step)
    parameters = {} if action is None else action.parameters
    out = dict(arguments)
    for name, value in arguments.items():
        unit = parameters[name].unit if name in parameters else None
        if unit is None:
            continue
        match value:
            case Quantity() | Profile():
                out[name] = value.to(unit)
            case Array():
                numbers = tuple(Quantity(number, value.unit).to(unit).value for number in value.values)
                out[name] = Array(unit, numbers)
            case Sample(amount=Quantity() as amount):
                out[name] = Sample(value.sample, amount.to(unit))
            case _:
                pass
    return out
