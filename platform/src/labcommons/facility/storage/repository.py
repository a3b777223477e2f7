"""Rows of one table, by plain SQL that both databases understand."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from labcommons.core.errors import Conflict, StaleVersion

__all__ = ["TableRepository"]

R = TypeVar("R")
#: Below the number of variables that SQLite allows in one statement.
_CHUNK = 500


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
        values = {name: getattr(row, name) for name in self._fields}
        if self._serial is not None:
            del values[self._serial]
        return values

    def _make(self, mapping: Any) -> R:
        return self._row(**{name: mapping[name] for name in self._fields})

    def _where(self, equals: dict[str, object]) -> ColumnElement[bool]:
        clauses: list[ColumnElement[bool]] = []
        for name, value in equals.items():
            column = self._table.c[name]
            if value is None:
                clauses.append(column.is_(None))
            elif isinstance(value, Collection) and not isinstance(value, str | bytes):
                clauses.append(column.in_(list(value)))
            else:
                clauses.append(column == value)
        return and_(True, *clauses)

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
        large = {n: list(v) for n, v in equals.items() if isinstance(v, list | tuple | set | frozenset)}
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
        self, order: str | None, descending: bool, after: object, limit: int | None, equals: dict[str, object]
    ) -> list[R]:
        first = self._table.c[order or self._key[0]]
        rest = [self._table.c[name] for name in self._key if name != first.name]
        where = self._where(equals)
        if after is not None:
            where = and_(where, first < after if descending else first > after)
        ordering = [column.desc() if descending else column for column in (first, *rest)]
        query = select(self._table).where(where).order_by(*ordering)
        if limit is not None:
            query = query.limit(limit)
        return [self._make(found) for found in self._connection.execute(query).mappings()]

    def count(self, **equals: object) -> int:
        """How many rows meet the conditions."""
        query = select(func.count()).select_from(self._table).where(self._where(equals))
        return int(self._connection.execute(query).scalar_one())

    def save(self, row: R) -> R:
        """Compare-and-swap on ``version``; see the port."""
        values = self._values(row)
        seen = values["version"]
        key = {name: values.pop(name) for name in self._key}
        values["version"] = seen + 1
        query = update(self._table).where(self._where({**key, "version": seen})).values(**values)
        try:
            done = self._connection.execute(query)
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
        return int(self._connection.execute(delete(self._table).where(self._where(equals))).rowcount)
