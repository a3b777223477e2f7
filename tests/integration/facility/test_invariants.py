"""The invariants over a real database find what is planted, and nothing in sound books."""

from __future__ import annotations

import pytest

from labcommons.facility.services.run import invariants
from support.bench import Books, Member, NodeDouble


def found(books: Books) -> list[str]:
    with books.work.read() as uow:
        return invariants.broken(uow)


FAULTS = {
    "a hold that is open after the end": (
        "UPDATE holds SET state = 'OPEN', charged_ms = 0",
        "UPDATE holds SET state = 'CLOSED', charged_ms = 54000",
    ),
    "a fold that is not one": (
        "UPDATE experiments SET state = 'failed'",
        "UPDATE experiments SET state = 'succeeded'",
    ),
    "a step that says it is active": (
        "UPDATE steps SET state = 'ACTIVE'",
        "UPDATE steps SET state = 'DONE'",
    ),
    "a charge that is larger": (
        "UPDATE ledger SET amount_ms = amount_ms + 1 WHERE kind = 'charge'",
        "UPDATE ledger SET amount_ms = amount_ms - 1 WHERE kind = 'charge'",
    ),
    "an allocation that is overspent": (
        "UPDATE ledger SET amount_ms = 1000 WHERE kind = 'grant'",
        "UPDATE ledger SET amount_ms = 3600000 WHERE kind = 'grant'",
    ),
    "a state that its story does not end in": (
        "UPDATE attempts SET state = 'STOPPED'",
        "UPDATE attempts SET state = 'SUCCEEDED'",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(books: Books, pia: Member, north: NodeDouble, fault: str) -> None:
    pia.submit()
    books.dispatch()
    [grant] = north.grants()
    north.perform(grant)
    assert found(books) == []
    plant, mend = FAULTS[fault]
    with books.engine.begin() as connection:
        connection.exec_driver_sql(plant)
    assert found(books)
    with books.engine.begin() as connection:
        connection.exec_driver_sql(mend)
    assert found(books) == []


def test_a_durable_result_without_a_record_is_found(books: Books, pia: Member, north: NodeDouble) -> None:
    pia.submit()
    books.dispatch()
    [grant] = north.grants()
    north.begin(grant)
    north.report()
    with books.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE attempts SET stored = 1")
    assert any("no record" in sentence for sentence in found(books))
    with books.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE attempts SET stored = 0")
