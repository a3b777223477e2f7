"""The queue and the benches, as the dispatcher and the forecast see them: rows made into plain values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from labcommons.facility.ports import AttemptRow, ExperimentRow, InstrumentRow, NodeRow, StepRow, UnitOfWork
from labcommons.facility.services.run.lifecycle import samples
from labcommons.scheduler.dispatch import Bench, Candidate, WaitingStep
from labcommons.scheduler.steps import ENDED, StepState

__all__ = ["OPEN", "Snapshot", "bench_of", "grantable", "snapshot", "waiting"]

#: States of a step that has not ended.
OPEN = tuple(str(state) for state in StepState if state not in ENDED)


@dataclass(frozen=True)
class Snapshot:
    """What one decision reads, with the rows behind it: their versions are what the commit compares."""

    steps: tuple[WaitingStep, ...]
    benches: tuple[Bench, ...]
    step_rows: Mapping[str, StepRow]
    bench_rows: Mapping[str, InstrumentRow]
    node_rows: Mapping[str, NodeRow]
    experiments: Mapping[str, ExperimentRow]
    running: Mapping[str, tuple[datetime, datetime]] = field(default_factory=dict)


def grantable(uow: UnitOfWork) -> bool:
    """Whether any bench has a ready token left: without one, a queue of thousands need not be read."""
    return bool(_tokens(uow, uow.lab.nodes.find()))


def snapshot(uow: UnitOfWork, *, states: Iterable[str] = ("READY",)) -> Snapshot:
    """Steps in ``states`` and all benches."""
    rows = uow.run.steps.find(state=tuple(states))
    experiments = {str(row.id): row for row in uow.run.experiments.find(id=list({row.experiment for row in rows}))}
    nodes = {str(row.id): row for row in uow.lab.nodes.find()}
    benches = uow.lab.instruments.find()
    live = uow.run.attempts.find(state=("GRANTED", "RUNNING", "SUSPECT", "UNKNOWN"))
    scales = {lab.id: lab.time_scale for lab in uow.lab.labs.find()}
    running = {str(row.step): _ends(row, scales[row.lab], uow.now) for row in live if row.state != "UNKNOWN"}
    until = _busy_until(live, running)
    tokens = _tokens(uow, nodes.values())
    held = {str(hold.step) for hold in uow.office.holds.find(state="OPEN", step=[row.id for row in rows])}
    siblings = _siblings(uow, rows)
    unknown = {str(row.step): str(row.id) for row in live if row.state == "UNKNOWN"}
    return Snapshot(
        steps=tuple(waiting(uow, row, experiments[row.experiment], siblings, held, unknown) for row in rows),
        benches=tuple(
            replace(
                bench_of(uow, bench, nodes[bench.node], tokens[bench.id]),
                busy_until=until.get(bench.id),
                time_scale=scales[bench.lab],
            )
            for bench in benches
        ),
        step_rows={row.id: row for row in rows},
        bench_rows={bench.id: bench for bench in benches},
        node_rows=nodes,
        experiments=experiments,
        running=running,
    )


def _siblings(uow: UnitOfWork, rows: list[StepRow]) -> dict[str, StepRow]:
    """All steps of experiments in which one waits for another."""
    graphs = list({row.experiment for row in rows if row.after})
    return {row.id: row for row in uow.run.steps.find(experiment=graphs)} if graphs else {}


def _tokens(uow: UnitOfWork, nodes: Iterable[NodeRow]) -> dict[str, tuple[int, ...]]:
    """Instrument -> numbers of the ready tokens that a grant may use now."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    sessions = [node.session for node in nodes if node.session is not None and node.epoch == uow.epoch]
    for token in uow.lab.tokens.find(session=sessions, attempt=None) if sessions else ():
        found[token.instrument].append(token.number)
    return defaultdict(tuple, {bench: tuple(sorted(numbers)) for bench, numbers in found.items()})


def _ends(row: AttemptRow, time_scale: str, now: datetime) -> tuple[datetime, datetime]:
    """When a live attempt is expected to be done, and at the latest; never before now."""
    begun = row.started_at or row.granted_at
    scale = Decimal(time_scale)
    ends = [begun + timedelta(milliseconds=int(row.grant[word] / scale)) for word in ("expected_ms", "maximum_ms")]
    return max(now, ends[0]), max(now, ends[1])


def _busy_until(live: list[AttemptRow], running: Mapping[str, tuple[datetime, datetime]]) -> dict[str, datetime]:
    until: dict[str, datetime] = {}
    for row in live:
        if row.step in running:
            end = running[row.step][0]
            until[row.instrument] = max(end, until.get(row.instrument, end))
    return until


def bench_of(uow: UnitOfWork, bench: InstrumentRow, node: NodeRow, tokens: tuple[int, ...]) -> Bench:
    """An instrument as the dispatcher sees it."""
    return Bench(
        instrument=bench.id,
        lab=bench.lab,
        name=bench.name,
        online=node.session is not None and node.silence == "heard",
        state=bench.state,
        quarantined=node.state != "active",
        locked=bench.lock,
        tokens=tokens,
    )


def waiting(
    uow: UnitOfWork,
    row: StepRow,
    experiment: ExperimentRow,
    siblings: Mapping[str, StepRow],
    held: set[str] | frozenset[str],
    unknown: Mapping[str, str],
) -> WaitingStep:
    """A step as the dispatcher sees it."""
    before = [siblings[step] for step in row.after if step in siblings]
    return WaitingStep(
        step=row.id,
        experiment=row.experiment,
        project=row.project,
        since=row.aged_from,
        candidates=tuple(
            Candidate(c["instrument"], c["lab"], c["expected_ms"], c["maximum_ms"]) for c in row.plan["candidates"]
        ),
        role=row.role,
        priority=row.priority,
        state=StepState(row.state),
        protocol=experiment.protocol,
        protocol_id=experiment.protocol_id,
        bound=experiment.bindings.get(row.role),
        lab=samples.place(uow, row) if row.after else None,
        struck=frozenset(row.struck),
        after=tuple(step.id for step in before if step.state != "DONE"),
        held=row.id in held,
        cancel_wished=row.cancel_wished,
        unknown=next((unknown[step] for step in (row.id, *row.after) if step in unknown), None),
    )
