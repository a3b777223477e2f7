"""People and principals: who a verified token stands for, read from the database at this moment."""

from __future__ import annotations

from labcommons.core.errors import Conflict, Forbidden, Unauthenticated
from labcommons.core.ids import NodeId, PersonId
from labcommons.facility.ports import Claims, NodeRow, PersonRow, UnitOfWork
from labcommons.scheduler.authority import Principal

#: Roles that an outside issuer may give by its token. Membership of projects and labs is never among them.
COARSE_ROLES = frozenset({"staff", "auditor", "administrator"})


def principal(uow: UnitOfWork, claims: Claims, *, embedded: bool) -> Principal | None:
    """The principal of a token; None for a person who was never here before.

    Raises `Unauthenticated` (`node_unknown`) and `Forbidden` (`node_revoked`, `node_pending`).
    """
    if claims.client.startswith(NodeId.prefix + "_"):
        return node_principal(_node(uow, claims))
    person = find(uow, claims, embedded=embedded)
    if person is None:
        return None
    return person_principal(uow, person, roles=person.roles if embedded else sorted(claims.roles & COARSE_ROLES))


def find(uow: UnitOfWork, claims: Claims, *, embedded: bool) -> PersonRow | None:
    """The person's row. Our own issuer's subject is the person's id; another's is tied to a row at the first visit."""
    if embedded:
        return uow.office.people.get(claims.subject)
    return uow.office.people.one(issuer=claims.issuer, subject=claims.subject)


def welcome(uow: UnitOfWork, claims: Claims, *, embedded: bool) -> Principal:
    """Make the row of a person whom the outside issuer vouches for, and their principal.

    Raises `Unauthenticated` (`person_unknown`) where our own issuer names somebody we do not have.
    """
    known = principal(uow, claims, embedded=embedded)
    if known is not None:
        return known
    if embedded:
        raise Unauthenticated(
            "The token names a person whom this facility does not know.",
            code="person_unknown",
            remedy="log in again; the facility may have been set up anew since",
        )
    row = PersonRow(
        id=uow.ids.mint(PersonId),
        username=_free_username(uow, claims),
        name=claims.name or claims.username or claims.subject,
        created_at=uow.now,
        issuer=claims.issuer,
        subject=claims.subject,
    )
    uow.office.people.add(row)
    uow.audit(row.id, "person.welcome", row.id, {"issuer": claims.issuer})
    return person_principal(uow, row, roles=sorted(claims.roles & COARSE_ROLES))


def person_principal(uow: UnitOfWork, person: PersonRow, *, roles: list[str] | tuple[str, ...]) -> Principal:
    """The principal of a person, with what they belong to."""
    return Principal(
        person=person.id,
        roles=frozenset(roles),
        projects={row.project: row.role for row in uow.office.members.find(person=person.id)},
        labs=frozenset(row.lab for row in uow.lab.members.find(person=person.id)),
    )


def node_principal(node: NodeRow) -> Principal:
    """The principal of a node: itself and nothing else."""
    return Principal(node=node.id)


def named(uow: UnitOfWork, username: str) -> PersonRow | None:
    """A person by their user name."""
    return uow.office.people.one(username=username)


def _node(uow: UnitOfWork, claims: Claims) -> NodeRow:
    row = uow.lab.nodes.get(claims.client)
    if row is None:
        raise Unauthenticated(
            "The token names a node that is not enrolled here.",
            code="node_unknown",
            remedy="enrol the node with this facility, or point node.yaml at the facility that knows it",
        )
    if row.state in {"revoked", "pending"}:
        raise Forbidden(
            f"The node is {row.state}.",
            code=f"node_{row.state}",
            remedy="ask the facility's staff to approve the node" if row.state == "pending" else "enrol the node anew",
        )
    return row


def _free_username(uow: UnitOfWork, claims: Claims) -> str:
    """The issuer's word for the person, or with a number behind it: two issuers may both know a `kim`."""
    wanted = claims.username or claims.subject
    for number in range(1, 1_000):
        name = wanted if number == 1 else f"{wanted}-{number}"
        if named(uow, name) is None:
            return name
    raise Conflict(f"There is no free user name like {wanted}.", remedy="ask the facility's staff")
