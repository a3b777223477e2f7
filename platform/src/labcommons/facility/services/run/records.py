"""Records: the data of every attempt that touched an instrument, whether it worked, failed or found nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from labcommons.core.errors import InvalidTransition
from labcommons.core.ids import RecordId
from labcommons.core.times import to_text
from labcommons.facility.ports import AttemptRow, RecordObjectRow, RecordRow, UnitOfWork
from labcommons.facility.services.run.ark import ark_of
from labcommons.facility.services.run.dispatch import benches

__all__ = ["present", "present_all", "write"]


def write(uow: UnitOfWork, attempt: AttemptRow, *, late: bool) -> RecordRow | None:
    """Write the attempt's record from its RESULT; ``late``: it came after the books were closed. Once an attempt."""
    if attempt.result is None:
        raise InvalidTransition(f"attempt {attempt.id} is to have a record and has no result")
    known = uow.run.records.one(attempt=attempt.id)
    if known is not None:
        return known
    row = _row(uow, attempt, uow.ids.mint(RecordId), late=late)
    uow.run.records.add(row)
    uow.run.record_objects.add(
        *(
            RecordObjectRow(row.id, item["name"], item["media_type"], item["bytes"], item["sha256"])
            for item in row.document["objects"]
        )
    )
    uow.emit(
        "record.created",
        row.id,
        row.outcome,
        project=row.project,
        experiment=row.experiment,
        lab=row.lab,
    )
    return row


def _row(uow: UnitOfWork, attempt: AttemptRow, record: RecordId, *, late: bool) -> RecordRow:
    step, experiment = uow.run.steps.get(attempt.step), uow.run.experiments.get(attempt.experiment)
    bench, lab = uow.lab.instruments.get(attempt.instrument), uow.lab.labs.get(attempt.lab)
    if step is None or experiment is None or bench is None or lab is None:
        raise InvalidTransition(f"attempt {attempt.id} names a step, experiment, instrument or lab not in the books")
    protocol = uow.run.protocols.get(experiment.protocol)
    spec = benches.manifest(uow, attempt.grant["manifest"]).instrument(bench.name)
    result: dict[str, Any] = attempt.result or {}
    calibration = spec.calibration if spec is not None else None
    ark = ark_of(record)
    document = {
        "step_name": step.name,
        "label": experiment.label,
        "planned": step.arguments or {},
        "outputs": result["outputs"],
        "objects": _objects(result["objects"]),
        "calibration": result.get("calibration") or (calibration.id if calibration is not None else None),
        "error": result.get("error"),
        "flags": [*result["flags"], *(["late"] if late else [])],
        "manifest": attempt.grant["manifest"],
        "instrument_name": bench.name,
        "lab_name": lab.name,
        "cite": f"{protocol.title if protocol else experiment.protocol_id}. {lab.title}, {bench.name}, "
        f"{uow.now:%Y-%m-%d}. {ark}",
    }
    return RecordRow(
        id=record,
        ark=ark,
        attempt=attempt.id,
        step=attempt.step,
        experiment=attempt.experiment,
        project=attempt.project,
        lab=attempt.lab,
        instrument=attempt.instrument,
        protocol=experiment.protocol,
        simulated=spec.simulated if spec is not None else bench.simulated,
        outcome=attempt.outcome or "failed",
        document=document,
        created_at=uow.now,
    )


def _objects(named: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The objects with names that differ: a lab may call two files the same."""
    found: dict[str, dict[str, Any]] = {}
    for item in named:
        name, n = item["name"], 1
        while name in found:
            n += 1
            name = f"{n}-{item['name']}"
        found[name] = {**item, "name": name}
    return list(found.values())


def present(row: RecordRow, attempt: AttemptRow) -> dict[str, Any]:
    """The record as the API gives it."""
    parts = row.document
    return {
        "id": row.id,
        "ark": row.ark,
        "experiment": row.experiment,
        "step": row.step,
        "step_name": parts["step_name"],
        "attempt": row.attempt,
        "project": row.project,
        "lab": row.lab,
        "instrument": row.instrument,
        "protocol": row.protocol,
        "label": parts["label"],
        "planned": parts["planned"],
        "outputs": parts["outputs"],
        "objects": parts["objects"],
        "calibration": parts["calibration"],
        "simulated": row.simulated,
        "outcome": row.outcome,
        "error": parts["error"],
        "granted_at": to_text(attempt.granted_at),
        "started_at": to_text(attempt.started_at) if attempt.started_at else None,
        "ended_at": to_text(attempt.ended_at) if attempt.ended_at else None,
        "used_ms": attempt.used_ms,
        "charged_ms": attempt.charged_ms,
        "flags": [*parts["flags"], *(["estimated"] if attempt.estimated else [])],
        "cite": parts["cite"],
    }


def present_all(uow: UnitOfWork, rows: Sequence[RecordRow]) -> list[dict[str, Any]]:
    """Records as the API gives them, in their order."""
    attempts = {row.id: row for row in uow.run.attempts.find(id=[row.attempt for row in rows])} if rows else {}
    return [present(row, attempts[row.attempt]) for row in rows]
