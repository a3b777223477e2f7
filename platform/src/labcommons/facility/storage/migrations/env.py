"""Alembic's entry: the caller's connection, our tables."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from labcommons.facility.storage.tables import METADATA

_PLAIN = {"UtcMs": "sa.BigInteger()", "Ident": "sa.String()", "Json": "JSON", "Words": "JSON"}


def _render(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Column types by their SQL, so that an old migration does not follow what the code becomes."""
    return _PLAIN.get(type(item).__name__, False) if kind == "type" else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_item=_render,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
