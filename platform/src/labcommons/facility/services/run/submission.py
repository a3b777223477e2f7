"""Submitting: compiled, funded and written whole in one transaction, or refused whole with every reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from labcommons.core.errors import InsufficientAllocation, InvalidInput
from labcommons.core.ids import ExperimentId, LabId, PersonId, ProjectId, SampleId, StepId, StudyId
from labcommons.core.times import to_text
from labcommons.core.values import value_to_json
from labcommons.facility.ports import (
    AllocationRow,
    ExperimentRow,
    HoldRow,
    IdempotencyRow,
    LedgerRow,
    SampleRow,
    StepRow,
    StudyRow,
    UnitOfWork,
)
from labcommons.facility.services.run import lifecycle, protocols
from labcommons.facility.services.run.access import demand, person_of
from labcommons.facility.services.run.dispatch import benches
from labcommons.facility.services.run.lifecycle import books, walking
from labcommons.protocols.canonical import digest
from labcommons.protocols.capabilities import load_shipped
from labcommons.protocols.compile import Candidate, Plan, PlannedStep, Reason, Refusal, compile_experiment
from labcommons.protocols.documents import Protocol, parse_protocol
from labcommons.scheduler.allocation import ledger
from labcommons.scheduler.allocation.funding import Funding, Need, Purse, Shortage, fund
from labcommons.scheduler.authority import Principal, Resource

__all__ = ["ROUTE", "SubmitAnswer", "compile_items", "submit"]

ROUTE = "experiments.submit"
#: How long the answer to an idempotency key is kept.
KEPT = timedelta(days=7)


@dataclass(frozen=True)
class SubmitAnswer:
    """The study and its experiments, in the order of the list. ``repeated``: the key had been used for this before."""

    study: str
    experiments: tuple[str, ...]
    repeated: bool = False

    def to_json(self) -> dict[str, Any]:
        """``{"study", "experiments"}``."""
        return {"study": self.study, "experiments": list(self.experiments)}


@dataclass(frozen=True)
class _Bound:
    """What a submit body names: project, document, instruments."""

    project: ProjectId
    protocol: Protocol
    candidates: Sequence[Candidate]
    available_ms: Mapping[str, int]
    purses: tuple[Purse, ...]
    allocations: Mapping[str, AllocationRow]


def compile_items(uow: UnitOfWork, principal: Principal, body: Mapping[str, Any]) -> dict[str, Any]:
    """For each item of a submit body its plan and cost, or the reasons why there is none. Stores nothing."""
    bound = _bind(uow, principal, body, "protocol.compile")
    return {
        "items": [
            outcome.to_json() if isinstance(outcome, Refusal) else outcome.summary()
            for outcome in (_answer(uow, bound, item, index) for index, item in enumerate(body["experiments"]))
        ]
    }


def submit(uow: UnitOfWork, principal: Principal, body: Mapping[str, Any], key: str | None) -> SubmitAnswer:
    """Take all experiments of ``body`` or none. ``key``: the idempotency key, ``None`` where the caller keeps it.

    Raises ``NotFound``, ``Forbidden``, ``InvalidInput`` (the first reason's code, all ``reasons``; or
    ``idempotency_mismatch``), ``InsufficientAllocation`` (its remedy names the least that suffices).
    """
    fingerprint = digest(body)
    known = None if key is None else _repeated(uow, principal, key, fingerprint)
    if known is not None:
        return known
    bound = _bind(uow, principal, body, "experiment.submit")
    plans = _plans(bound, body["experiments"])
    draft = _Draft(uow, principal, bound, body)
    for index, (item, plan) in enumerate(zip(body["experiments"], plans, strict=True)):
        draft.add(index, item, plan)
    draft.write(_fund(uow, principal, bound, draft))
    answer = SubmitAnswer(draft.study.id, tuple(row.id for row in draft.experiments))
    if key is not None:
        uow.office.idempotency.add(
            IdempotencyRow(person_of(principal), ROUTE, key, fingerprint, 201, answer.to_json(), uow.now)
        )
    return answer


def _repeated(uow: UnitOfWork, principal: Principal, key: str, fingerprint: str) -> SubmitAnswer | None:
    row = uow.office.idempotency.get(person_of(principal), ROUTE, key)
    if row is None:
        return None
    if row.created_at < uow.now - KEPT:
        uow.office.idempotency.delete(person=person_of(principal), route=ROUTE, key=key)
        return None
    if row.digest != fingerprint:
        raise InvalidInput(
            "This Idempotency-Key was used for another payload.",
            code="idempotency_mismatch",
            remedy="draw a new key for a new request; repeat the old request unchanged to read its answer",
        )
    answer: dict[str, Any] = dict(row.answer)
    return SubmitAnswer(answer["study"], tuple(answer["experiments"]), repeated=True)


def _bind(uow: UnitOfWork, principal: Principal, body: Mapping[str, Any], action: str) -> _Bound:
    project = ProjectId.parse(body["project"], "/project")
    demand(principal, action, Resource("project", project=project, owner=principal.person), field="/project")
    row = protocols.resolve(uow, str(body["protocol"]), "/protocol")
    allocations = {a.id: a for a in uow.office.allocations.find(project=project)}
    balances = uow.office.balances([ledger.alloc(a) for a in allocations])
    purses = tuple(
        Purse(a.id, a.instrument_type, balances[ledger.alloc(a.id)], a.starts_at, a.ends_at)
        for a in allocations.values()
    )
    available: dict[str, int] = defaultdict(int)
    for purse in purses:
        if purse.starts_at <= uow.now < purse.ends_at:
            available[purse.instrument_type] += purse.available_ms
    return _Bound(
        project=project,
        protocol=parse_protocol(row.document),
        candidates=benches.candidates(uow),
        available_ms=available,
        purses=purses,
        allocations={str(key): value for key, value in allocations.items()},
    )


def _answer(uow: UnitOfWork, bound: _Bound, item: Mapping[str, Any], index: int) -> Plan | Refusal:
    """The plan of one item; where time alone is short, a reason whose remedy counts in single allocations."""
    outcome = _timeless(bound, item, index)
    if isinstance(outcome, Refusal):
        return outcome
    needs = [Need(step.id, step.instrument_type, step.hold_ms, place) for place, step in enumerate(outcome.steps)]
    funded = fund(needs, bound.purses, uow.now)
    if isinstance(funded, Funding):
        return outcome
    return Refusal((_short_reason(funded, bound, uow.now, step=outcome.steps[funded.item].id),))


def _timeless(bound: _Bound, item: Mapping[str, Any], index: int) -> Plan | Refusal:
    """The plan; where time alone is short, as if there were enough of the types that are wished first."""
    outcome = _compile(bound, item, index)
    if isinstance(outcome, Refusal) and all(r.code == InsufficientAllocation.code for r in outcome.reasons):
        return _compile(bound, item, index, timeless=True)
    return outcome


def _compile(bound: _Bound, item: Mapping[str, Any], index: int, *, timeless: bool = False) -> Plan | Refusal:
    labs = [LabId.parse(lab, f"/experiments/{index}/labs/{n}") for n, lab in enumerate(item.get("labs") or ())]
    return compile_experiment(
        bound.protocol,
        load_shipped(),
        item["arguments"],
        bound.candidates,
        labs=labs,
        types=item.get("types") or (),
        available_ms=None if timeless else bound.available_ms,
    )


def _plans(bound: _Bound, items: Sequence[Mapping[str, Any]]) -> list[Plan]:
    """A plan for each item, whose funding comes later. Raises with the reasons of all items that have none."""
    plans: list[Plan] = []
    refused: list[tuple[int, Refusal]] = []
    for index, item in enumerate(items):
        outcome = _timeless(bound, item, index)
        if isinstance(outcome, Plan):
            plans.append(outcome)
        else:
            refused.append((index, outcome))
    if not refused:
        return plans
    reasons = [
        {**reason.to_json(), "field": reason.located(index)} for index, refusal in refused for reason in refusal.reasons
    ]
    first = reasons[0]
    raise InvalidInput(
        first["text"] or "it cannot be compiled",
        code=first["code"],
        field=first["field"] or "",
        remedy=first["remedy"] or "",
        reasons=reasons,
    )


def _fund(uow: UnitOfWork, principal: Principal, bound: _Bound, draft: _Draft) -> Funding:
    """Which allocation pays for which step. Raises ``InsufficientAllocation``."""
    needs = [
        Need(step.id, step.instrument_type, step.hold_ms, item)
        for item, steps in enumerate(draft.steps_by_item)
        for step in steps
    ]
    outcome = fund(needs, bound.purses, uow.now, _cap_left(uow, principal, bound.project, needs))
    if isinstance(outcome, Funding):
        return outcome
    short = next(s for s in draft.steps_by_item[outcome.item] if s.instrument_type == outcome.instrument_type)
    reason = _short_reason(outcome, bound, uow.now, item=outcome.item, step=short.name)
    raise InsufficientAllocation(reason.text, field=reason.field, remedy=reason.remedy, reasons=[reason.to_json()])


def _short_reason(shortage: Shortage, bound: _Bound, now: datetime, *, step: str, item: int | None = None) -> Reason:
    """Why time does not suffice, and the least that would."""
    whose = "your cap in the project leaves" if shortage.cap else "the project's allocations have"
    text = (
        f"this holds {shortage.needed_ms} ms of {shortage.instrument_type} time, each step on one allocation, and "
        f"{whose} {shortage.available_ms} ms"
    )
    if item is not None:
        text += f"; experiment {item} is the first that is not covered"
    if shortage.cap:
        remedy = f"ask the project's PI to raise your cap by {max(shortage.lacking.values())} ms"
    else:
        remedy = f"ask for {' and '.join(_wanted(kind, ms, bound, now) for kind, ms in shortage.lacking.items())}"
    remedy += ", or submit less at once"
    limit = str(shortage.available_ms)
    return Reason(step, None, InsufficientAllocation.code, limit, "/project", remedy, text)


def _wanted(kind: str, ms: int, bound: _Bound, now: datetime) -> str:
    """The allocation that lacks, in words. The one that ends first pays first, so it must not end before the others."""
    ends = [p.ends_at for p in bound.purses if p.instrument_type == kind and p.starts_at <= now < p.ends_at]
    until = f" that ends no earlier than {to_text(max(ends))}" if ends else ""
    return f"one allocation of {ms} ms of {kind} time{until}"


def _cap_left(
    uow: UnitOfWork, principal: Principal, project: ProjectId, needs: Sequence[Need]
) -> dict[str, int] | None:
    """What the member may still have held or charged, by type; ``None`` where there is no cap."""
    member = uow.office.members.get(project, person_of(principal))
    if member is None or member.cap_ms is None:
        return None
    left = {need.instrument_type: member.cap_ms for need in needs}
    holds = uow.office.holds.find(project=project, person=person_of(principal))
    for hold in holds:
        if hold.instrument_type in left:
            left[hold.instrument_type] -= hold.amount_ms if hold.state == "OPEN" else hold.charged_ms
    # What was refunded was not used after all.
    steps = {hold.step for hold in holds if hold.charged_ms}
    refundable = [str(row.id) for row in uow.run.attempts.find(step=list(steps))] if steps else []
    for entry in uow.office.ledger.find(kind="refund", cause=refundable) if refundable else ():
        if entry.instrument_type in left:
            left[entry.instrument_type] += entry.amount_ms
    return left


def _step_row(row: ExperimentRow, step: PlannedStep, place: int, ids: Mapping[str, StepId]) -> StepRow:
    """A planned step as a row of its experiment. ``ids``: the steps' ids by the names that the document gives them."""
    return StepRow(
        id=ids[step.id],
        experiment=row.id,
        project=row.project,
        name=step.id,
        position=place,
        role=step.role,
        action=step.action,
        plan=step.to_json(),
        instrument_type=step.instrument_type,
        hold_ms=step.hold_ms,
        aged_from=row.submitted_at,
        after=tuple(ids[before] for before in step.after),
        priority=row.priority,
    )


