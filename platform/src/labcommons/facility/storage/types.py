"""Column types, and tables made from row classes, so that a row and its table cannot drift apart."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from labcommons.core.ids import Identifier

__all__ = ["Ident", "Json", "UtcMs", "Words", "make_table", "one_of"]


class UtcMs(TypeDecorator[datetime]):
    """A time as integer milliseconds since 1970: the same order and the same value on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """To milliseconds. A time without a zone is a defect."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time needs its zone")
        return round(value.timestamp() * 1000)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """From milliseconds, in UTC."""
        return None if value is None else datetime.fromtimestamp(value / 1000, UTC)


class Ident(TypeDecorator[Identifier]):
    """A typed identifier as text."""

    impl = String
    cache_ok = True

    def __init__(self, kind: type[Identifier]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """To plain text."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Identifier | None:
        """Back to its kind."""
        return None if value is None else self.kind(value)


_JSON = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class Json(TypeDecorator[Any]):
    """A JSON object."""

    impl = _JSON
    cache_ok = True


class Words(TypeDecorator[tuple[str, ...]]):
    """A tuple of words as a JSON list."""

    impl = _JSON
    cache_ok = True

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> list[str] | None:
        """To a list."""
        return None if value is None else [str(word) for word in value]

    def process_result_value(self, value: list[str] | None, dialect: Dialect) -> tuple[str, ...] | None:
        """To a tuple."""
        return None if value is None else tuple(value)


#: An integer that the store counts up by itself; SQLite does so for exactly this type.
_SERIAL = BigInteger().with_variant(Integer, "sqlite")


def _column_type(hint: Any) -> TypeEngine[Any]:
    """The column type of a field's type."""
    if typing.get_origin(hint) is tuple:
        return Words()
    if typing.get_origin(hint) is dict:
        return Json()
    if isinstance(hint, type):
        if issubclass(hint, Identifier):
            return Ident(hint)
        plain: dict[type, TypeEngine[Any]] = {
            bool: Boolean(),
            int: BigInteger(),
            float: Float(),
            str: String(),
            datetime: UtcMs(),
        }
        if hint in plain:
            return plain[hint]
    raise TypeError(f"no column type for {hint!r}")


def _split_optional(hint: Any) -> tuple[Any, bool]:
    """A field's type without ``None``, and whether ``None`` was in it."""
    if isinstance(hint, types.UnionType):
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        return rest[0], True
    return hint, False


def one_of(name: str, column: str, words: Sequence[str]) -> CheckConstraint:
    """A CHECK that ``column`` holds one of ``words``."""
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=name)


def make_table(
    metadata: MetaData,
    name: str,
    row: type[Any],
    *more: CheckConstraint | UniqueConstraint | Index,
    key: Sequence[str] = ("id",),
    serial: str | None = None,
    refs: Mapping[str, str] | None = None,
) -> Table:
    """A table with a column for each field of ``row``.

    ``key``: the primary key, unless ``serial`` names a field that the store counts up. ``refs``: field to
    ``table.column``.
    """
    hints = typing.get_type_hints(row)
    columns: list[Column[Any]] = []
    for field in dataclasses.fields(row):
        hint, optional = _split_optional(hints[field.name])
        foreign = [ForeignKey(refs[field.name])] if refs and field.name in refs else []
        if field.name == serial:
            columns.append(Column(field.name, _SERIAL, primary_key=True, autoincrement=True))
            continue
        primary = serial is None and field.name in key
        columns.append(
            Column(
                field.name, _column_type(hint), *foreign, primary_key=primary, nullable=optional, autoincrement=False
            )
        )
    unique = [UniqueConstraint(*key, name=f"uq_{name}_key")] if serial is not None and serial not in key else []
    return Table(name, metadata, *columns, *unique, *more, sqlite_autoincrement=serial is not None)
