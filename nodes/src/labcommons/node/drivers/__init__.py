"""Drivers, one module per standard; each translates the ten words of the line protocol.

Drivers are entry points of group `labcommons.drivers`: a lab's own package can bring one. An entry point names a
callable that takes the driver's options (a mapping of JSON values) and gives a `contract.Driver`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from labcommons.node.drivers.contract import Driver, DriverFactory

__all__ = ["GROUP", "UnknownDriver", "available", "load", "open_driver"]

GROUP = "labcommons.drivers"


class UnknownDriver(LookupError):
    """No installed package registers a driver of that name."""


def _found() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def available() -> list[str]:
    """Names of the drivers that are installed, sorted."""
    return sorted(_found())


def load(name: str) -> DriverFactory:
    """Return the factory of a driver: an entry point's name, or `module:name` for one that is not installed yet.

    Raises `UnknownDriver` with the names that exist.
    """
    module, colon, attribute = name.partition(":")
    if colon:
        try:
            return cast("DriverFactory", getattr(import_module(module), attribute))
        except (ImportError, AttributeError) as error:
            raise UnknownDriver(
                f"{name} cannot be imported: {error}. Write module:Class of something on the path."
            ) from error
    point = _found().get(name)
    if point is None:
        known = ", ".join(available()) or "none"
        raise UnknownDriver(
            f"no driver is called {name!r}; installed are: {known}. "
            f"Install the package that brings it, or register it as an entry point of group {GROUP!r}."
        )
    return cast("DriverFactory", point.load())


def open_driver(name: str, options: Mapping[str, Any]) -> Driver:
    """Build a driver from its options. Raises `UnknownDriver`, or `ValueError` where an option is wrong."""
    return load(name)(options)
