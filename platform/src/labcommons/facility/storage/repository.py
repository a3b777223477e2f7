"""Rows of one table, by plain SQL that both databases understand.

Statements are built once for each shape of a question and then executed with new values: building them anew costs more
than SQLite needs to answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError

from labcommons.core.errors import Conflict, StaleVersion

__all__ = ["TableRepository"]

R = TypeVar("R")
#: Below the number of variables that SQLite allows in one statement.
_CHUNK = 500
#: What is asked of a column: "=" a value, "0" no value, "in" one of several.
Shape = tuple[tuple[str, str], ...]


def _shape(equals: Mapping[str, object]) -> Shape:
    return tuple((name, "0" if value is None else "in" if _many(value) else "=") for name, value in equals.items())


def _many(value: object) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str | bytes)


def _bound(equals: Mapping[str, object]) -> dict[str, object]:
    """The values of the conditions, under the names that ``_where`` gives them."""
    return {
        f"w_{name}": list(value) if isinstance(value, Collection) and _many(value) else value
        for name, value in equals.items()
        if value is not None
    }


def _where(table: Table, shape: Shape) -> ColumnElement[bool]:
    clauses: list[ColumnElement[bool]] = []
    for name, how in shape:
        column = table.c[name]
        if how == "0":
            clauses.append(column.is_(None))
        elif how == "in":
            clauses.append(column.in_(bindparam(f"w_{name}", type_=column.type, expanding=True)))
        else:
            clauses.append(column == bindparam(f"w_{name}", type_=column.type))
    return and_(true(), *clauses)


@lru_cache(maxsize=1024)
def _select(
    table: Table,
    fields: tuple[str, ...],
    order: tuple[str, ...],
    shape: Shape,
    *,
    descending: bool,
    after: bool,
    limited: bool,
) -> Select[Any]:
    first = table.c[order[0]]
    where = _where(table, shape)
    if after:
        last = bindparam("after", type_=first.type)
        where = and_(where, first < last if descending else first > last)
    ordering = [table.c[name].desc() if descending else table.c[name] for name in order]
    query = select(*(table.c[name] for name in fields)).where(where).order_by(*ordering)
    return query.limit(bindparam("limit")) if limited else query


@lru_cache(maxsize=1024)
def _count(table: Table, shape: Shape) -> Select[Any]:
    return select(func.count()).select_from(table).where(_where(table, shape))


@lru_cache(maxsize=256)
def _update(table: Table, key: tuple[str, ...], fields: tuple[str, ...]) -> Update:
    where = _where(table, tuple((name, "=") for name in (*key, "version")))
    changed = {name: bindparam(f"v_{name}", type_=table.c[name].type) for name in fields if name not in key}
    return update(table).where(where).values(changed)


@lru_cache(maxsize=256)
def _delete(table: Table, shape: Shape) -> Delete:
    return delete(table).where(_where(table, shape))


class TableRepository(Generic[R]):
    """The ``Repository`` port on a SQLAlchemy connection."""

    def __init__(
        self, connection: Connection, table: Table, row: type[R], key: Sequence[str], serial: str | None
    ) -> None:
        self._connection = connection
        self._table = table
        self._row = row
        self._key = tuple(key)
        self._serial = serial
        self._fields = tuple(field.name for field in dataclasses.fields(row))  # type: ignore[arg-type]

    def _values(self, row: R) -> dict[str, Any]:
        return {name: getattr(row, name) for name in self._fields if name != self._serial}

    def add(self, *rows: R) -> None:
        """Insert; see the port."""
        if not rows:
            return
        try:
            self._connection.execute(insert(self._table), [self._values(row) for row in rows])
        except IntegrityError as error:
            raise Conflict(
                f"{self._table.name}: {error.orig}",
                code="already_exists",
                remedy="read what is there; it may be what you wanted",
            ) from error

    def get(self, *key: object) -> R | None:
        """The row with this key."""
        if len(key) != len(self._key):
            raise TypeError(f"the key of {self._table.name} is {self._key}")
        return self.one(**dict(zip(self._key, key, strict=True)))

    def one(self, **equals: object) -> R | None:
        """The first row that meets the conditions."""
        found = self._find(None, False, None, 1, equals)
        return found[0] if found else None

    def find(
        self,
        *,
        order: str | None = None,
        descending: bool = False,
        after: object = None,
        limit: int | None = None,
        **equals: object,
    ) -> list[R]:
        """Rows in order; see the port. A long collection is asked for in portions."""
        large = {name: value for name, value in equals.items() if isinstance(value, Collection) and _many(value)}
        wide = max(large, key=lambda name: len(large[name]), default=None)
        if wide is None or len(large[wide]) <= _CHUNK:
            return self._find(order, descending, after, limit, equals)
        values, found = list(dict.fromkeys(large[wide])), list[R]()
        for start in range(0, len(values), _CHUNK):
            part = {**equals, wide: values[start : start + _CHUNK]}
            found += self._find(order, descending, after, limit, part)
        name = order or self._key[0]
        found.sort(key=lambda row: getattr(row, name), reverse=descending)
        return found[:limit]

    def _find(
        self, order: str | None, descending: bool, after: object, limit: int | None, equals: Mapping[str, object]
    ) -> list[R]:
        first = order or self._key[0]
        query = _select(
            self._table,
            self._fields,
            (first, *(name for name in self._key if name != first)),
            _shape(equals),
            descending=descending,
            after=after is not None,
            limited=limit is not None,
        )
        bound = _bound(equals)
        bound |= {} if after is None else {"after": after}
        bound |= {} if limit is None else {"limit": limit}
        return [self._row(*found) for found in self._connection.execute(query, bound)]

    def count(self, **equals: object) -> int:
        """How many rows meet the conditions."""
        query = _count(self._table, _shape(equals))
        return int(self._connection.execute(query, _bound(equals)).scalar_one())

    def save(self, row: R) -> R:
        """Compare-and-swap on ``version``; see the port."""
        values = self._values(row)
        seen = values["version"]
        key = {name: values[name] for name in self._key}
        bound = {f"v_{name}": value for name, value in values.items() if name not in key}
        bound |= {"v_version": seen + 1, "w_version": seen, **{f"w_{name}": value for name, value in key.items()}}
        try:
            done = self._connection.execute(_update(self._table, self._key, tuple(values)), bound)
        except IntegrityError as error:
            raise Conflict(f"{self._table.name}: {error.orig}") from error
        if done.rowcount != 1:
            raise StaleVersion(
                f"{self._table.name} {'/'.join(str(part) for part in key.values())} is no longer at version {seen}",
                remedy="read it again and repeat",
            )
        return dataclasses.replace(row, version=seen + 1)  # type: ignore[type-var]

    def delete(self, **equals: object) -> int:
        """Delete what meets the conditions."""
        if not equals:
            raise TypeError("a delete needs a condition")
        query = _delete(self._table, _shape(equals))
        return int(self._connection.execute(query, _bound(equals)).rowcount)
