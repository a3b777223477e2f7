"""Protocol documents: kept by hash, found by hash or name, compiled without a trace."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from labcommons.facility.api.auth import Action, Call
from labcommons.facility.api.forms import Moment, answered
from labcommons.facility.api.idempotency import Key, once
from labcommons.facility.api.paging import Page, Paged
from labcommons.facility.api.problems import documented
from labcommons.facility.api.run.submission import EXAMPLE, Submission
from labcommons.facility.ports import ProtocolRow, UnitOfWork
from labcommons.facility.services.run import experiments, protocols
from labcommons.scheduler.authority import Resource

router = APIRouter(tags=["protocols"])


class ProtocolForm(BaseModel):
    """A protocol document. Its hash is its version; `id` is its name, which means the newest version."""

    hash: str = Field(examples=["sha256:" + "9f2c" * 16])
    id: str = Field(examples=["compression-toughness"])
    title: str
    intent: str
    created_at: Moment
    document: dict[str, Any]


class CompileAnswer(BaseModel):
    """For each experiment of the body: its steps and cost, or the reasons against it."""

    items: list[dict[str, Any]] = Field(
        description="`{steps, cost_ms}` or `{reasons}`",
        examples=[[{"steps": [], "cost_ms": {"barrel-press": 600_000}}]],
    )


def _form(row: ProtocolRow) -> ProtocolForm:
    return ProtocolForm(
        hash=row.hash,
        id=row.name,
        title=row.title,
        intent=row.intent,
        created_at=row.created_at,
        document=row.document,
    )


@router.get("/protocols", summary="Protocols, newest versions", responses=documented(401, 403, 422))
def list_protocols(call: Annotated[Call, Depends(Action("protocol.read"))], paged: Paged) -> Page[ProtocolForm]:
    """The newest version of every protocol, by name."""
    call.allow(Resource("protocol"))
    with call.read() as uow:
        rows = [row for row in protocols.newest(uow) if paged.after is None or row.name > paged.after]
        items, following = paged.page(rows[: paged.limit + 1], lambda row: row.name)
        return Page(items=[_form(row) for row in items], next=following)


@router.post(
    "/protocols",
    status_code=201,
    response_model=ProtocolForm,
    summary="Store a protocol",
    responses=documented(401, 403, 409, 413, 422),
)
def store_protocol(
    document: Annotated[
        dict[str, Any],
        Body(description="The document itself, JSON", examples=[{"protocol": 1, "id": "colour.mix-and-measure"}]),
    ],
    key: Key,
    call: Annotated[Call, Depends(Action("protocol.store"))],
) -> JSONResponse:
    """Keep a document by its hash; storing it again answers the same."""
    call.allow(Resource("protocol"))

    def act(uow: UnitOfWork) -> dict[str, Any]:
        return _form(protocols.store(uow, call.actor, document)).model_dump(mode="json")

    return answered(*once(call, "POST /v1/protocols", key, document, act))


@router.get("/protocols/{reference}", summary="One protocol", responses=documented(401, 403, 404))
def show_protocol(reference: str, call: Annotated[Call, Depends(Action("protocol.read"))]) -> ProtocolForm:
    """By hash, or by name (the newest version)."""
    call.allow(Resource("protocol"))
    with call.read() as uow:
        return _form(protocols.resolve(uow, reference))


@router.post(
    "/protocols/compile",
    summary="What would a submission do, and cost?",
    responses=documented(401, 403, 404, 413, 422),
)
def compile_submission(
    body: Annotated[Submission, Body(examples=[EXAMPLE])], call: Annotated[Call, Depends(Action("protocol.compile"))]
) -> CompileAnswer:
    """Compile the body of a submit; nothing is stored."""
    with call.read() as uow:
        return CompileAnswer.model_validate(experiments.compile_items(uow, call.principal, body.plain()))


@router.post(
    "/protocols/{reference}/compile",
    summary="What would a submission of this protocol do, and cost?",
    responses=documented(401, 403, 404, 413, 422),
)
def compile_submission_of(
    reference: str,
    body: Annotated[Submission, Body(examples=[EXAMPLE])],
    call: Annotated[Call, Depends(Action("protocol.compile"))],
) -> CompileAnswer:
    """The same for one protocol: `protocol` in the body may be left out, the address counts."""
    return compile_submission(body.model_copy(update={"protocol": reference}), call)