class _Draft:
    """The rows of a submission, made before anything is written."""

    def __init__(self, uow: UnitOfWork, principal: Principal, bound: _Bound, body: Mapping[str, Any]) -> None:
        self._uow = uow
        self._bound = bound
        self._person = PersonId(person_of(principal))
        self.study = StudyRow(
            uow.ids.mint(StudyId), bound.project, body["study"], bound.protocol.hash, self._person, uow.now
        )
        self.experiments: list[ExperimentRow] = []
        self.steps_by_item: list[list[StepRow]] = []
        self.samples: list[SampleRow] = []
        self._later: list[walking.Due] = []

    def add(self, index: int, item: Mapping[str, Any], plan: Plan) -> None:
        """One experiment: its row, its steps (those that nothing comes before are READY), its expected samples."""
        uow = self._uow
        row = ExperimentRow(
            id=uow.ids.mint(ExperimentId),
            study=self.study.id,
            project=self._bound.project,
            position=index,
            protocol=self._bound.protocol.hash,
            protocol_id=self._bound.protocol.id,
            arguments={name: value_to_json(value) for name, value in plan.parameters.items()},
            submitted_by=self._person,
            submitted_at=uow.now,
            label=item.get("label"),
            labs=tuple(item.get("labs") or ()),
            priority=item.get("priority") or 0,
        )
        ids = {step.id: uow.ids.mint(StepId) for step in plan.steps}
        mine = [
            SampleRow(uow.ids.mint(SampleId), row.project, row.id, name, ids.get(spec.made_by or ""), uow.now)
            for name, spec in self._bound.protocol.samples.items()
        ]
        graph = walking.Graph(plan.parameters, {}, {sample.name: sample.id for sample in mine})
        steps = [_step_row(row, step, place, ids) for place, step in enumerate(plan.steps)]
        self.experiments.append(row)
        self.samples += mine
        self.steps_by_item.append([step if step.after else self._enter(step, graph) for step in steps])

    def _enter(self, step: StepRow, graph: walking.Graph) -> StepRow:
        """A step that nothing comes before: READY, unless its guard or its arguments say otherwise."""
        due = walking.entrance(self._uow, step, graph)
        if due.then is None and due.facts:
            return replace(step, state="READY", ready_at=self._uow.now, **due.facts)
        self._later.append(due)
        return step

    def write(self, funding: Funding) -> None:
        """Write it all: rows, holds, events, audit."""
        uow = self._uow
        steps = [step for item in self.steps_by_item for step in item]
        uow.run.studies.add(self.study)
        uow.run.experiments.add(*self.experiments)
        uow.run.steps.add(*steps)
        uow.run.samples.add(*self.samples)
        holds: list[HoldRow] = []
        entries: list[LedgerRow] = []
        for step in steps:
            hold, entry = books.open_hold(uow, step, funding.allocations[step.id], self._person, actor=self._person)
            holds.append(hold)
            entries.append(entry)
        uow.office.holds.add(*holds)
        uow.office.ledger.add(*entries)
        for allocation in sorted({hold.allocation for hold in holds}):
            # Two submits that read the same balance: the second one's comparison fails, and it reads again.
            uow.office.allocations.save(self._bound.allocations[allocation])
        self._tell(steps)
        for due in self._later:
            lifecycle.enter(uow, due, actor=self._person)
            lifecycle.refold(uow, due.step.experiment)

    def _tell(self, steps: Sequence[StepRow]) -> None:
        uow = self._uow
        uow.audit(
            self._person,
            "experiment.submit",
            self.study.id,
            {"experiments": [row.id for row in self.experiments], "protocol": self.study.protocol},
        )
        for row in self.experiments:
            uow.emit("experiment.waiting", row.id, "waiting", project=row.project, experiment=row.id)
        for step in steps:
            if step.state == "READY":
                uow.emit("step.ready", step.id, "READY", project=step.project, experiment=step.experiment)
        uow.wake("dispatch")
