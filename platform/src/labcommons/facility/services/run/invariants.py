"""What must be true of the books at any moment, asked of the database as it stands."""

from __future__ import annotations

from collections import defaultdict

from labcommons.facility.ports import UnitOfWork
from labcommons.facility.services.run import lifecycle
from labcommons.facility.services.run.lifecycle.books import entry_of
from labcommons.scheduler.invariants import ExperimentFacts, HoldFacts, TokenFacts, World, check_world

__all__ = ["broken", "world_of"]


def world_of(uow: UnitOfWork) -> World:
    """The books as plain values."""
    steps = uow.run.steps.find()
    attempts = uow.run.attempts.find()
    of: defaultdict[str, list[str]] = defaultdict(list)
    for step in steps:
        of[step.experiment].append(step.id)
    return World(
        steps=[lifecycle.step_of(row) for row in steps],
        attempts=[lifecycle.attempt_of(uow, row) for row in attempts],
        experiments=[ExperimentFacts(row.id, row.state, tuple(of[row.id])) for row in uow.run.experiments.find()],
        holds=[
            HoldFacts(row.step, row.allocation, row.amount_ms, row.state == "OPEN", row.charged_ms)
            for row in uow.office.holds.find()
        ],
        entries=[entry_of(row) for row in uow.office.ledger.find(order="seq")],
        tokens=[TokenFacts(row.id, row.instrument, row.session, row.token, row.epoch, row.fence) for row in attempts],
    )


def broken(uow: UnitOfWork) -> list[str]:
    """Every invariant that the books break, each as a sentence; empty when all hold."""
    found = check_world(world_of(uow))
    balances = uow.office.balances([f"alloc:{row.id}" for row in uow.office.allocations.find()])
    found += [f"{account} is overspent: {ms} ms" for account, ms in balances.items() if ms < 0]
    for attempt in uow.run.attempts.find(stored=True):
        if uow.run.records.one(attempt=attempt.id) is None:
            found.append(f"attempt {attempt.id} has a durable result and no record")
    return found
