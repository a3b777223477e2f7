"""Projects: people with a common allocation."""

from __future__ import annotations

from dataclasses import replace

from labcommons.core.errors import Conflict, InvalidInput
from labcommons.core.ids import ProjectId
from labcommons.facility.ports import MemberRow, PersonRow, ProjectRow, UnitOfWork
from labcommons.facility.services.office.people import named
from labcommons.facility.services.run.access import missing

ROLES = ("pi", "manager", "researcher", "viewer")


def create(uow: UnitOfWork, actor: str, *, name: str, title: str, pi: str) -> ProjectRow:
    """A new project with its principal investigator (a user name).

    Raises `Conflict` (`already_exists`) for a name that is taken, `InvalidInput` (`unknown_person`).
    """
    if uow.office.projects.one(name=name) is not None:
        raise Conflict(
            f"There is a project named {name}.", code="already_exists", field="/name", remedy="give it another name"
        )
    row = ProjectRow(id=uow.ids.mint(ProjectId), name=name, title=title, created_at=uow.now)
    uow.office.projects.add(row)
    uow.audit(actor, "project.create", row.id, {"name": name})
    uow.emit("project.created", row.id, "open", project=row.id)
    put_member(uow, actor, row, username=pi, role="pi", cap_ms=None, field="/pi")
    return row


def get(uow: UnitOfWork, project: str) -> ProjectRow:
    """The project with this id. Raises `NotFound`."""
    row = uow.office.projects.get(project)
    if row is None:
        raise missing()
    return row


def members(uow: UnitOfWork, project: ProjectRow) -> list[tuple[MemberRow, PersonRow]]:
    """Who is in the project, by user name."""
    rows = uow.office.members.find(project=project.id)
    people = {person.id: person for person in uow.office.people.find(id=[row.person for row in rows])}
    found = [(row, people[row.person]) for row in rows]
    return sorted(found, key=lambda pair: pair[1].username)


def put_member(
    uow: UnitOfWork,
    actor: str,
    project: ProjectRow,
    *,
    username: str,
    role: str,
    cap_ms: int | None,
    field: str = "/username",
) -> tuple[MemberRow, PersonRow]:
    """Put a person into the project, or change role and cap of one who is in it.

    `cap_ms`: the most lab time of each instrument type that the person may have held or charged; None for no cap.
    Raises `InvalidInput` (`unknown_person`), `Conflict` (`last_pi`).
    """
    person = _person(uow, username, field)
    known = uow.office.members.get(project.id, person.id)
    if known is None:
        row = MemberRow(project=project.id, person=person.id, role=role, created_at=uow.now, cap_ms=cap_ms)
        uow.office.members.add(row)
    else:
        if known.role == "pi" and role != "pi" and uow.office.members.count(project=project.id, role="pi") == 1:
            raise Conflict(
                f"{username} is the project's only PI.", code="last_pi", field="/role", remedy="name another PI first"
            )
        row = uow.office.members.save(replace(known, role=role, cap_ms=cap_ms))
    uow.audit(actor, "member.put", project.id, {"person": person.id, "role": role, "cap_ms": cap_ms})
    return row, person


def _person(uow: UnitOfWork, username: str, field: str) -> PersonRow:
    person = named(uow, username)
    if person is None:
        raise InvalidInput(
            f"There is nobody named {username} here.",
            code="unknown_person",
            field=field,
            remedy="ask them to log in once, then repeat; a person is known after the first login",
        )
    return person
