"""What can go wrong between a client and its facility.

::

    LabCommonsError                 (labcommons.core.errors)
    ├── FacilityRefused             it answered with a problem document
    ├── FacilityUnreachable         it did not answer
    └── NotLoggedIn                 there is no token that it would take
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labcommons.core.errors import LabCommonsError

__all__ = ["FacilityRefused", "FacilityUnreachable", "NotLoggedIn"]


class FacilityRefused(LabCommonsError):
    """The facility answered with a problem document; ``problem`` is that document."""

    code = "refused"
    title = "The facility refused this"

    def __init__(self, problem: Mapping[str, Any]) -> None:
        detail = str(problem.get("detail") or problem.get("title") or "refused")
        super().__init__(
            detail,
            code=str(problem.get("type", "refused")),
            field=str(problem.get("field") or ""),
            remedy=str(problem.get("remedy") or ""),
        )
        self.problem = dict(problem)
        self.http_status = int(problem.get("status") or 0)

    def __reduce__(self) -> tuple[Any, ...]:
        return (FacilityRefused, (self.problem,))


class FacilityUnreachable(LabCommonsError):
    """No answer came: the facility is down, or the address is wrong."""

    code = "unreachable"
    title = "The facility does not answer"


class NotLoggedIn(LabCommonsError):
    """No token is at hand, or it has ended and cannot be renewed."""

    code = "not_logged_in"
    title = "You are not logged in"
