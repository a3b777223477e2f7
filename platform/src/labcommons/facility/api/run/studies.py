"""Studies: experiments submitted together under one name."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from labcommons.facility.api.auth import Action, Call
from labcommons.facility.api.paging import Page, Paged
from labcommons.facility.api.problems import documented
from labcommons.facility.api.run.forms import Study
from labcommons.facility.services.office import projects
from labcommons.facility.services.run import studies
from labcommons.facility.services.run.access import missing
from labcommons.scheduler.authority import Resource

router = APIRouter(tags=["studies"])


@router.get("/studies", summary="Studies that I may see", responses=documented(401, 403, 404, 422))
def list_studies(
    call: Annotated[Call, Depends(Action("study.list"))],
    paged: Paged,
    project: Annotated[str | None, Query(description="Only this project's")] = None,
) -> Page[Study]:
    """Those of my projects, oldest first; staff see all."""
    with call.read() as uow:
        conditions: dict[str, Any] = call.mine()
        if project is not None:
            call.allow(Resource("study", project=projects.get(uow, project).id))
            conditions = {"project": project}
        rows = uow.run.studies.find(**conditions, after=paged.after, limit=paged.limit + 1)
        items, following = paged.page(rows, lambda row: row.id)
        return Page(items=[Study.model_validate(studies.present(uow, row)) for row in items], next=following)


@router.get("/studies/{study}", summary="One study", responses=documented(401, 403, 404))
def show_study(study: str, call: Annotated[Call, Depends(Action("study.read"))]) -> Study:
    """How many of its experiments are in which state."""
    with call.read() as uow:
        row = uow.run.studies.get(study)
        if row is None:
            raise missing()
        call.allow(Resource("study", project=row.project))
        return Study.model_validate(studies.present(uow, row))
