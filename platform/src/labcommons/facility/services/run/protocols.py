"""Protocol documents: kept by hash, found by hash or by name. A name means its newest version."""

from __future__ import annotations

from typing import Any

from labcommons.core.errors import Conflict, InvalidInput, NotFound
from labcommons.facility.ports import ProtocolRow, UnitOfWork
from labcommons.protocols.capabilities import load_shipped
from labcommons.protocols.checks import check_document
from labcommons.protocols.documents import Protocol, parse_protocol

__all__ = ["newest", "resolve", "store"]

_HASH = "sha256:"


def store(uow: UnitOfWork, actor: str, document: dict[str, Any]) -> ProtocolRow:
    """Keep a document; the same one again changes nothing and answers with the row that is there.

    Raises `Conflict` (`name_taken`), or `InvalidInput` with the pointer to what is wrong in it: its form, names that
    lead nowhere, steps in a circle.
    """
    protocol = parse_protocol(document)
    _check(protocol)
    known = uow.run.protocols.get(protocol.hash)
    if known is not None:
        return known
    first = uow.run.protocols.find(order="created_at", limit=1, name=protocol.id)
    if first and first[0].created_by != actor:
        # A name means its newest version to everybody, so only whoever began it may say what that is.
        raise Conflict(
            f"The name {protocol.id} belongs to whoever stored it first.",
            code="name_taken",
            field="/id",
            remedy="give your document an id of your own, for example with your project's name before it",
        )
    row = ProtocolRow(
        hash=protocol.hash,
        name=protocol.id,
        title=protocol.title,
        intent=protocol.intent,
        document=protocol.document,
        created_at=uow.now,
        created_by=actor,
    )
    uow.run.protocols.add(row)
    uow.audit(actor, "protocol.store", row.hash, {"name": row.name})
    return row


def _check(protocol: Protocol) -> None:
    """Refuse what could never be compiled, whatever the labs have."""
    # The checks' pointers begin at a submission's `/protocol`; here the document is the whole body.
    reasons = [
        {**reason.to_json(), "field": (reason.field or "").removeprefix("/protocol")}
        for reason in check_document(protocol, load_shipped())
    ]
    if reasons:
        first = {name: str(reasons[0][name] or "") for name in ("text", "code", "field", "remedy")}
        raise InvalidInput(
            first["text"], code=first["code"], field=first["field"], remedy=first["remedy"], reasons=reasons
        )


def resolve(uow: UnitOfWork, reference: str, field: str = "") -> ProtocolRow:
    """The document with this hash, or the newest of this name. Raises `NotFound` (`unknown_protocol`)."""
    if reference.startswith(_HASH):
        row = uow.run.protocols.get(reference)
    else:
        found = uow.run.protocols.find(order="created_at", descending=True, limit=1, name=reference)
        row = found[0] if found else None
    if row is None:
        raise NotFound(
            f"There is no protocol {reference}.",
            code="unknown_protocol",
            field=field,
            remedy="see GET /v1/protocols (`labcommons protocols`) for those that are known, or store yours first",
        )
    return row


def newest(uow: UnitOfWork) -> list[ProtocolRow]:
    """The newest version of every name, by name."""
    latest: dict[str, ProtocolRow] = {}
    for row in uow.run.protocols.find(order="created_at"):
        latest[row.name] = row
    return [latest[name] for name in sorted(latest)]
