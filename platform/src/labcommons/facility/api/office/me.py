"""Who I am, and what I belong to."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from labcommons.core.errors import Forbidden
from labcommons.facility.api.auth import Action, Call
from labcommons.facility.api.problems import documented
from labcommons.scheduler.authority import Resource

router = APIRouter(tags=["me"])


class MyProject(BaseModel):
    """A project of mine, and what I am in it."""

    id: str = Field(examples=["prj_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"])
    name: str = Field(examples=["tough-barrels"])
    role: str = Field(examples=["researcher"])


class MyLab(BaseModel):
    """A lab that I work for."""

    id: str = Field(examples=["lab_01J8Z3V5Q2M4T6W8Y0A1B3C5D8"])
    name: str = Field(examples=["north"])


class Me(BaseModel):
    """The caller."""

    person: str = Field(examples=["per_01J8Z3V5Q2M4T6W8Y0A1B3C5D9"])
    username: str = Field(examples=["rae"])
    name: str = Field(examples=["Rae Ortiz"])
    roles: list[str] = Field(examples=[[]])
    projects: list[MyProject]
    labs: list[MyLab]


@router.get("/me", summary="Who I am", responses=documented(401, 403))
def me(call: Annotated[Call, Depends(Action("me.read"))]) -> Me:
    """My roles, projects and labs, as the facility knows them now."""
    caller = call.principal
    call.allow(Resource("person", owner=caller.person))
    with call.read() as uow:
        person = uow.office.people.get(caller.person)
        if person is None:
            raise Forbidden("Only people are somebody here.", remedy="log in as a person")
        projects = uow.office.projects.find(id=list(caller.projects))
        labs = uow.lab.labs.find(id=list(caller.labs))
    return Me(
        person=person.id,
        username=person.username,
        name=person.name,
        roles=sorted(caller.roles),
        projects=[MyProject(id=row.id, name=row.name, role=caller.projects[row.id]) for row in projects],
        labs=[MyLab(id=row.id, name=row.name) for row in labs],
    )
