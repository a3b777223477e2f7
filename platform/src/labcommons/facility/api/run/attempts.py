"""Attempts: permissions given, and their whole story."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from labcommons.facility.api.auth import Action, Call
from labcommons.facility.api.paging import Page, Paged
from labcommons.facility.api.problems import documented
from labcommons.facility.api.run.forms import Attempt, AttemptStory
from labcommons.facility.services.lab import labs
from labcommons.facility.services.office import projects
from labcommons.facility.services.run import attempts
from labcommons.facility.services.run.access import missing
from labcommons.scheduler.authority import Resource
from labcommons.scheduler.events import AttemptState

router = APIRouter(tags=["attempts"])


@router.get("/attempts", summary="Attempts that I may see", responses=documented(401, 403, 404, 422))
def list_attempts(
    call: Annotated[Call, Depends(Action("attempt.list"))],
    paged: Paged,
    project: Annotated[str | None, Query(description="Only this project's")] = None,
    lab: Annotated[str | None, Query(description="Only this lab's, by id or name")] = None,
    experiment: Annotated[str | None, Query(description="Only this experiment's")] = None,
    state: Annotated[AttemptState | None, Query(description="Only in this state")] = None,
) -> Page[Attempt]:
    """Those of my projects and of my labs, oldest first; staff and auditors see all."""
    with call.read() as uow:
        conditions: dict[str, Any] = {}
        if project is not None:
            conditions["project"] = projects.get(uow, project).id
        if lab is not None:
            conditions["lab"] = labs.get_lab(uow, lab).id
        if conditions:
            call.allow(Resource("attempt", project=conditions.get("project"), lab=conditions.get("lab")))
        if experiment is not None:
            conditions["experiment"] = experiment
        if state is not None:
            conditions["state"] = str(state)
        rows = attempts.visible(uow, call.scope, conditions, after=paged.after, limit=paged.limit + 1)
        items, following = paged.page(rows, lambda row: row.id)
        return Page(items=[Attempt.model_validate(attempts.present(row)) for row in items], next=following)


@router.get("/attempts/{attempt}", summary="One attempt's story", responses=documented(401, 403, 404))
def show_attempt(attempt: str, call: Annotated[Call, Depends(Action("attempt.read"))]) -> AttemptStory:
    """Every change of its state, and what caused it."""
    with call.read() as uow:
        row = uow.run.attempts.get(attempt)
        if row is None:
            raise missing()
        call.allow(Resource("attempt", project=row.project, lab=row.lab))
        return AttemptStory.model_validate(attempts.show(uow, row))
