"""A lab's word on its instruments: what each offers, within which limits, and how long it takes."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from labcommons.core.decimals import parse_decimal
from labcommons.core.errors import InvalidInput, LabCommonsError
from labcommons.core.windows import check_zone
from labcommons.protocols.fields import DecimalField, Form, Name, Several, TimeField, Title
from labcommons.protocols.problems import as_pydantic, validate
from labcommons.protocols.specs import CapabilityRef, OutputSpec, ParameterSpec, Takes

__all__ = [
    "Calibration",
    "Duration",
    "Manifest",
    "ManifestAction",
    "ManifestInstrument",
    "ManifestLab",
    "Offer",
    "parse_manifest",
]


def _duration_text(obj: object) -> str:
    if isinstance(obj, int) and not isinstance(obj, bool) and 0 <= obj <= 2**53 - 1:
        return str(obj)
    if isinstance(obj, str) and 0 < len(obj) <= 500:
        return obj
    raise as_pydantic(
        InvalidInput(
            "a duration is a whole number of milliseconds or an expression of at most 500 characters",
            code="bad_duration",
            remedy='write 60000, or "4000.0 + 150.0 * red"',
        )
    )


DurationText = Annotated[str, PlainValidator(_duration_text), PlainSerializer(str)]
InstrumentName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class Duration(Form):
    """Lab time of one action, in milliseconds: a number, or a CEL expression of its arguments in the units below."""

    expected_ms: DurationText
    maximum_ms: DurationText


class ManifestAction(Form):
    """One action as this instrument offers it: names of the capability, units and limits of the instrument."""

    driver_action: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    parameters: dict[Name, ParameterSpec] = Field(default_factory=dict)
    takes: dict[Name, Takes] = Field(default_factory=dict)
    outputs: dict[Name, OutputSpec] = Field(default_factory=dict)
    duration: Duration
    limitations: Several[Title] = ()


class Offer(Form):
    """A capability that the instrument offers, and of it these actions."""

    capability: CapabilityRef
    actions: Annotated[dict[Name, ManifestAction], Field(min_length=1)]
    limitations: Several[Title] = ()


class Calibration(Form):
    """The calibration that data of this instrument hang on."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    at: TimeField | None = None
    due: TimeField | None = None


class ManifestInstrument(Form):
    """One instrument. ``name`` is unique in its node; ``type`` is what the ledger counts time by."""

    name: InstrumentName
    type: Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{0,62}$")]
    simulated: bool
    capacity: Annotated[int, Field(ge=1, le=10_000)] = 1
    remembers_attempts: bool
    can_void: bool
    on_disconnect: Literal["continue", "pause", "abort"]
    pidinst: dict[str, Any] = Field(default_factory=dict)
    calibration: Calibration | None = None
    offers: Several[Offer] = ()
    limitations: Several[Title] = ()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.can_void and not self.remembers_attempts:
            raise _refused("an instrument that can void remembers attempts", "/can_void", "set can_void to false")
        keys = [offer.capability for offer in self.offers]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise _refused(f"{key} is offered twice", f"/offers/{index}", "join the two offers")
        return self

    def action(self, capability: str, action: str) -> ManifestAction | None:
        """The action of that capability (``id@version``), where the instrument offers it."""
        for offer in self.offers:
            if offer.capability == capability:
                return offer.actions.get(action)
        return None

    def driver_action(self, capability: str, action: str) -> str:
        """The driver's word for the action: the same unless the manifest names another."""
        found = self.action(capability, action)
        return found.driver_action or action if found is not None else action


class ManifestLab(Form):
    """The lab: its name, its IANA time zone, its ROR identifier if it has one."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    time_zone: str
    ror: str | None = None

    @model_validator(mode="after")
    def _zone_exists(self) -> Self:
        try:
            check_zone(self.time_zone, "/time_zone")
        except LabCommonsError as error:
            raise as_pydantic(error) from None
        return self


class Manifest(Form):
    """A node's manifest, form 1. ``time_scale``: milliseconds of lab time that pass in one of wall time."""

    manifest: Literal[1]
    lab: ManifestLab
    time_scale: DecimalField = Decimal(1)
    instruments: Several[ManifestInstrument] = ()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if not Decimal("0.001") <= self.time_scale <= Decimal(1_000_000):
            raise _refused("the time scale is a factor of 0.001 to 1000000", "/time_scale", 'write "1" for real time')
        names = [instrument.name for instrument in self.instruments]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise _refused(f"two instruments are named {name!r}", f"/instruments/{index}/name", "rename one")
        return self

    @property
    def exact_time_scale(self) -> Fraction:
        """The time scale for exact arithmetic."""
        return Fraction(self.time_scale)

    def instrument(self, name: str) -> ManifestInstrument | None:
        """The instrument of that name."""
        return next((instrument for instrument in self.instruments if instrument.name == name), None)


def parse_manifest(obj: object, prefix: str = "") -> Manifest:
    """``obj`` as a manifest. Raises ``InvalidInput`` with pointer and remedy."""
    return validate(Manifest, obj, prefix)


def parse_time_scale(text: object, field: str = "") -> Decimal:
    """A time scale as ``describe`` and settings write it (``"60"``). Raises ``InvalidInput``."""
    scale = parse_decimal(text, field)
    if not Decimal("0.001") <= scale <= Decimal(1_000_000):
        raise InvalidInput(
            "the time scale is a factor of 0.001 to 1000000",
            code="out_of_range",
            field=field,
            remedy='write "1" for real time',
        )
    return scale


def _refused(detail: str, field: str, remedy: str) -> Exception:
    return as_pydantic(InvalidInput(detail, code="bad_manifest", field=field, remedy=remedy))
