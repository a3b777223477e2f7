"""Records: one attempt's data, with an identifier to cite."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from labcommons.facility.api.auth import Action, Call
from labcommons.facility.api.paging import Page, Paged
from labcommons.facility.api.problems import documented
from labcommons.facility.api.run.forms import Record
from labcommons.facility.ports import RecordRow, UnitOfWork
from labcommons.facility.services.office import projects
from labcommons.facility.services.run import records
from labcommons.facility.services.run.access import missing
from labcommons.scheduler.authority import Resource

router = APIRouter(tags=["records"])
ark_router = APIRouter(tags=["records"])


def _form(uow: UnitOfWork, call: Call, row: RecordRow | None) -> Record:
    if row is None:
        raise missing()
    call.allow(Resource("record", project=row.project, lab=row.lab))
    return Record.model_validate(records.present_all(uow, [row])[0])


@router.get("/records", summary="Records that I may see", responses=documented(401, 403, 404, 422))
def list_records(
    call: Annotated[Call, Depends(Action("record.list"))],
    paged: Paged,
    project: Annotated[str | None, Query(description="Only this project's")] = None,
    study: Annotated[str | None, Query(description="Only those of this study's experiments")] = None,
    experiment: Annotated[str | None, Query(description="Only this experiment's")] = None,
) -> Page[Record]:
    """The data of my projects, oldest first."""
    with call.read() as uow:
        conditions: dict[str, Any] = call.mine()
        if project is not None:
            call.allow(Resource("record", project=projects.get(uow, project).id))
            conditions = {"project": project}
        if experiment is not None:
            conditions["experiment"] = experiment
        if study is not None:
            members = {row.id for row in uow.run.experiments.find(study=study)}
            conditions["experiment"] = sorted(members if experiment is None else members & {experiment})
        rows = uow.run.records.find(**conditions, after=paged.after, limit=paged.limit + 1)
        items, following = paged.page(rows, lambda row: row.id)
        return Page(items=[Record.model_validate(one) for one in records.present_all(uow, items)], next=following)


@router.get("/records/{record}", summary="One record", responses=documented(401, 403, 404))
def show_record(record: str, call: Annotated[Call, Depends(Action("record.read"))]) -> Record:
    """A record by its identifier."""
    with call.read() as uow:
        return _form(uow, call, uow.run.records.get(record))


@ark_router.get("/ark:/{naan}/{name}", summary="A record by its ARK", responses=documented(401, 403, 404))
def by_ark(naan: str, name: str, call: Annotated[Call, Depends(Action("record.read"))]) -> Record:
    """The record that the identifier cites."""
    with call.read() as uow:
        return _form(uow, call, uow.run.records.one(ark=f"ark:/{naan}/{name}"))
