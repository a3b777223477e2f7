"""Capabilities: the shared vocabulary of actions. The documents of the commons lie beside this module."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from labcommons.core.errors import InvalidInput
from labcommons.protocols.fields import Form, Name, Title
from labcommons.protocols.problems import as_pydantic, validate
from labcommons.protocols.specs import OutputSpec, ParameterSpec, Takes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Action", "Capability", "load_shipped", "parse_capability"]


class Action(Form):
    """One thing that an instrument does: the samples it takes, its parameters and outputs."""

    title: Title = ""
    takes: dict[Name, Takes] = Field(default_factory=dict)
    parameters: dict[Name, ParameterSpec] = Field(default_factory=dict)
    outputs: dict[Name, OutputSpec] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        both = sorted(set(self.takes) & set(self.parameters))
        if both:
            raise as_pydantic(
                InvalidInput(
                    f"{both[0]!r} is a sample and a parameter",
                    code="duplicate_name",
                    field=f"/parameters/{both[0]}",
                    remedy="give each a name of its own",
                )
            )
        return self


class Capability(Form):
    """A capability document, form 1; its key elsewhere is ``id@version``."""

    capability: Literal[1]
    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{0,98}$")]
    version: Annotated[int, Field(ge=1, le=999_999)]
    title: Title
    intent: Title = ""
    actions: Annotated[dict[Name, Action], Field(min_length=1)]

    @property
    def key(self) -> str:
        """``id@version``, the word by which roles and manifests name it."""
        return f"{self.id}@{self.version}"


def parse_capability(obj: object, prefix: str = "") -> Capability:
    """``obj`` as a capability. Raises ``InvalidInput`` with pointer and remedy."""
    return validate(Capability, obj, prefix)


@lru_cache(maxsize=1)
def load_shipped() -> Mapping[str, Capability]:
    """The capabilities of the commons, ``id@version`` to document; read once from the package."""
    import yaml

    found = {}
    for file in sorted(resources.files(__name__).iterdir(), key=lambda item: item.name):
        if file.name.endswith(".yaml"):
            capability = parse_capability(yaml.safe_load(file.read_text(encoding="utf-8")))
            found[capability.key] = capability
    return MappingProxyType(found)
