"""The link, dialled out by labs' nodes: two lanes over one set of cursors, and bytes on connections of their own."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Annotated, TypeVar

from anyio import from_thread, to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from labcommons.core.errors import InvalidInput, LabCommonsError
from labcommons.core.ids import NodeId
from labcommons.facility.api.auth import Action, Call
from labcommons.facility.api.forms import Sha256
from labcommons.facility.api.problems import documented
from labcommons.facility.api.stream import first_of
from labcommons.facility.ports import UnitOfWork
from labcommons.facility.services.lab import node_link
from labcommons.facility.services.transact import transact
from labcommons.federation.wire import Answer, NextCall, ReportCall
from labcommons.scheduler.authority import Resource

router = APIRouter(prefix="/node", tags=["node"])

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Stored(BaseModel):
    """Bytes that are kept. It is no acknowledgement of a result: that is `stored` of an answer."""

    sha256: str = Field(examples=["9f2c" * 16])
    bytes: int = Field(examples=[5_120])


def _node(call: Call) -> NodeId:
    call.allow(Resource("node", node=call.principal.node))
    return NodeId(call.actor)


def _heard(call: Call, node: NodeId, verb: Callable[[UnitOfWork], T]) -> T:
    """Do a verb of the link. What cannot be taken is logged and written down; the node goes on with its next call."""
    try:
        return transact(call.wiring.work, verb)
    except LabCommonsError as error:
        if error.word != "manifest_missing":  # that one is the ordinary way to ask for it
            _log.warning("node %s: %s refused, %s: %s", node, call.action, error.word, error.detail)
            _write_down(call, node, error)
        raise


def _write_down(call: Call, node: NodeId, error: LabCommonsError) -> None:
    transact(call.wiring.work, lambda uow: node_link.refused(uow, node, error))


@router.post("/report", summary="The journal, since what was read", responses=documented(401, 403, 409, 413, 422))
def report(body: ReportCall, call: Annotated[Call, Depends(Action("node.report"))]) -> Answer:
    """Read what is new and answer at once: how far it is read, and which results are kept for good."""
    node = _node(call)
    return _heard(call, node, lambda uow: node_link.report(uow, node, body))


@router.post("/next", summary="Wait for grants and stops", responses=documented(401, 403, 409, 413, 422))
async def next_(body: NextCall, call: Annotated[Call, Depends(Action("node.next"))]) -> Answer:
    """Held until there is something to do, `wait_ms` at most; a newer call of the node lets the held one go."""
    node, wiring = _node(call), call.wiring
    topic = f"node:{node}"
    ends = wiring.clock.monotonic() + min(body.wait_ms, wiring.settings.delivery.long_poll_ms) / 1000
    while True:
        # Read before the database is, so that a commit in between is not slept through.
        seen = wiring.bus.seen(topic)
        answer = await run_in_threadpool(_heard, call, node, lambda uow: node_link.next_answer(uow, node, body))
        if answer is not None:
            return answer
        left = ends - wiring.clock.monotonic()
        if left <= 0 or wiring.stopping.is_set():
            return await run_in_threadpool(_heard, call, node, lambda uow: node_link.idle_answer(uow, node, body))
        await first_of(wiring.bus.wait(topic, seen, left), wiring.stopping.wait())


@router.put(
    "/objects/{sha256}",
    status_code=201,
    response_model=Stored,
    summary="Send bytes",
    responses={
        **documented(401, 403, 413, 422),
        200: {"model": Stored, "description": "They were here already"},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def put_object(
    sha256: Sha256, request: Request, call: Annotated[Call, Depends(Action("node.object"))]
) -> JSONResponse:
    """Keep bytes under their sha256, durably, before the answer. They are never whole in memory."""
    node, wiring = _node(call), call.wiring
    stream = request.stream()
    receive = partial(_receive, call, node, sha256, stream)
    # Uploads have threads of their own: a slow one must not stand in the way of another lab's report.
    new, size = await to_thread.run_sync(receive, limiter=wiring.uploads)
    return JSONResponse(Stored(sha256=sha256, bytes=size).model_dump(), status_code=201 if new else 200)


def _receive(call: Call, node: NodeId, sha256: str, stream: AsyncIterator[bytes]) -> tuple[bool, int]:
    """Store what comes and write it down; whether it was new, and its size in bytes."""
    wiring = call.wiring
    try:
        size = wiring.objects.put(sha256, _pulled(stream), maximum=wiring.settings.objects.maximum_bytes)
    except LabCommonsError as error:
        _write_down(call, node, error)
        raise
    return _heard(call, node, lambda uow: node_link.put_object(uow, node, sha256)), size


def _pulled(stream: AsyncIterator[bytes]) -> Iterator[bytes]:
    """Pieces of a request's body, fetched from the loop by a worker thread at the pace at which it writes them."""

    async def step() -> bytes | None:
        try:
            return await anext(stream, None)
        except ClientDisconnect:
            raise InvalidInput(
                "The upload was broken off.", code="incomplete", remedy="send the bytes again, whole"
            ) from None

    while (piece := from_thread.run(step)) is not None:
        yield piece
