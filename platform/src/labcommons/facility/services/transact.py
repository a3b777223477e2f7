"""Run a verb in a transaction of its own, again when somebody else was first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from labcommons.core.errors import StaleVersion
from labcommons.facility.ports import UnitOfWork, Work

__all__ = ["transact"]

T = TypeVar("T")


def transact(work: Work, verb: Callable[[UnitOfWork], T], *, tries: int = 5) -> T:
    """What ``verb`` returns, committed. ``StaleVersion`` repeats it on fresh rows, ``tries`` times at most.

    On SQLite writers come one after the other and it never repeats; on PostgreSQL two may have read the same row.
    """
    for attempt in range(tries):
        try:
            with work.write() as uow:
                answer = verb(uow)
                uow.commit()
                return answer
        except StaleVersion:
            if attempt == tries - 1:
                raise
    raise ValueError("tries must be at least 1")
