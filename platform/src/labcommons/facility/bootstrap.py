"""The only place where adapters are built and joined: the facility from its settings, and what serves it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx
from fastapi import FastAPI
from sqlalchemy import Engine
from sqlalchemy.engine import make_url
from starlette.types import ASGIApp, Receive, Scope, Send

from labcommons.core.errors import Unavailable
from labcommons.facility.api.app import make_app
from labcommons.facility.api.wiring import Wiring
from labcommons.facility.bus.memory import MemoryBus
from labcommons.facility.clock import SystemClock
from labcommons.facility.entropy import RandomIds
from labcommons.facility.identity.denylist import Denylist, SqliteDenylist
from labcommons.facility.identity.issuer import Issuer, IssuerConfig, PasswordCost, create_issuer
from labcommons.facility.identity.verifier import OidcVerifier, create_verifier
from labcommons.facility.ports import Bus, Clock, Ids, ObjectStore, Work
from labcommons.facility.services.lab.silence import Lease
from labcommons.facility.settings import Settings
from labcommons.facility.storage.engine import make_engine
from labcommons.facility.storage.migrate import current, head, migrate
from labcommons.facility.storage.objects import FolderObjects
from labcommons.facility.storage.work import SqlWork
from labcommons.facility.workers.group import Workers

__all__ = ["Facility", "create_app", "open_books", "open_facility"]


@dataclass(frozen=True)
class Facility:
    """The adapters, joined. `close` it in the end."""

    settings: Settings
    engine: Engine
    clock: Clock
    ids: Ids
    bus: Bus
    objects: ObjectStore
    work: Work
    issuer: Issuer | None
    denylist: Denylist
    verifier: OidcVerifier
    entrance: Entrance

    def close(self) -> None:
        """Close the files. What was committed stays."""
        if self.issuer is not None:
            self.issuer.close()
        elif isinstance(self.denylist, SqliteDenylist):
            self.denylist.close()
        self.engine.dispose()

    def missing(self) -> list[str]:
        """Names of the parts that do not answer now. Blocking."""
        lacking = []
        try:
            if current(self.engine) != head():
                lacking.append("migrations")
            with self.work.read() as uow:
                uow.lab.labs.count()
        except Exception:
            # Whatever the driver raises: the question is only whether the books can be read.
            lacking.append("database")
        try:
            with tempfile.TemporaryFile(dir=self.settings.objects_folder):
                pass
        except OSError:
            lacking.append("objects")
        return lacking


class Entrance:
    """A door to an application that is built later: the embedded issuer lives in the one that its verifier serves."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the call on. Raises `RuntimeError` before there is an application."""
        if self.app is None:
            raise RuntimeError("there is no application yet")
        await self.app(scope, receive, send)


def open_books(settings: Settings, *, clock: Clock | None = None) -> tuple[Engine, Work]:
    """The database alone, beside a facility that may be running. Dispose of the engine in the end."""
    clock = clock or SystemClock()
    engine = make_engine(_prepared(settings), busy_ms=settings.storage.busy_ms)
    return engine, SqlWork(engine, clock, RandomIds(clock), _NoObjects(), MemoryBus())


def open_facility(settings: Settings, *, clock: Clock | None = None, cost: PasswordCost | None = None) -> Facility:
    """Build and join all adapters. `cost`: of the passwords' hash, for tests.

    Raises `Unavailable` where the database does not keep what it is told.
    """
    clock = clock or SystemClock()
    ids, bus = RandomIds(clock), MemoryBus()
    engine = make_engine(_prepared(settings), busy_ms=settings.storage.busy_ms)
    if settings.storage.migrate_on_start:
        migrate(engine)
    objects = FolderObjects(settings.objects_folder)
    issuer = None if settings.identity.issuer is not None else _issuer(settings, clock, cost)
    folder = settings.home_path / "facility" / "identity"
    denylist: Denylist = issuer.denylist if issuer is not None else SqliteDenylist(folder / "denylist.sqlite", clock)
    entrance = Entrance()
    verifier = create_verifier(
        settings.issuer,
        clock,
        denylist,
        audience=settings.identity.audience,
        algorithms=settings.identity.algorithms,
        leeway_s=settings.identity.leeway_ms / 1000,
        # Discovery of our own issuer goes through the application itself: no socket, and nothing to wait for.
        transport=httpx.ASGITransport(app=entrance) if issuer is not None else None,
    )
    work = SqlWork(engine, clock, ids, objects, bus)
    return Facility(settings, engine, clock, ids, bus, objects, work, issuer, denylist, verifier, entrance)


def create_app(facility: Facility) -> FastAPI:
    """The application of an open facility. Its lifespan starts the workers and stops them."""
    wiring = Wiring(
        settings=facility.settings,
        clock=facility.clock,
        bus=facility.bus,
        work=facility.work,
        objects=facility.objects,
        verifier=facility.verifier,
        embedded=facility.issuer is not None,
        missing=facility.missing,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        delivery = facility.settings.delivery
        lease = Lease.of_ms(delivery.lease_ms, delivery.suspect_ms)
        check = facility.settings.checks.invariants
        async with Workers(facility.bus, facility.work, lease, check=check):
            yield
            wiring.stopping.set()

    app = make_app(wiring, lifespan=lifespan, issuer=facility.issuer)
    facility.entrance.app = app
    return app


def _prepared(settings: Settings) -> str:
    """The database's URL; the folder of a SQLite file is made first, readable by its owner alone."""
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return settings.database_url


def _issuer(settings: Settings, clock: Clock, cost: PasswordCost | None) -> Issuer:
    config = IssuerConfig(
        url=settings.issuer,
        folder=settings.home_path / "facility" / "identity",
        audience=settings.identity.audience,
        access_token_s=settings.identity.access_token_ms // 1000,
        session_s=settings.identity.session_ms // 1000,
        leeway_s=settings.identity.leeway_ms // 1000,
        cost=cost or PasswordCost(),
    )
    return create_issuer(config, clock)


class _NoObjects:
    """For those who read the books alone: opening the store would clear away what a running facility is receiving."""

    def put(self, sha256: str, chunks: Iterable[bytes], *, maximum: int | None = None) -> int:
        """Never."""
        raise Unavailable("the objects are not open here")

    def has(self, sha256: str) -> bool:
        """Never."""
        raise Unavailable("the objects are not open here")

    def size(self, sha256: str) -> int:
        """Never."""
        raise Unavailable("the objects are not open here")

    def open(self, sha256: str) -> BinaryIO:
        """Never."""
        raise Unavailable("the objects are not open here")
