"""What happens, as it happens: one stream of all that the caller may see, and one for each experiment."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from labcommons.facility.api import stream
from labcommons.facility.api.auth import Action, Call, resolve
from labcommons.facility.api.problems import documented
from labcommons.facility.ports import EventRow
from labcommons.facility.services.run.access import missing
from labcommons.scheduler.authority import Decision, Principal, Resource, authorize

router = APIRouter(tags=["events"])

LastId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="Id of the last event that was read; go on after it")
]
_STREAM: dict[int | str, dict[str, Any]] = {
    **documented(401, 403, 404, 422),
    200: {
        "description": "Server-sent events: `id` a rising number, `event` noun.state, `data` JSON",
        "content": {
            stream.MEDIA_TYPE: {
                "schema": {"type": "string"},
                "example": 'id: 42\nevent: experiment.running\ndata: {"id":"exp_01J8Z3V5Q2M4T6W8Y0A1B3C5D7",'
                '"state":"running","at":"2026-10-01T09:00:00.000Z","experiment":"exp_01J8Z3V5Q2M4T6W8Y0A1B3C5D7",'
                '"project":"prj_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"}\n\n',
            }
        },
    },
}


@router.get("/events", response_class=StreamingResponse, summary="All that I may see", responses=_STREAM)
async def events(
    call: Annotated[Call, Depends(Action("event.read"))], last_event_id: LastId = None
) -> StreamingResponse:
    """From now on, or from after `Last-Event-ID`."""
    call.allow(Resource("event"))
    newest = await run_in_threadpool(_newest, call)
    start = stream.parse_last_id(last_event_id, newest)
    return stream.answer(call, newest if start is None else start, lambda after: _visible(call, after))


@router.get(
    "/experiments/{experiment}/events",
    response_class=StreamingResponse,
    summary="One experiment's story",
    responses=_STREAM,
)
async def experiment_events(
    experiment: str,
    call: Annotated[Call, Depends(Action("experiment.read"))],
    last_event_id: LastId = None,
) -> StreamingResponse:
    """From its beginning, or from after `Last-Event-ID`; goes on until the caller leaves."""
    await run_in_threadpool(_may_follow, call, experiment)
    newest = await run_in_threadpool(_newest, call)
    start = stream.parse_last_id(last_event_id, newest) or 0
    return stream.answer(call, start, lambda after: _of_experiment(call, experiment, after))


def _newest(call: Call) -> int:
    with call.read() as uow:
        found = uow.run.events.find(order="id", descending=True, limit=1)
        return found[0].id if found else 0


def _may_follow(call: Call, experiment: str) -> None:
    with call.read() as uow:
        row = uow.run.experiments.get(experiment)
        if row is None:
            raise missing()
        call.allow(Resource("experiment", project=row.project, owner=row.submitted_by))


def _of_experiment(call: Call, experiment: str, after: int) -> stream.Window:
    with call.read() as uow:
        rows = uow.run.events.find(
            order="id", after=after, limit=call.wiring.settings.events.batch, experiment=experiment
        )
    return stream.Window(rows, rows[-1].id if rows else after)


def _visible(call: Call, after: int) -> stream.Window:
    with call.read() as uow:
        rows = uow.run.events.find(order="id", after=after, limit=call.wiring.settings.events.batch)
    if not rows:
        return stream.Window((), after)
    # Whoever left a project since the stream began sees no more of it.
    principal = resolve(call.wiring, call.claims)
    return stream.Window([row for row in rows if _may_see(principal, row)], rows[-1].id)


def _may_see(principal: Principal, row: EventRow) -> bool:
    resource = Resource("event", project=row.project, lab=row.lab, node=row.node)
    return authorize(principal, "event.read", resource) is Decision.ALLOW
