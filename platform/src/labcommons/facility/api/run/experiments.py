"""Experiments: submit one or many, watch, ask why, cancel."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query
from fastapi.responses import JSONResponse

from labcommons.facility.api.auth import Action, Call
from labcommons.facility.api.forms import answered
from labcommons.facility.api.idempotency import Key, once
from labcommons.facility.api.paging import Page, Paged
from labcommons.facility.api.problems import documented
from labcommons.facility.api.run.forms import Experiment, Record, Submitted, Why
from labcommons.facility.api.run.submission import EXAMPLE, Submission
from labcommons.facility.ports import ExperimentRow, UnitOfWork
from labcommons.facility.services.office import projects
from labcommons.facility.services.run import experiments, records
from labcommons.scheduler.authority import Resource
from labcommons.scheduler.experiments import ExperimentState

router = APIRouter(tags=["experiments"])


def _allowed(uow: UnitOfWork, call: Call, experiment: str) -> ExperimentRow:
    """The experiment, if the caller may do this to it. Raises `NotFound` or `Forbidden`."""
    row = experiments.get(uow, experiment)
    call.allow(Resource("experiment", project=row.project, owner=row.submitted_by))
    return row


@router.post(
    "/experiments",
    status_code=201,
    response_model=Submitted,
    summary="Submit experiments",
    responses=documented(401, 403, 404, 413, 422),
)
def submit(
    body: Annotated[Submission, Body(examples=[EXAMPLE])],
    key: Key,
    call: Annotated[Call, Depends(Action("experiment.submit"))],
) -> JSONResponse:
    """1 to 1,000 experiments of one protocol as one study: compiled, their time held and queued, or refused whole."""

    def act(uow: UnitOfWork) -> dict[str, Any]:
        # The key is kept by `once`, in this same transaction.
        return experiments.submit(uow, call.principal, body.plain(), None).to_json()

    return answered(*once(call, "POST /v1/experiments", key, body.plain(), act))


@router.get("/experiments", summary="Experiments that I may see", responses=documented(401, 403, 404, 422))
def list_experiments(
    call: Annotated[Call, Depends(Action("experiment.list"))],
    paged: Paged,
    project: Annotated[str | None, Query(description="Only this project's")] = None,
    study: Annotated[str | None, Query(description="Only this study's")] = None,
    state: Annotated[ExperimentState | None, Query(description="Only in this state")] = None,
) -> Page[Experiment]:
    """Those of my projects, oldest first; staff see all."""
    with call.read() as uow:
        conditions: dict[str, Any] = call.mine()
        if project is not None:
            call.allow(Resource("experiment", project=projects.get(uow, project).id))
            conditions = {"project": project}
        if study is not None:
            conditions["study"] = study
        if state is not None:
            conditions["state"] = str(state)
        rows = uow.run.experiments.find(**conditions, after=paged.after, limit=paged.limit + 1)
        items, following = paged.page(rows, lambda row: row.id)
        found = experiments.present(uow, items)
        return Page(items=[Experiment.model_validate(one) for one in found], next=following)


@router.get("/experiments/{experiment}", summary="One experiment", responses=documented(401, 403, 404))
def show_experiment(experiment: str, call: Annotated[Call, Depends(Action("experiment.read"))]) -> Experiment:
    """Its steps, their attempts, its place and when it is likely to end."""
    with call.read() as uow:
        return Experiment.model_validate(experiments.show(uow, _allowed(uow, call, experiment)))


@router.post(
    "/experiments/{experiment}/cancel",
    response_model=Experiment,
    summary="Wish that it ends",
    responses=documented(401, 403, 404, 409, 422),
)
def cancel(experiment: str, key: Key, call: Annotated[Call, Depends(Action("experiment.cancel"))]) -> JSONResponse:
    """Steps without a live attempt are cancelled at once; for others it is a wish that the lab answers."""

    def act(uow: UnitOfWork) -> dict[str, Any]:
        row = experiments.cancel(uow, call.principal, _allowed(uow, call, experiment))
        return Experiment.model_validate(experiments.show(uow, row)).model_dump(mode="json")

    route = f"POST /v1/experiments/{experiment}/cancel"
    return answered(*once(call, route, key, {}, act, status=200))


@router.get("/experiments/{experiment}/why", summary="Why it waits", responses=documented(401, 403, 404))
def why(experiment: str, call: Annotated[Call, Depends(Action("experiment.why"))]) -> Why:
    """For each step that waits, a reason that a machine can check."""
    with call.read() as uow:
        return Why.model_validate(experiments.why(uow, _allowed(uow, call, experiment)))


@router.get("/experiments/{experiment}/records", summary="What came of it", responses=documented(401, 403, 404))
def experiment_records(
    experiment: str, call: Annotated[Call, Depends(Action("record.list"))], paged: Paged
) -> Page[Record]:
    """Every record of the experiment, oldest first."""
    with call.read() as uow:
        row = _allowed(uow, call, experiment)
        rows = uow.run.records.find(experiment=row.id, after=paged.after, limit=paged.limit + 1)
        items, following = paged.page(rows, lambda row: row.id)
        return Page(items=[Record.model_validate(one) for one in records.present_all(uow, items)], next=following)
