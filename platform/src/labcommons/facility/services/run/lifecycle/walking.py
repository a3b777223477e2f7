"""The graph of an experiment's steps: who may go next, with which arguments, and who never will.

Deciding only; ``lifecycle`` lets the events happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labcommons.core.errors import InvalidTransition, LabCommonsError
from labcommons.core.ids import SampleId
from labcommons.core.values import Value, value_from_json, value_to_json
from labcommons.facility.ports import ExperimentRow, StepRow, UnitOfWork
from labcommons.facility.services.run.dispatch import benches
from labcommons.protocols.compile import PlannedStep, evaluate_guard, narrow, resolve_arguments
from labcommons.scheduler import steps

__all__ = ["Due", "Graph", "due", "entrance", "graph_of"]


@dataclass(frozen=True)
class Graph:
    """What an experiment's steps may refer to: its arguments, the outputs so far (by step name), its samples."""

    parameters: Mapping[str, Value]
    outputs: Mapping[str, Mapping[str, Value]]
    samples: Mapping[str, SampleId]


@dataclass(frozen=True)
class Due:
    """An event that is due for a step, the fields that come with it, and an event that follows at once."""

    step: StepRow
    event: steps.StepEvent
    facts: dict[str, Any] = field(default_factory=dict)
    then: steps.StepEvent | None = None


def graph_of(uow: UnitOfWork, experiment: ExperimentRow, rows: list[StepRow]) -> Graph:
    """The experiment's graph as it stands."""
    return Graph(
        parameters={name: value_from_json(value) for name, value in experiment.arguments.items()},
        outputs={
            row.name: {name: value_from_json(value) for name, value in row.outputs.items()}
            for row in rows
            if row.outputs is not None
        },
        samples={sample.name: sample.id for sample in uow.run.samples.find(experiment=experiment.id)},
    )


def due(uow: UnitOfWork, experiment_id: str, machines: Mapping[str, steps.Step]) -> Due | None:
    """The next event that is due for a WAITING step of the experiment, if any. ``machines``: step id -> its machine."""
    resolution = steps.resolve(list(machines.values()))
    for step, why in resolution.skipped.items():
        row = uow.run.steps.get(step)
        if row is not None:
            return Due(row, steps.Skipped(uow.now, _named(uow, why, machines)))
    for step in resolution.ready:
        row, experiment = uow.run.steps.get(step), uow.run.experiments.get(experiment_id)
        if row is not None and experiment is not None:
            return entrance(uow, row, graph_of(uow, experiment, uow.run.steps.find(experiment=experiment.id)))
    return None


def _named(uow: UnitOfWork, why: str, machines: Mapping[str, steps.Step]) -> str:
    """The sentence with the steps' names, which people know, in place of their ids."""
    for step in machines:
        if step in why:
            row = uow.run.steps.get(step)
            why = why.replace(step, row.name if row is not None else step)
    return why


def entrance(uow: UnitOfWork, row: StepRow, graph: Graph) -> Due:
    """How a step whose turn has come goes on: READY with its arguments, SKIPPED by its guard, or FAILED at once."""
    plan = PlannedStep.from_json(row.plan)
    met = steps.DependenciesMet(uow.now)
    try:
        if plan.guard is not None and not evaluate_guard(plan.guard, graph.outputs, graph.parameters):
            return Due(row, steps.Skipped(uow.now, f"its guard is false: {plan.guard}"))
        arguments = resolve_arguments(plan, graph.parameters, graph.outputs, graph.samples)
    except LabCommonsError as error:
        return Due(row, met, {}, steps.NoCandidateLeft(uow.now, f"{error.word}: {error.detail}"))
    facts: dict[str, Any] = {"arguments": {name: value_to_json(value) for name, value in arguments.items()}}
    if row.after:
        # What came out of earlier steps was unknown when it was compiled: its range is checked now.
        struck, reasons = _out_of_range(uow, plan, arguments)
        facts["struck"] = tuple(sorted({*row.struck, *struck}))
        if len(facts["struck"]) >= len(plan.candidates):
            return Due(row, met, facts, steps.NoCandidateLeft(uow.now, "; ".join(reasons) or "no candidate left"))
    return Due(row, met, facts)


def _out_of_range(uow: UnitOfWork, plan: PlannedStep, arguments: Mapping[str, Value]) -> tuple[list[str], list[str]]:
    """The candidates that cannot take these arguments, and why."""
    struck: list[str] = []
    reasons: list[str] = []
    labs = {lab.id: lab for lab in uow.lab.labs.find()}
    for planned in plan.candidates:
        bench = uow.lab.instruments.get(planned.instrument)
        if bench is None:
            raise InvalidTransition(f"a plan names instrument {planned.instrument}, which is not in the books")
        candidate = benches.candidate(uow, bench, labs[bench.lab])
        found = () if candidate is None else narrow(candidate, plan, arguments)
        if candidate is None or found:
            struck.append(planned.instrument)
            reasons.extend(reason.text or reason.code for reason in found)
    return struck, reasons
