"""Projects and the people in them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from labcommons.facility.api.auth import Action, Call
from labcommons.facility.api.forms import Moment, answered
from labcommons.facility.api.idempotency import Key, once
from labcommons.facility.api.paging import Page, Paged
from labcommons.facility.api.problems import documented
from labcommons.facility.ports import MemberRow, PersonRow, ProjectRow, UnitOfWork
from labcommons.facility.services.office import projects
from labcommons.scheduler.authority import Resource

router = APIRouter(tags=["projects"])

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{1,62}$")]
Title = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Username = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Member(BaseModel):
    """A person in a project. `cap_ms`: the most lab time of each type that they may have held or charged."""

    person: str
    username: str = Field(examples=["rae"])
    role: str = Field(examples=["researcher"])
    cap_ms: int | None = None


class Project(BaseModel):
    """People with a common allocation."""

    id: str = Field(examples=["prj_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"])
    name: str = Field(examples=["tough-barrels"])
    title: str = Field(examples=["Barrels that take a hit"])
    members: list[Member]
    created_at: Moment


class NewProject(BaseModel):
    """A project to be made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "tough-barrels", "title": "Barrels that take a hit", "pi": "pia"}]},
    )

    name: Name
    title: Title
    pi: Username


class NewMember(BaseModel):
    """A person to be put into a project, or to be changed in it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"username": "rae", "role": "researcher"}]}
    )

    username: Username
    role: Literal["pi", "manager", "researcher", "viewer"]
    cap_ms: Annotated[int, Field(ge=0)] | None = None


def _member(row: MemberRow, person: PersonRow) -> Member:
    return Member(person=row.person, username=person.username, role=row.role, cap_ms=row.cap_ms)


def _form(uow: UnitOfWork, row: ProjectRow) -> Project:
    return Project(
        id=row.id,
        name=row.name,
        title=row.title,
        members=[_member(*pair) for pair in projects.members(uow, row)],
        created_at=row.created_at,
    )


@router.get("/projects", summary="Projects that I may see", responses=documented(401, 403, 422))
def list_projects(call: Annotated[Call, Depends(Action("project.list"))], paged: Paged) -> Page[Project]:
    """My projects; staff see all."""
    with call.read() as uow:
        rows = uow.office.projects.find(**call.mine("id"), after=paged.after, limit=paged.limit + 1)
        items, following = paged.page(rows, lambda row: row.id)
        return Page(items=[_form(uow, row) for row in items], next=following)


@router.post(
    "/projects",
    status_code=201,
    response_model=Project,
    summary="Make a project",
    responses=documented(401, 403, 409, 422),
)
def create_project(
    body: NewProject, key: Key, call: Annotated[Call, Depends(Action("project.create"))]
) -> JSONResponse:
    """Staff make projects; the PI must have logged in once."""
    call.allow(Resource("project"))

    def act(uow: UnitOfWork) -> dict[str, Any]:
        row = projects.create(uow, call.actor, name=body.name, title=body.title, pi=body.pi)
        return _form(uow, row).model_dump(mode="json")

    return answered(*once(call, "POST /v1/projects", key, body.model_dump(mode="json"), act))


@router.get("/projects/{project}", summary="One project", responses=documented(401, 403, 404))
def show_project(project: str, call: Annotated[Call, Depends(Action("project.read"))]) -> Project:
    """A project that I am in; staff see all."""
    with call.read() as uow:
        row = projects.get(uow, project)
        call.allow(Resource("project", project=row.id))
        return _form(uow, row)


@router.get("/projects/{project}/members", summary="Who is in it", responses=documented(401, 403, 404))
def list_members(project: str, call: Annotated[Call, Depends(Action("project.read"))]) -> Page[Member]:
    """All members, on one page."""
    with call.read() as uow:
        row = projects.get(uow, project)
        call.allow(Resource("project", project=row.id))
        return Page(items=[_member(*pair) for pair in projects.members(uow, row)])


@router.post(
    "/projects/{project}/members",
    status_code=201,
    response_model=Member,
    summary="Put a person into a project",
    responses=documented(401, 403, 404, 409, 422),
)
def put_member(
    project: str, body: NewMember, key: Key, call: Annotated[Call, Depends(Action("project.members"))]
) -> JSONResponse:
    """The PI's and staff's word; a person who is in it already gets the new role and cap."""

    def act(uow: UnitOfWork) -> dict[str, Any]:
        row = projects.get(uow, project)
        call.allow(Resource("project", project=row.id))
        pair = projects.put_member(uow, call.actor, row, username=body.username, role=body.role, cap_ms=body.cap_ms)
        return _member(*pair).model_dump(mode="json")

    route = f"POST /v1/projects/{project}/members"
    return answered(*once(call, route, key, body.model_dump(mode="json"), act))
