"""A lab's settings: `node.yaml`, read once. It never leaves the lab; the manifest that does is derived from it.

Relative paths are relative to the file. Every refusal names the place in the file and what to write there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import ConfigDict, Field, PlainSerializer, PlainValidator, model_validator

from labcommons.core.decimals import decimal_text
from labcommons.core.errors import InvalidInput, LabCommonsError
from labcommons.core.ids import ProjectId
from labcommons.core.windows import parse_hours
from labcommons.node.safety import AllowRule
from labcommons.protocols.fields import DecimalField, Form, Several, Title
from labcommons.protocols.manifests import Calibration, DurationText, InstrumentName, ManifestLab, parse_time_scale
from labcommons.protocols.problems import as_pydantic, validate
from labcommons.protocols.specs import CapabilityRef

__all__ = [
    "ActionSettings",
    "Allow",
    "FacilitySettings",
    "InstrumentSettings",
    "Narrowed",
    "NodeSettings",
    "OfferSettings",
    "RaySettings",
    "load",
    "parse",
]

_PATHS = ("_folder", "_file", "_path")
"""Options of a driver that end so are paths, relative to the file."""


def _read_path(obj: object) -> Path:
    if isinstance(obj, Path) or (isinstance(obj, str) and obj):
        return Path(obj)
    raise as_pydantic(InvalidInput("a path is text", code="bad_type", remedy="write it as text, such as ./state"))


PathField = Annotated[Path, PlainValidator(_read_path), PlainSerializer(str)]


class Narrowed(Form):
    """A parameter as the lab offers it: `min` and `max` in the unit that the instrument describes, or some `values`."""

    min: DecimalField | None = None
    max: DecimalField | None = None
    values: Several[str] | None = None


class DurationSettings(Form):
    """Lab time in milliseconds, a number or an expression; what is absent is what the instrument describes."""

    expected_ms: DurationText | None = None
    maximum_ms: DurationText | None = None


class ActionSettings(Form):
    """One action of a capability: the driver's name for it, narrower ranges, its duration."""

    driver_action: str | None = None
    parameters: dict[str, Narrowed] = Field(default_factory=dict)
    duration: DurationSettings = DurationSettings()
    limitations: Several[Title] = ()


class OfferSettings(Form):
    """A capability on offer (`id@version`); without `actions`, all of them."""

    capability: CapabilityRef
    actions: dict[str, ActionSettings] = Field(default_factory=dict)
    limitations: Several[Title] = ()


class InstrumentSettings(Form):
    """One instrument. Whatever is not listed here is an option of its driver, which checks it."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, hide_input_in_errors=True)

    type: Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{0,62}$")]
    driver: Annotated[str, Field(min_length=1)]
    offers: Several[OfferSettings] = ()
    calibration: Calibration | None = None
    capacity: Annotated[int, Field(ge=1, le=10_000)] = 1
    limitations: Several[Title] = ()
    pidinst: dict[str, Any] = Field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """The driver's options as the file has them."""
        return dict(self.model_extra or {})


