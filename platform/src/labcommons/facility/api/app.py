"""The application: rooms, problem documents, limits, headers, and the description of it all at `/openapi.json`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib import metadata

from fastapi import APIRouter, Depends, FastAPI
from starlette.middleware import Middleware

from labcommons.facility.api import docs, health, problems
from labcommons.facility.api.lab import labs, link
from labcommons.facility.api.middleware import BodyLimit, Guard, limits_by_path
from labcommons.facility.api.office import allocations, ledger, me, projects
from labcommons.facility.api.oidc import EmbeddedIssuer, mount_issuer
from labcommons.facility.api.query import refuse_unknown
from labcommons.facility.api.run import (
    attempts,
    events,
    experiments,
    objects,
    protocols,
    records,
    studies,
)
from labcommons.facility.api.wiring import Wiring

#: Brings the workers up and takes them down again.
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

#: All routers below `/v1`.
ROOMS: Sequence[APIRouter] = (
    me.router,
    projects.router,
    allocations.router,
    ledger.router,
    labs.router,
    link.router,
    protocols.router,
    events.router,  # before experiments, whose `{experiment}` would take no slash in any case
    experiments.router,
    studies.router,
    attempts.router,
    records.router,
    objects.router,
)


def make_app(wiring: Wiring, *, lifespan: Lifespan, issuer: EmbeddedIssuer | None) -> FastAPI:
    """The facility's application. `issuer`: the embedded one, where there is no other."""
    settings = wiring.settings
    app = FastAPI(
        title="labcommons",
        summary="A commons of autonomous laboratories: one API for people, scripts, courses and labs",
        version=metadata.version("labcommons"),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        middleware=[
            Middleware(Guard, settings=settings),
            Middleware(BodyLimit, limit=limits_by_path(settings)),
        ],
        dependencies=[Depends(refuse_unknown)],
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.state.wiring = wiring
    problems.install(app)
    for room in ROOMS:
        app.include_router(room, prefix="/v1")
    app.include_router(health.router)
    app.include_router(records.ark_router)
    app.include_router(docs.router)
    if issuer is not None:
        mount_issuer(app, issuer)
    docs.describe(app, wiring)
    return app
