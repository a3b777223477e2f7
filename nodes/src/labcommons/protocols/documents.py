"""Protocol documents: what is to be done, typed and with units. The hash of a document is its version."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from labcommons.core import units
from labcommons.core.errors import InvalidInput, LabCommonsError, OutOfRange
from labcommons.core.quantities import Quantity
from labcommons.core.values import (
    Array,
    Enum,
    Int,
    Profile,
    Sample,
    Text,
    Value,
    value_from_json,
    value_to_json,
)
from labcommons.protocols.canonical import canonical, protocol_hash
from labcommons.protocols.fields import Carried, Form, Name, QuantityField, Several, Title
from labcommons.protocols.problems import as_pydantic, validate
from labcommons.protocols.specs import CapabilityRef, ParameterSpec

__all__ = ["Argument", "OutputRef", "ParameterRef", "Protocol", "Reference", "SampleRef", "Step", "parse_protocol"]

MAX_BYTES = 256 * 1024
MAX_STEPS = 200

ProtocolId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{0,98}$")]
Expression = Annotated[str, Field(min_length=1, max_length=500)]


class ParameterRef(Form):
    """``{"from": "parameters.n"}``."""

    name: str

    @property
    def source(self) -> str:
        """The reference as it is written."""
        return f"parameters.{self.name}"


class OutputRef(Form):
    """``{"from": "steps.mix.outputs.volume"}``."""

    step: str
    output: str

    @property
    def source(self) -> str:
        """The reference as it is written."""
        return f"steps.{self.step}.outputs.{self.output}"


class SampleRef(Form):
    """``{"from": "samples.well"}``."""

    name: str

    @property
    def source(self) -> str:
        """The reference as it is written."""
        return f"samples.{self.name}"


Reference = ParameterRef | OutputRef | SampleRef
Argument = Value | Reference


def parse_reference(text: object, field: str = "") -> Reference:
    """The reference that ``text`` names. Raises ``InvalidInput`` (``bad_reference``)."""
    match text.split(".") if isinstance(text, str) and len(text) <= 200 else ():
        case ["parameters", name]:
            return ParameterRef(name=name)
        case ["samples", name]:
            return SampleRef(name=name)
        case ["steps", step, "outputs", output]:
            return OutputRef(step=step, output=output)
        case _:
            pass
    raise InvalidInput(
        f"{str(text)[:60]!r} refers to nothing",
        code="bad_reference",
        field=field,
        remedy='write "parameters.NAME", "steps.STEP.outputs.NAME" or "samples.NAME"',
    )


def argument_from_json(obj: object, field: str = "") -> Argument:
    """A ``Value``, or the reference in ``{"from": "..."}``. Raises ``InvalidInput``."""
    if isinstance(obj, dict) and set(obj) == {"from"}:
        return parse_reference(obj["from"], f"{field}/from")
    return value_from_json(obj, field)


def argument_to_json(argument: Argument) -> Any:
    """The form that ``argument_from_json`` takes."""
    if isinstance(argument, (ParameterRef, OutputRef, SampleRef)):
        return {"from": argument.source}
    return value_to_json(argument)


_CLASSES = (Quantity, Text, Int, Enum, Sample, Array, Profile, ParameterRef, OutputRef, SampleRef)
_SCHEMA = {"description": "a Value, or a reference {from: parameters.NAME | steps.STEP.outputs.NAME | samples.NAME}"}
ArgumentField = Annotated[Argument, Carried(argument_from_json, argument_to_json, _CLASSES, _SCHEMA)]


class Author(Form):
    """Who wrote the document."""

    name: Title
    orcid: str | None = None
    affiliation: Title | None = None


class SampleSpec(Form):
    """A sample of the experiment: made by a step, or brought (``made_by`` absent)."""

    made_by: Name | None = None
    derives_from: Several[Name] = ()
    title: Title = ""


class Role(Form):
    """A part that one instrument plays: all steps of a role run on the same one."""

    capability: CapabilityRef
    title: Title = ""
    constraints: Any = None


class Foreach(Form):
    """A step repeated over the elements of something; its ``maximum`` bounds what is held."""

    over: Title
    maximum: Annotated[int, Field(ge=1, le=1000)]


class Step(Form):
    """One action on the instrument of a role. ``timeout`` is lab time; ``guard`` is CEL, false means SKIPPED."""

    id: Name
    role: Name
    action: Name
    title: Title = ""
    arguments: dict[Name, ArgumentField] = Field(default_factory=dict)
    after: Several[Name] = ()
    guard: Expression | None = None
    timeout: QuantityField | None = None
    foreach: Foreach | None = None
    on_error: Any = None
    interlocks: Any = None
    signals: Any = None

    @model_validator(mode="after")
    def _timeout_is_time(self) -> Self:
        if self.timeout is not None:
            try:
                _positive_ms(self.timeout, "/timeout")
            except LabCommonsError as error:
                raise as_pydantic(error) from None
        return self

    @property
    def timeout_ms(self) -> int | None:
        """The timeout in milliseconds of lab time, at least 1."""
        return None if self.timeout is None else _positive_ms(self.timeout, "/timeout")


def _positive_ms(timeout: Quantity, field: str) -> int:
    units.conversion(timeout.unit, "ms", field)
    ms = round(timeout.exact_in("ms"))
    if not 1 <= ms <= 2**53 - 1:
        raise OutOfRange(
            "a timeout is at least a millisecond, and finite", field=field, remedy='give {"value": "10", "unit": "min"}'
        )
    return ms


class Material(Form):
    """A material that the experiment needs."""

    name: Title
    amount: QuantityField | None = None
    hazards: Several[Title] = ()


class Acceptance(Form):
    """A limit on an output, shown with the result: largest uncertainty, smallest and largest value."""

    output: str
    max_u: QuantityField | None = None
    min: QuantityField | None = None
    max: QuantityField | None = None


class Protocol(Form):
    """A protocol document, form 1. ``hash`` is that of the document as it was given, defaults not filled in."""

    protocol: Literal[1]
    id: ProtocolId
    version: Title | None = None
    title: Title
    intent: Title = ""
    authors: Several[Author] = ()
    licence: Title | None = None
    parameters: dict[Name, ParameterSpec] = Field(default_factory=dict)
    samples: dict[Name, SampleSpec] = Field(default_factory=dict)
    materials: Several[Material] = ()
    roles: dict[Name, Role] = Field(min_length=1)
    steps: Annotated[Several[Step], Field(min_length=1, max_length=MAX_STEPS)]
    acceptance: Several[Acceptance] = ()
    safety: Any = None
    analysis: Any = None
    repeatable: bool = False
    preemptible: bool = False
    on_partition: Literal["continue", "safe_point"] = "continue"

    _document: dict[str, Any] | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _steps_named_once(self) -> Self:
        seen: set[str] = set()
        for index, step in enumerate(self.steps):
            if step.id in seen:
                raise as_pydantic(
                    InvalidInput(
                        f"two steps are named {step.id!r}",
                        code="duplicate_step",
                        field=f"/steps/{index}/id",
                        remedy="give each step a name of its own",
                    )
                )
            seen.add(step.id)
        return self

    @property
    def document(self) -> dict[str, Any]:
        """The document as it was given (JSON)."""
        return self._document if self._document is not None else self.model_dump(mode="json", exclude_none=True)

    @cached_property
    def hash(self) -> str:
        """``sha256:`` and the hex digest of the document's canonical JSON."""
        return protocol_hash(self.document)

    def step(self, name: str) -> Step | None:
        """The step of that id."""
        return next((step for step in self.steps if step.id == name), None)


def parse_protocol(obj: object, prefix: str = "") -> Protocol:
    """``obj`` (JSON, or YAML read into plain objects) as a protocol; names are not resolved here (see ``checks``).

    Raises ``InvalidInput`` with the pointer to what is wrong, below ``prefix``; ``TooLarge`` past 256 KiB.
    """
    try:
        size = len(canonical(obj))
    except LabCommonsError as error:
        raise error.at(prefix) from None
    if size > MAX_BYTES:
        raise InvalidInput(
            f"the document has {size} bytes", code="too_large", field=prefix, remedy=f"keep it below {MAX_BYTES} bytes"
        )
    protocol = validate(Protocol, obj, prefix)
    protocol._document = dict(obj)  # type: ignore[call-overload]  # a mapping, or validation had refused it
    return protocol
