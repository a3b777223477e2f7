"""Lists page by cursor: `limit`, `after`, and `next` in the answer. A cursor is opaque and holds no secret."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from labcommons.core.errors import OutOfRange
from labcommons.facility.api.wiring import Wiring, wiring_of

T = TypeVar("T")
M = TypeVar("M")


class Page(BaseModel, Generic[M]):
    """Part of a list. `next` is what `after` of the next call must be; null on the last page."""

    items: list[M]
    next: str | None = Field(default=None, description="Cursor of the next page; null when this is the last")


@dataclass(frozen=True)
class Cursor:
    """Where a page begins and how long it is."""

    after: str | None
    limit: int

    def page(self, found: Sequence[T], key: Callable[[T], str]) -> tuple[list[T], str | None]:
        """Cut what was found with `limit + 1` into a page and the next cursor."""
        items = list(found[: self.limit])
        return items, key(items[-1]) if len(found) > self.limit else None


def cursor(
    wiring: Annotated[Wiring, Depends(wiring_of)],
    limit: Annotated[int | None, Query(description="Items on a page; the facility's setting bounds it")] = None,
    after: Annotated[str | None, Query(description="`next` of the page before", max_length=200)] = None,
) -> Cursor:
    """The page that is asked for. Raises `OutOfRange`."""
    limits = wiring.settings.limits
    wanted = limits.page_default if limit is None else limit
    if not 1 <= wanted <= limits.page_maximum:
        raise OutOfRange(
            f"limit is {wanted}; a page holds 1 to {limits.page_maximum} items.",
            field="/limit",
            remedy=f"give a limit of 1 to {limits.page_maximum} and follow `next`",
        )
    return Cursor(after=after, limit=wanted)


Paged = Annotated[Cursor, Depends(cursor)]
