"""The ledger, read: double entries, and statements that an outsider can add up."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from labcommons.core.errors import InvalidInput
from labcommons.facility.api.auth import Action, Call
from labcommons.facility.api.forms import Moment
from labcommons.facility.api.paging import Page, Paged
from labcommons.facility.api.problems import documented
from labcommons.facility.services.lab import labs
from labcommons.facility.services.office import allocations, ledger, projects
from labcommons.scheduler.allocation import ledger as books
from labcommons.scheduler.authority import Resource

router = APIRouter(tags=["ledger"])


class Entry(BaseModel):
    """A double entry: `amount_ms` (positive) moves from `account` to `counter_account`."""

    entry: str = Field(examples=["ent_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"])
    at: Moment
    kind: str = Field(examples=["charge"])
    account: str = Field(examples=["held:alc_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"])
    counter_account: str = Field(examples=["lab:lab_01J8Z3V5Q2M4T6W8Y0A1B3C5D8:barrel-press"])
    instrument_type: str = Field(examples=["barrel-press"])
    amount_ms: int = Field(examples=[240_000])
    cause: str = Field(examples=["att_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"])
    actor: str = Field(examples=["per_01J8Z3V5Q2M4T6W8Y0A1B3C5D9"])


class StatementLine(BaseModel):
    """One allocation, added up from its entries: available = granted - charged - held; charged is net of refunds."""

    allocation: str
    instrument_type: str
    granted_ms: int
    held_ms: int
    charged_ms: int
    refunded_ms: int
    available_ms: int


class LabLine(BaseModel):
    """What a lab is owed for one instrument type: charges less refunds, in lab ms."""

    instrument_type: str
    owed_ms: int


class Statement(BaseModel):
    """Every entry of a project or a lab, and what they add up to."""

    project: str | None = None
    lab: str | None = None
    at: Moment
    allocations: list[StatementLine] = Field(default_factory=list)
    types: list[LabLine] = Field(default_factory=list)
    entries: list[Entry]


@router.get("/ledger/entries", summary="Double entries", responses=documented(401, 403, 404, 422))
def list_entries(
    call: Annotated[Call, Depends(Action("ledger.read"))],
    paged: Paged,
    project: Annotated[str | None, Query(description="Only the entries of this project's allocations")] = None,
) -> Page[Entry]:
    """Entries of my projects' allocations, oldest first; staff and auditors see all."""
    with call.read() as uow:
        conditions: dict[str, Any] = call.mine()
        if project is not None:
            call.allow(Resource("ledger", project=projects.get(uow, project).id))
            conditions = {"project": [project]}
        after = ledger.position(uow, paged.after)
        if conditions:
            wanted = allocations.of_projects(uow, conditions["project"])
            rows = ledger.entries_of(uow, wanted, after=after, limit=paged.limit + 1)
        else:
            rows = uow.office.ledger.find(order="seq", after=after, limit=paged.limit + 1)
        items, following = paged.page(rows, lambda row: row.entry)
        return Page(
            items=[Entry.model_validate(books.export_line(ledger.entry_of(row))) for row in items], next=following
        )


@router.get("/ledger/statement", summary="A statement", responses=documented(401, 403, 404, 422))
def statement(
    call: Annotated[Call, Depends(Action("ledger.read"))],
    project: Annotated[str | None, Query(description="The project whose statement this is")] = None,
    lab: Annotated[str | None, Query(description="Or the lab")] = None,
) -> Statement:
    """Of one project or of one lab: all entries, and the sums that follow from them."""
    if (project is None) == (lab is None):
        raise InvalidInput(
            "A statement is of one project or of one lab.",
            code="missing_field",
            field="/project",
            remedy="give ?project=prj_... or ?lab=lab_...",
        )
    with call.read() as uow:
        if project is not None:
            row = projects.get(uow, project)
            call.allow(Resource("ledger", project=row.id))
            return Statement.model_validate(ledger.project_statement(uow, row))
        owner = labs.get_lab(uow, str(lab))
        call.allow(Resource("ledger", lab=owner.id))
        owed, entries = ledger.lab_statement(uow, owner)
        types = [LabLine(instrument_type=name, owed_ms=ms) for name, ms in sorted(owed.items())]
        lines = [Entry.model_validate(books.export_line(entry)) for entry in entries]
        return Statement(lab=owner.id, at=uow.now, types=types, entries=lines)
