"""Who calls, and may they: the bearer token, the principal from the database, the action that each route declares.

A route takes `call: Annotated[Call, Depends(Action("project.read"))]`. The action is a row of the authorisation
matrix; the test of that matrix walks all routes and fails for one without. Inside, `call.allow(resource)` decides about
the very object: a foreign one answers 404, as if it were not there.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from labcommons.core.errors import Unauthenticated
from labcommons.facility.api.wiring import Wiring, wiring_of
from labcommons.facility.ports import Claims, UnitOfWork
from labcommons.facility.services.office import people
from labcommons.facility.services.run.access import demand
from labcommons.scheduler.authority import Decision, Principal, Resource, Scope, authorize, scope

_LOGIN = "log in with `labcommons login` and send the token as `Authorization: Bearer ...`"


def bearer(request: Request) -> str:
    """The bearer token of a request. Raises `Unauthenticated` (`token_missing`, `token_malformed`)."""
    given = request.headers.get("authorization")
    if given is None:
        raise Unauthenticated("The request carries no token.", code="token_missing", remedy=_LOGIN)
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("The Authorization header holds no bearer token.", code="token_malformed", remedy=_LOGIN)
    return token.strip()


async def claims_of(request: Request, wiring: Annotated[Wiring, Depends(wiring_of)]) -> Claims:
    """What the caller's token says, once it is verified."""
    return await wiring.verifier.verify(bearer(request))


def principal_of(
    claims: Annotated[Claims, Depends(claims_of)], wiring: Annotated[Wiring, Depends(wiring_of)]
) -> Principal:
    """The caller as the database knows them at this moment: memberships are never read from a token."""
    return resolve(wiring, claims)


def resolve(wiring: Wiring, claims: Claims) -> Principal:
    """The principal behind verified claims; a person's first visit makes their row. Blocking."""
    with wiring.work.read() as uow:
        known = people.principal(uow, claims, embedded=wiring.embedded)
    if known is not None:
        return known
    with wiring.work.write() as uow:
        known = people.welcome(uow, claims, embedded=wiring.embedded)
        uow.commit()
    return known


@dataclass(frozen=True)
class Call:
    """One authenticated call of one action."""

    action: str
    principal: Principal
    claims: Claims
    wiring: Wiring

    @property
    def actor(self) -> str:
        """Who acts, for audit, ledger and idempotency: a person's or a node's id."""
        return str(self.principal.person or self.principal.node)

    def read(self) -> AbstractContextManager[UnitOfWork]:
        """A consistent view of the database."""
        return self.wiring.work.read()

    def write(self) -> AbstractContextManager[UnitOfWork]:
        """A transaction; the route commits it."""
        return self.wiring.work.write()

    def allow(self, resource: Resource) -> None:
        """Go on if the caller may do this action to `resource`; else raises `Forbidden` or `NotFound`."""
        demand(self.principal, self.action, resource)

    def may(self, resource: Resource) -> bool:
        """Whether the caller may do this action to `resource`."""
        return authorize(self.principal, self.action, resource) is Decision.ALLOW

    @property
    def scope(self) -> Scope:
        """What a list of this action may show the caller. Raises `Forbidden` for a node: lists are for people."""
        if self.principal.person is None:
            self.allow(Resource())
        return scope(self.principal, self.action)

    def mine(self, field: str = "project") -> dict[str, Any]:
        """The condition under which rows are the caller's to see: none, or `field` among their projects."""
        seen = self.scope
        return {} if seen.everything else {field: sorted(seen.projects)}


class Action:
    """The dependency that names a route's row in the authorisation matrix."""

    def __init__(self, word: str) -> None:
        self.word = word

    def __call__(
        self,
        principal: Annotated[Principal, Depends(principal_of)],
        claims: Annotated[Claims, Depends(claims_of)],
        wiring: Annotated[Wiring, Depends(wiring_of)],
    ) -> Call:
        """The call, authenticated; the object is judged when it is known (`Call.allow`)."""
        return Call(self.word, principal, claims, wiring)
