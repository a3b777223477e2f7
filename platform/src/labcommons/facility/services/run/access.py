"""Objects of the run room, for those who may: what is foreign is as if it were not there."""

from __future__ import annotations

from labcommons.core.errors import Forbidden, NotFound
from labcommons.scheduler.authority import Decision, Principal, Resource, authorize

__all__ = ["demand", "missing", "person_of"]


def missing(field: str = "") -> NotFound:
    """The one answer to what is not there and to what the caller may not know of: the same words for both."""
    return NotFound(
        "There is no such thing that you may see.",
        field=field,
        remedy="check the identifier: the lists show what you may see, and you may have to be added to a project",
    )


def demand(principal: Principal, action: str, resource: Resource, *, field: str = "") -> None:
    """Go on if ``principal`` may. Raises ``NotFound`` or ``Forbidden``."""
    match authorize(principal, action, resource):
        case Decision.ALLOW:
            return
        case Decision.HIDE:
            raise missing(field)
        case Decision.DENY:
            raise Forbidden(
                f"Your roles do not include {action}.",
                field=field,
                remedy="ask somebody whose role includes it: the project's PI, the lab's operator, facility staff",
            )


def person_of(principal: Principal) -> str:
    """The person who acts. Raises ``Forbidden`` for a node, which never does what people do."""
    if principal.person is None:
        raise Forbidden("A node may not do this.", remedy="call as a person")
    return principal.person
