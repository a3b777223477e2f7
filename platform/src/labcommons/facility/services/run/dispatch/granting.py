"""Grants: decided on a snapshot, committed by comparing every row with what the decision read.

A lock or leadership is never evidence: a dispatcher that decided on stale rows fails at its commit, and nothing is
sent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from labcommons.core.errors import InvalidTransition, LabCommonsError, StaleVersion
from labcommons.core.ids import AttemptId
from labcommons.core.values import value_from_json, value_to_json
from labcommons.facility.ports import AttemptRow, InstrumentRow, NodeRow, StepRow, UnitOfWork
from labcommons.facility.services.run import lifecycle
from labcommons.facility.services.run.dispatch import benches, queue
from labcommons.facility.services.run.lifecycle import samples
from labcommons.federation import wire
from labcommons.protocols.arguments import convert
from labcommons.protocols.compile import Candidate, PlannedStep, duration, narrow
from labcommons.scheduler import dispatch as policy
from labcommons.scheduler import steps
from labcommons.scheduler.dispatch import Decision, Grant

__all__ = ["commit", "decide"]


def decide(snapshot: queue.Snapshot) -> Decision:
    """The grants to make now, and the ages that they change."""
    return policy.decide(snapshot.steps, snapshot.benches, explain=False)


def commit(uow: UnitOfWork, snapshot: queue.Snapshot, decision: Decision) -> list[AttemptId]:
    """Write the grants. Raises ``StaleVersion`` if a step, an instrument or a node is not as the decision read it.

    Where an instrument cannot take its step any more (its manifest has changed), it is struck from that step alone,
    nothing is granted, and the dispatcher is woken: it decides again without it.
    """
    unfit = [(grant, why) for grant in decision.grants if (why := _unfit(uow, snapshot, grant)) is not None]
    if unfit:
        for grant, why in unfit:
            _strike(uow, snapshot.step_rows[grant.step], grant.candidate.instrument, why)
        uow.wake("dispatch")
        return []
    ages = dict(decision.ages)
    moved: dict[str, InstrumentRow] = {}
    made: list[AttemptId] = []
    for grant in decision.grants:
        read = snapshot.step_rows[grant.step]
        step = replace(read, aged_from=ages.pop(grant.step, read.aged_from))
        bench = moved.get(grant.candidate.instrument) or snapshot.bench_rows[grant.candidate.instrument]
        node = _node(uow, snapshot.node_rows[bench.node])
        row, moved[bench.id] = _grant(uow, step, bench, node, grant)
        made.append(row.id)
    for overtaken, age in ages.items():
        uow.run.steps.save(replace(snapshot.step_rows[overtaken], aged_from=age))
    return made


def _unfit(uow: UnitOfWork, snapshot: queue.Snapshot, grant: Grant) -> str | None:
    """Why the instrument, as its manifest describes it now, cannot take the step; ``None`` if it can."""
    step, bench = snapshot.step_rows[grant.step], snapshot.bench_rows[grant.candidate.instrument]
    lab = uow.lab.labs.get(bench.lab)
    try:
        candidate = None if lab is None else benches.candidate(uow, bench, lab)
        if candidate is None:
            return f"{bench.name} has no manifest that describes it"
        arguments = {name: value_from_json(value) for name, value in (step.arguments or {}).items()}
        reasons = narrow(candidate, PlannedStep.from_json(step.plan), arguments)
    except LabCommonsError as error:
        return f"{error.word}: {error.detail}"
    return "; ".join(reason.text or reason.code for reason in reasons) or None


def _strike(uow: UnitOfWork, step: StepRow, instrument: str, why: str) -> None:
    """The instrument never takes this step; without another one the step has failed."""
    uow.audit("facility", "step.candidate_struck", step.id, {"instrument": instrument, "why": why})
    step = lifecycle.step_happen(uow, step, steps.CandidateStruck(uow.now, instrument, why))
    if not lifecycle.step_of(step).open_candidates:
        lifecycle.step_happen(uow, step, steps.NoCandidateLeft(uow.now, why))
        lifecycle.refold(uow, step.experiment)


def _node(uow: UnitOfWork, read: NodeRow) -> NodeRow:
    """The node as it is now: the decision stands only for its session, journal and epoch, and out of quarantine."""
    now = uow.lab.nodes.get(read.id)
    same = now is not None and (now.session, now.journal, now.state, now.silence) == (
        read.session,
        read.journal,
        "active",
        "heard",
    )
    if now is None or not same or now.epoch != uow.epoch:
        raise StaleVersion(f"node {read.id} is not as the dispatcher read it", remedy="decide again on fresh rows")
    return now


@dataclass(frozen=True)
class _Work:
    """What is to be done on a bench: arguments in its units, and how long that takes there (lab ms)."""

    action: str
    arguments: dict[str, Any]
    expected_ms: int
    maximum_ms: int


def _work(plan: PlannedStep, step: StepRow, candidate: Candidate) -> _Work:
    values = convert(candidate, plan, {name: value_from_json(value) for name, value in (step.arguments or {}).items()})
    expected, maximum = duration(candidate, plan, values)
    return _Work(
        action=candidate.spec.driver_action(plan.capability, plan.action),
        arguments={name: value_to_json(value) for name, value in values.items()},
        expected_ms=min(expected, step.hold_ms),
        maximum_ms=min(maximum, step.hold_ms),
    )


def _use_token(uow: UnitOfWork, node: NodeRow, bench: InstrumentRow, number: int, attempt: AttemptId) -> None:
    """A ready token is used once."""
    token = uow.lab.tokens.get(node.id, node.session, bench.id, number)
    if token is None or token.attempt is not None:
        raise StaleVersion(f"token {number} of {bench.id} is used or withdrawn", remedy="decide again on fresh rows")
    uow.lab.tokens.save(replace(token, attempt=attempt))


def _grant(
    uow: UnitOfWork, step: StepRow, bench: InstrumentRow, node: NodeRow, grant: Grant
) -> tuple[AttemptRow, InstrumentRow]:
    attempt = uow.ids.mint(AttemptId)
    # The comparisons come first: on rows that have changed nothing else needs to make sense.
    lifecycle.step_happen(uow, step, steps.AttemptGranted(uow.now, attempt))
    bench = uow.lab.instruments.save(replace(bench, fence=bench.fence + 1))
    lab = uow.lab.labs.get(bench.lab)
    candidate = None if lab is None else benches.candidate(uow, bench, lab)
    experiment = uow.run.experiments.get(step.experiment)
    if candidate is None or experiment is None or node.session is None or node.journal is None:
        raise InvalidTransition(f"step {step.id} is granted to {bench.id}, which has no manifest, lab or session")
    if uow.office.holds.one(step=step.id, state="OPEN") is None:
        raise InvalidTransition(f"step {step.id} is granted without an open hold")
    _use_token(uow, node, bench, grant.token, attempt)
    plan = PlannedStep.from_json(step.plan)
    work = _work(plan, step, candidate)
    said = wire.Grant(
        attempt=attempt, experiment=step.experiment, step=step.id, project=step.project,
        protocol=experiment.protocol, protocol_id=experiment.protocol_id,
        instrument=bench.name, manifest=bench.manifest or "", action=work.action, arguments=work.arguments,
        expected_ms=work.expected_ms, maximum_ms=work.maximum_ms, timeout_ms=plan.timeout_ms,
        repeatable=plan.repeatable, on_partition=plan.on_partition,
        session=node.session, journal=node.journal, epoch=uow.epoch, fence=bench.fence, token=grant.token,
    )  # fmt: skip
    row = AttemptRow(
        id=attempt, step=step.id, experiment=step.experiment, project=step.project,
        lab=bench.lab, node=node.id, instrument=bench.id, session=node.session, journal=node.journal,
        epoch=said.epoch, fence=said.fence, token=said.token, grant=said.model_dump(mode="json"),
        granted_at=uow.now, repeatable=plan.repeatable, consumes=samples.consumes(uow, step),
    )  # fmt: skip
    lifecycle.born(uow, row)
    if plan.role not in experiment.bindings:
        bound = {**experiment.bindings, plan.role: str(bench.id)}
        uow.run.experiments.save(replace(experiment, bindings=bound))
    samples.granted(uow, step, attempt)
    lifecycle.refold(uow, step.experiment)
    return row, bench
