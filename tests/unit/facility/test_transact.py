"""A verb in a transaction of its own, again when somebody else was first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from labcommons.core.errors import Conflict, StaleVersion
from labcommons.facility.ports import Work
from labcommons.facility.services.transact import transact


class _Uow:
    def __init__(self, commits: list[int]) -> None:
        self._commits = commits

    def commit(self) -> None:
        self._commits.append(1)


class _Work:
    def __init__(self) -> None:
        self.commits: list[int] = []

    @contextmanager
    def write(self) -> Iterator[_Uow]:
        yield _Uow(self.commits)


def stale(times: int) -> Any:
    left = [times]

    def verb(_: object) -> str:
        if left[0]:
            left[0] -= 1
            raise StaleVersion("somebody was first")
        return "done"

    return verb


def test_it_repeats_what_was_stale_and_commits_once() -> None:
    work = _Work()
    assert transact(cast("Work", work), stale(4)) == "done"
    assert work.commits == [1]


def test_it_gives_up_and_says_so() -> None:
    work = _Work()
    with pytest.raises(StaleVersion):
        transact(cast("Work", work), stale(5))
    with pytest.raises(ValueError, match="at least 1"):
        transact(cast("Work", work), stale(0), tries=0)
    assert work.commits == []


def test_any_other_error_is_not_repeated() -> None:
    work = _Work()
    calls: list[int] = []

    def verb(_: object) -> None:
        calls.append(1)
        raise Conflict("no")

    with pytest.raises(Conflict):
        transact(cast("Work", work), verb)
    assert calls == [1]
