"""A POST that costs something carries an `Idempotency-Key`: sent twice, it is done once (delivery.md, rule 20).

The row with the answer is written in the transaction that does the work, so no crash falls between the two.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, Header

from labcommons.core.errors import InvalidInput
from labcommons.facility.api.auth import Call
from labcommons.facility.ports import IdempotencyRow, UnitOfWork
from labcommons.facility.services.transact import transact

_LONGEST = 200


def idempotency_key(
    given: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Drawn by the caller, the same for every repeat of this very request; kept for 7 days",
            examples=["f3b0a3de-2c5b-4c0e-9d0d-6d3c7a7a8a11"],
        ),
    ] = None,
) -> str:
    """The key of this call. Raises `InvalidInput` (`idempotency_key_missing`, `idempotency_key_malformed`)."""
    remedy = f"send the header Idempotency-Key with 1 to {_LONGEST} visible ASCII characters, new for each new request"
    if given is None:
        raise InvalidInput(
            "This call costs something and carries no Idempotency-Key.", code="idempotency_key_missing", remedy=remedy
        )
    if not 1 <= len(given) <= _LONGEST or not all(33 <= ord(character) <= 126 for character in given):
        raise InvalidInput("The Idempotency-Key cannot be taken.", code="idempotency_key_malformed", remedy=remedy)
    return given


Key = Annotated[str, Depends(idempotency_key)]


def digest_of(body: object) -> str:
    """A hash that is equal for equal payloads, whatever the order of their members."""
    text = json.dumps(body, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def once(
    call: Call, route: str, key: str, body: object, act: Callable[[UnitOfWork], Mapping[str, Any]], *, status: int = 201
) -> tuple[int, dict[str, Any]]:
    """Do `act` in one transaction, or give the answer that it gave before; (status, answer).

    Scope of a key: person and route. Raises `InvalidInput` (`idempotency_mismatch`) for another payload.
    """
    digest = digest_of(body)

    def verb(uow: UnitOfWork) -> tuple[int, dict[str, Any]]:
        known = _known(call, uow, route, key, digest)
        if known is not None:
            return known.status, dict(known.answer)
        answer = dict(act(uow))
        uow.office.idempotency.add(IdempotencyRow(call.actor, route, key, digest, status, answer, created_at=uow.now))
        return status, answer

    return transact(call.wiring.work, verb)


def _known(call: Call, uow: UnitOfWork, route: str, key: str, digest: str) -> IdempotencyRow | None:
    row = uow.office.idempotency.get(call.actor, route, key)
    if row is None:
        return None
    if row.created_at < uow.now - timedelta(days=call.wiring.settings.limits.idempotency_days):
        uow.office.idempotency.delete(person=call.actor, route=route, key=key)
        return None
    if row.digest != digest:
        raise InvalidInput(
            "This Idempotency-Key was used for another payload.",
            code="idempotency_mismatch",
            remedy="draw a new key for a new request; repeat the old request unchanged to read its answer",
        )
    return row
