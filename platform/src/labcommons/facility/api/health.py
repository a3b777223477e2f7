"""Alive, able to serve, and which version: for supervisors, proxies and people. No token needed."""

from __future__ import annotations

import os
from importlib import metadata
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from labcommons.facility.api.wiring import Wiring, wiring_of
from labcommons.federation.versions import SPEAKS

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Whether the facility can serve; `missing` names the parts that do not answer."""

    ready: bool
    missing: list[str] = Field(default_factory=list, examples=[["database"]])


class Version(BaseModel):
    """What runs here. `revision`: of the source, where the build told it; `wire`: versions spoken with nodes."""

    version: str = Field(examples=["0.1.0"])
    revision: str | None = None
    wire: list[int] = Field(examples=[[1]])


@router.get("/healthz", summary="Alive")
async def healthz() -> Alive:
    """The process answers; nothing else is asked."""
    return Alive()


@router.get("/readyz", summary="Able to serve", responses={503: {"model": Ready, "description": "Not now"}})
def readyz(wiring: Annotated[Wiring, Depends(wiring_of)]) -> JSONResponse:
    """200 when every part answers, else 503 with the names of those that do not."""
    lacking = wiring.missing()
    body = Ready(ready=not lacking, missing=lacking)
    return JSONResponse(body.model_dump(), status_code=503 if lacking else 200)


@router.get("/version", summary="What runs here")
async def version() -> Version:
    """Version, revision, wire versions."""
    # The revision is told by whoever builds the image or starts the service; a wheel does not know it.
    return Version(
        version=metadata.version("labcommons"), revision=os.environ.get("LABCOMMONS_REVISION"), wire=list(SPEAKS)
    )