class FacilitySettings(Form):
    """The facility's address, and a file of the one authority that its certificate must come from."""

    url: str
    authority: PathField | None = None

    @model_validator(mode="after")
    def _safe(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _bad("the facility's address is a URL", "/url", 'write "https://commons.example"')
        if parts.scheme == "http" and not _loopback(parts.hostname):
            raise _bad("plain http is for loopback only", "/url", "write https://")
        return self


class RaySettings(Form):
    """Where the lab's own Ray cluster may listen, and the file of its token (made if it is missing)."""

    ports: Annotated[str, Field(pattern=r"^[0-9]{4,5}-[0-9]{4,5}$")] | None = None
    token_file: PathField | None = None

    @property
    def port_range(self) -> tuple[int, int] | None:
        """First and last port, both included; None: free ones."""
        if self.ports is None:
            return None
        first, last = self.ports.split("-")
        return int(first), int(last)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        span = self.port_range
        if span is not None and not (1024 <= span[0] <= span[1] <= 65535 and span[1] - span[0] >= 20):
            raise _bad("the range of ports is too small or no range", "/ports", 'write twenty or more: "21000-21099"')
        return self


class Allow(Form):
    """One line of the lab's allow-list."""

    protocol: Annotated[str, Field(min_length=1, max_length=200)]
    projects: Literal["any"] | Several[str] = "any"
    hours: str | None = None

    @model_validator(mode="after")
    def _readable(self) -> Self:
        try:
            self.rule()
        except LabCommonsError as error:
            raise as_pydantic(error) from None
        return self

    def rule(self) -> AllowRule:
        """The line as the safety module reads it. Raises `InvalidInput`."""
        projects = None
        if self.projects != "any":
            projects = frozenset(str(ProjectId.parse(p, f"/projects/{i}")) for i, p in enumerate(self.projects))
        hours = None if self.hours is None else parse_hours(self.hours, "/hours")
        return AllowRule(self.protocol, projects, hours, self.hours or "")


class NodeSettings(Form):
    """The whole of `node.yaml`, form 1. `folder` is where the file lies; all paths are absolute."""

    node: Literal[1]
    lab: ManifestLab
    facility: FacilitySettings | None = None
    state: PathField = Path("state")
    ray: RaySettings = RaySettings()
    runtime: Literal["ray", "inprocess"] = Field(default_factory=lambda: "ray" if find_spec("ray") else "inprocess")
    time_scale: DecimalField = Decimal(1)
    instruments: dict[InstrumentName, InstrumentSettings] = Field(default_factory=dict)
    allow: Several[Allow] = ()
    folder: PathField = Path()

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        try:
            parse_time_scale(decimal_text(self.time_scale), "/time_scale")
        except LabCommonsError as error:
            raise as_pydantic(error) from None
        return self

    @property
    def rules(self) -> tuple[AllowRule, ...]:
        """The allow-list, read."""
        return tuple(line.rule() for line in self.allow)

    def instrument(self, name: str) -> InstrumentSettings:
        """The instrument of that name. Raises `InvalidInput` naming those that exist."""
        found = self.instruments.get(name)
        if found is None:
            known = ", ".join(self.instruments) or "none"
            raise InvalidInput(
                f"no instrument is called {name!r}", field=f"/instruments/{name}", remedy=f"there are: {known}"
            )
        return found

    def driver_options(self, name: str) -> dict[str, Any]:
        """What the driver of that instrument is built with (JSON): its options in the file, and what the node knows.

        Besides those of the file: `name`, `lab`, `time_scale` (text), `calibration` (id, where there is one).
        """
        instrument = self.instrument(name)
        found: dict[str, Any] = {"name": name, "lab": self.lab.name, "time_scale": decimal_text(self.time_scale)}
        if instrument.calibration is not None:
            found["calibration"] = instrument.calibration.id
        for option, value in instrument.options.items():
            is_path = option.endswith(_PATHS) and isinstance(value, str)
            found[option] = str(self.folder / value) if is_path else value
        return found


def load(path: str | Path) -> NodeSettings:
    """Read `node.yaml`. Raises `InvalidInput` with the place in the file and a remedy."""
    file = Path(path)
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(
            f"{file} cannot be read: {error.strerror}", code="unreadable", remedy="name the file with --config"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        at = f" at line {where.line + 1}, column {where.column + 1}" if where is not None else ""
        raise InvalidInput(f"{file} is no YAML{at}", code="bad_yaml", remedy="mend it there") from error
    return parse(document, file.resolve().parent)


def parse(document: object, folder: Path) -> NodeSettings:
    """Settings from what YAML gave; relative paths become paths below `folder`. Raises `InvalidInput`."""
    if not isinstance(document, Mapping):
        raise InvalidInput("the settings are no object", code="bad_type", remedy="begin with `node: 1`")
    if "folder" in document:
        raise InvalidInput("'folder' is not a field of this form", code="unknown_field", field="/folder")
    found = validate(NodeSettings, {**document, "folder": folder})
    ray, facility = found.ray, found.facility
    if ray.token_file is not None:
        ray = ray.model_copy(update={"token_file": folder / ray.token_file})
    if facility is not None and facility.authority is not None:
        facility = facility.model_copy(update={"authority": folder / facility.authority})
    return found.model_copy(update={"state": folder / found.state, "ray": ray, "facility": facility})


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bad(detail: str, field: str, remedy: str) -> Exception:
    return as_pydantic(InvalidInput(detail, code="bad_settings", field=field, remedy=remedy))
