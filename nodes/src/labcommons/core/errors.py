"""The exception tree of the commons.

::

    LabCommonsError
    ├── InvalidInput            the words of a request cannot be taken (422)
    │   ├── BareNumber          a number came without its unit
    │   ├── UnknownUnit         the unit is not UCUM
    │   ├── WrongDimension      the unit measures something else
    │   ├── OutOfRange          the value lies outside a stated limit
    │   └── TooLarge            the message passes a stated size (413)
    ├── Unauthenticated         nobody, or nobody we can verify (401)
    ├── Forbidden               known, and not allowed (403)
    ├── NotFound                does not exist, or is not yours to know of (404)
    ├── Conflict                the state of things speaks against it (409)
    │   ├── StaleVersion        somebody else was first
    │   └── InsufficientAllocation  (422) the project has less time than this needs
    ├── Unavailable             a part that is needed does not answer (503)
    └── InvalidTransition       our own books contradict themselves: a defect, never a user's fault (500)

Each error carries a stable word (``code``), where in the request it sits (``field``, a JSON pointer) and what to do
(``remedy``); the facility turns it into a problem document without looking at its class for more than the status.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "BareNumber",
    "Conflict",
    "Forbidden",
    "InsufficientAllocation",
    "InvalidInput",
    "InvalidTransition",
    "LabCommonsError",
    "NotFound",
    "OutOfRange",
    "StaleVersion",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnknownUnit",
    "WrongDimension",
]


class LabCommonsError(Exception):
    """Base of all errors that a caller is meant to read.

    ``code``: stable word, ``detail``: one sentence about this case, ``field``: JSON pointer into the request
    (empty when it is about the whole), ``remedy``: what to do now, ``extra``: further members of the problem document.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"

    def __init__(
        self, detail: str, *, code: str | None = None, field: str = "", remedy: str = "", **extra: Any
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.word = code or self.code
        self.field = field
        self.remedy = remedy
        self.extra = extra

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword arguments do not pickle by themselves, and these cross process borders inside a lab.
        return (_rebuild, (type(self), self.detail, self.word, self.field, self.remedy, self.extra))

    def at(self, prefix: str) -> LabCommonsError:
        """The same error with its pointer placed below ``prefix`` (a JSON pointer)."""
        return type(self)(self.detail, code=self.word, field=prefix + self.field, remedy=self.remedy, **self.extra)


def _rebuild(
    kind: type[LabCommonsError], detail: str, code: str, field: str, remedy: str, extra: dict[str, Any]
) -> LabCommonsError:
    return kind(detail, code=code, field=field, remedy=remedy, **extra)


class InvalidInput(LabCommonsError):
    """The request cannot be taken as it is written."""

    code = "invalid_input"
    status = 422
    title = "The request cannot be taken as it is written"


class BareNumber(InvalidInput):
    """A number without a unit where a quantity belongs."""

    code = "bare_number"
    title = "A number needs its unit"


class UnknownUnit(InvalidInput):
    """The unit is not a UCUM unit that we know."""

    code = "unknown_unit"
    title = "The unit is not known"


class WrongDimension(InvalidInput):
    """The unit is known and measures another dimension than is asked for."""

    code = "wrong_dimension"
    title = "The unit measures something else"


class OutOfRange(InvalidInput):
    """The value lies outside a stated limit."""

    code = "out_of_range"
    title = "The value is out of range"


class TooLarge(InvalidInput):
    """The message passes a stated size."""

    code = "too_large"
    status = 413
    title = "The message is too large"


class Unauthenticated(LabCommonsError):
    """There is no token, or it cannot be verified."""

    code = "unauthenticated"
    status = 401
    title = "You are not logged in"


class Forbidden(LabCommonsError):
    """The caller is known and may not do this."""

    code = "forbidden"
    status = 403
    title = "You may not do this"


class NotFound(LabCommonsError):
    """It does not exist, or the caller may not know that it does."""

    code = "not_found"
    status = 404
    title = "There is no such thing here"


class Conflict(LabCommonsError):
    """The present state speaks against it."""

    code = "conflict"
    status = 409
    title = "The present state speaks against it"


class StaleVersion(Conflict):
    """Somebody else changed it first; read again and repeat."""

    code = "stale_version"
    title = "It has changed since you read it"


class InsufficientAllocation(Conflict):
    """The project's allocations do not cover the cost."""

    code = "insufficient_allocation"
    status = 422
    title = "The project has less instrument time than this needs"


class Unavailable(LabCommonsError):
    """A part that is needed does not answer now."""

    code = "unavailable"
    status = 503
    title = "A part that is needed does not answer"


class InvalidTransition(LabCommonsError):
    """An event that the present state forbids: a defect in our books; the message carries the whole story."""

    code = "invalid_transition"
    status = 500
    title = "The books contradict themselves"
