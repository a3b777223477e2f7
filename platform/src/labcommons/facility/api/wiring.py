"""What the routes need of the facility, put together by bootstrap and carried by the application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from anyio import CapacityLimiter
from fastapi import Request

from labcommons.facility.ports import Bus, Clock, ObjectStore, TokenVerifier, Work
from labcommons.facility.settings import Settings


@dataclass(frozen=True)
class Wiring:
    """The facility's parts as the API sees them.

    `embedded`: the issuer is our own, so that a token's subject is a person's id. `missing`: names of the parts that do
    not answer now. `stopping`: set when the server is told to end, so that held calls and streams let go. `uploads`:
    the threads that receive bytes.
    """

    settings: Settings
    clock: Clock
    bus: Bus
    work: Work
    objects: ObjectStore
    verifier: TokenVerifier
    embedded: bool
    missing: Callable[[], list[str]]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    uploads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(8))


def wiring_of(request: Request) -> Wiring:
    """The wiring of the application that serves this request (a dependency)."""
    found = request.app.state.wiring
    assert isinstance(found, Wiring)
    return found
