"""Who is in the federation: labs, their nodes, their instruments, and the vocabulary of what these can do."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from labcommons.facility.api.auth import Action, Call
from labcommons.facility.api.forms import Moment
from labcommons.facility.api.paging import Page, Paged
from labcommons.facility.api.problems import documented
from labcommons.facility.ports import InstrumentRow, LabRow, NodeRow, UnitOfWork
from labcommons.facility.services.lab import labs
from labcommons.protocols.capabilities import load_shipped
from labcommons.scheduler.authority import Resource

router = APIRouter(tags=["labs"])


class Instrument(BaseModel):
    """An instrument, its state as its driver last told it, and what its lab's manifest says it can do."""

    id: str = Field(examples=["ins_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"])
    lab: str = Field(examples=["lab_01J8Z3V5Q2M4T6W8Y0A1B3C5D8"])
    node: str = Field(examples=["nod_01J8Z3V5Q2M4T6W8Y0A1B3C5D9"])
    name: str = Field(examples=["press"])
    type: str = Field(examples=["barrel-press"])
    state: str = Field(examples=["idle"], description="idle busy paused error maintenance local unknown")
    detail: str = ""
    simulated: bool
    manifest: str | None = Field(description="sha256 of the lab's manifest, an object", default=None)
    offers: list[dict[str, Any]] = Field(description="Capabilities with ranges and durations, as the manifest has them")
    calibration: dict[str, Any] | None = None
    running: str | None = Field(description="The attempt that has it now", default=None)


class Lab(BaseModel):
    """A partner lab. `time_scale`: lab time that passes in one unit of wall time."""

    id: str = Field(examples=["lab_01J8Z3V5Q2M4T6W8Y0A1B3C5D8"])
    name: str = Field(examples=["north"])
    title: str = Field(examples=["Northern Barrel Lab"])
    time_zone: str = Field(examples=["Europe/Lisbon"])
    ror: str | None = None
    time_scale: str = Field(examples=["600"])
    simulated: bool
    state: str = Field(examples=["online"], description="online silent offline")
    instruments: list[Instrument]


class Node(BaseModel):
    """A lab's agent. `session`: its present life; `journal`: its journal file; `ray_cluster`: its instruments' home."""

    id: str = Field(examples=["nod_01J8Z3V5Q2M4T6W8Y0A1B3C5D9"])
    lab: str
    state: str = Field(examples=["active"], description="pending active quarantined revoked")
    session: str | None = None
    journal: str | None = None
    wire: int | None = None
    version: str | None = None
    ray_cluster: str | None = None
    last_seen_at: Moment | None = None


class CapabilityItem(BaseModel):
    """A capability of the commons: a versioned document with its actions, parameters and outputs."""

    id: str = Field(examples=["compression.test"])
    version: int = Field(examples=[1])
    title: str
    document: dict[str, Any]


def _instrument(uow: UnitOfWork, row: InstrumentRow) -> Instrument:
    described = labs.described(uow, row)
    return Instrument(
        id=row.id,
        lab=row.lab,
        node=row.node,
        name=row.name,
        type=row.type,
        state=row.state,
        detail=row.detail,
        simulated=row.simulated,
        manifest=row.manifest,
        offers=list(described.get("offers", [])),
        calibration=described.get("calibration"),
        running=labs.running(uow, row),
    )


def _lab(uow: UnitOfWork, row: LabRow) -> Lab:
    return Lab(
        id=row.id,
        name=row.name,
        title=row.title,
        time_zone=row.time_zone,
        ror=row.ror,
        time_scale=row.time_scale,
        simulated=row.simulated,
        state=labs.lab_state(uow.lab.nodes.find(lab=row.id)),
        instruments=[_instrument(uow, one) for one in uow.lab.instruments.find(lab=row.id)],
    )


