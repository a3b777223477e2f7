"""Allocations: an amount of one instrument type, for one project, in one window."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from labcommons.core import times
from labcommons.facility.api.auth import Action, Call
from labcommons.facility.api.forms import Moment, answered
from labcommons.facility.api.idempotency import Key, once
from labcommons.facility.api.paging import Page, Paged
from labcommons.facility.api.problems import documented
from labcommons.facility.ports import UnitOfWork
from labcommons.facility.services.office import allocations, projects
from labcommons.scheduler.authority import Resource

router = APIRouter(tags=["allocations"])

InstrumentType = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]


class Allocation(BaseModel):
    """Lab time of one type. `available_ms` = granted - charged - held, each a fold of the ledger."""

    id: str = Field(examples=["alc_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"])
    project: str = Field(examples=["prj_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"])
    instrument_type: str = Field(examples=["barrel-press"])
    granted_ms: int
    held_ms: int
    charged_ms: int
    available_ms: int
    starts_at: Moment
    ends_at: Moment


class NewAllocation(BaseModel):
    """An amount to be granted. Times are RFC 3339 with their zone."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "project": "prj_01J8Z3V5Q2M4T6W8Y0A1B3C5D7",
                    "instrument_type": "barrel-press",
                    "amount_ms": 36_000_000,
                    "starts_at": "2026-10-01T00:00:00.000Z",
                    "ends_at": "2027-04-01T00:00:00.000Z",
                }
            ]
        },
    )

    project: str
    instrument_type: InstrumentType
    amount_ms: Annotated[int, Field(gt=0, le=10**13)]
    starts_at: str
    ends_at: str


def _form(view: allocations.View) -> Allocation:
    row = view.row
    return Allocation(
        id=row.id,
        project=row.project,
        instrument_type=row.instrument_type,
        granted_ms=view.granted_ms,
        held_ms=view.held_ms,
        charged_ms=view.charged_ms,
        available_ms=view.available_ms,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
    )


@router.get("/allocations", summary="Allocations that I may see", responses=documented(401, 403, 404, 422))
def list_allocations(
    call: Annotated[Call, Depends(Action("allocation.read"))],
    paged: Paged,
    project: Annotated[str | None, Query(description="Only this project's")] = None,
) -> Page[Allocation]:
    """Those of my projects; staff see all."""
    with call.read() as uow:
        conditions: dict[str, Any] = call.mine()
        if project is not None:
            call.allow(Resource("allocation", project=projects.get(uow, project).id))
            conditions = {"project": project}
        rows = uow.office.allocations.find(**conditions, after=paged.after, limit=paged.limit + 1)
        items, following = paged.page(rows, lambda row: row.id)
        return Page(items=[_form(view) for view in allocations.views(uow, items)], next=following)


@router.get("/allocations/{allocation}", summary="One allocation", responses=documented(401, 403, 404))
def show_allocation(allocation: str, call: Annotated[Call, Depends(Action("allocation.read"))]) -> Allocation:
    """An allocation of one of my projects; staff see all."""
    with call.read() as uow:
        row = allocations.get(uow, allocation)
        call.allow(Resource("allocation", project=row.project))
        return _form(allocations.views(uow, [row])[0])


@router.post(
    "/allocations",
    status_code=201,
    response_model=Allocation,
    summary="Grant time",
    responses=documented(401, 403, 404, 409, 422),
)
def grant(body: NewAllocation, key: Key, call: Annotated[Call, Depends(Action("allocation.grant"))]) -> JSONResponse:
    """Staff give a project time: the allocation and the ledger's grant, in one transaction."""

    def act(uow: UnitOfWork) -> dict[str, Any]:
        call.allow(Resource("allocation", project=projects.get(uow, body.project).id))
        row = allocations.grant(
            uow,
            call.actor,
            project=body.project,
            instrument_type=body.instrument_type,
            amount_ms=body.amount_ms,
            starts_at=times.from_text(body.starts_at, "/starts_at"),
            ends_at=times.from_text(body.ends_at, "/ends_at"),
        )
        return _form(allocations.views(uow, [row])[0]).model_dump(mode="json")

    return answered(*once(call, "POST /v1/allocations", key, body.model_dump(mode="json"), act))
