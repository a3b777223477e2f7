"""Protocols of the commons that everybody may run; their documents lie beside this module."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

from labcommons.protocols.documents import Protocol, parse_protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["load_library"]


@lru_cache(maxsize=1)
def load_library() -> Mapping[str, Protocol]:
    """The shipped protocols, id to document; read once from the package."""
    import yaml

    found = {}
    for file in sorted(resources.files(__name__).iterdir(), key=lambda item: item.name):
        if file.name.endswith(".yaml"):
            protocol = parse_protocol(yaml.safe_load(file.read_text(encoding="utf-8")))
            found[protocol.id] = protocol
    return MappingProxyType(found)