def _node(row: NodeRow) -> Node:
    return Node(
        id=row.id,
        lab=row.lab,
        state=row.state,
        session=row.session,
        journal=row.journal,
        wire=row.wire,
        version=row.software,
        ray_cluster=row.ray_cluster,
        last_seen_at=row.last_seen_at,
    )


@router.get("/labs", summary="The labs of the federation", responses=documented(401, 403, 422))
def list_labs(call: Annotated[Call, Depends(Action("lab.read"))], paged: Paged) -> Page[Lab]:
    """All labs, with their instruments."""
    call.allow(Resource("lab"))
    with call.read() as uow:
        rows = uow.lab.labs.find(after=paged.after, limit=paged.limit + 1)
        items, following = paged.page(rows, lambda row: row.id)
        return Page(items=[_lab(uow, row) for row in items], next=following)


@router.get("/labs/{lab}", summary="One lab", responses=documented(401, 403, 404))
def show_lab(lab: str, call: Annotated[Call, Depends(Action("lab.read"))]) -> Lab:
    """A lab by its id or its name."""
    with call.read() as uow:
        row = labs.get_lab(uow, lab)
        call.allow(Resource("lab", lab=row.id))
        return _lab(uow, row)


@router.get("/nodes", summary="Nodes that I may see", responses=documented(401, 403, 422))
def list_nodes(call: Annotated[Call, Depends(Action("node.read"))], paged: Paged) -> Page[Node]:
    """The nodes of my labs; staff see all."""
    with call.read() as uow:
        seen = call.scope
        conditions: dict[str, Any] = {} if seen.everything else {"lab": sorted(seen.labs)}
        rows = uow.lab.nodes.find(**conditions, after=paged.after, limit=paged.limit + 1)
        items, following = paged.page(rows, lambda row: row.id)
        return Page(items=[_node(row) for row in items], next=following)


@router.get("/nodes/{node}", summary="One node", responses=documented(401, 403, 404))
def show_node(node: str, call: Annotated[Call, Depends(Action("node.read"))]) -> Node:
    """A node of one of my labs; staff see all."""
    with call.read() as uow:
        row = labs.get_node(uow, node)
        call.allow(Resource("node", lab=row.lab, node=row.id))
        return _node(row)


@router.get("/instruments", summary="Instruments", responses=documented(401, 403, 422))
def list_instruments(
    call: Annotated[Call, Depends(Action("instrument.read"))],
    paged: Paged,
    lab: Annotated[str | None, Query(description="Only this lab's, by id or name")] = None,
    type: Annotated[str | None, Query(description="Only of this type")] = None,
) -> Page[Instrument]:
    """All instruments of the federation, or those of one lab or type."""
    call.allow(Resource("instrument"))
    with call.read() as uow:
        conditions: dict[str, Any] = {}
        if lab is not None:
            conditions["lab"] = labs.get_lab(uow, lab).id
        if type is not None:
            conditions["type"] = type
        rows = uow.lab.instruments.find(**conditions, after=paged.after, limit=paged.limit + 1)
        items, following = paged.page(rows, lambda row: row.id)
        return Page(items=[_instrument(uow, row) for row in items], next=following)


@router.get("/instruments/{instrument}", summary="One instrument", responses=documented(401, 403, 404))
def show_instrument(instrument: str, call: Annotated[Call, Depends(Action("instrument.read"))]) -> Instrument:
    """An instrument by its id."""
    with call.read() as uow:
        row = labs.get_instrument(uow, instrument)
        call.allow(Resource("instrument", lab=row.lab))
        return _instrument(uow, row)


@router.get("/capabilities", summary="The shared vocabulary", responses=documented(401, 403))
def list_capabilities(call: Annotated[Call, Depends(Action("capability.read"))]) -> Page[CapabilityItem]:
    """Every capability that protocols may ask for and instruments may offer."""
    call.allow(Resource("capability"))
    items = [
        CapabilityItem(id=one.id, version=one.version, title=one.title, document=one.model_dump(mode="json"))
        for _, one in sorted(load_shipped().items())
    ]
    return Page(items=items)
