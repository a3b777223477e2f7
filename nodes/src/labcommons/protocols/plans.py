"""What compiling gives: a plan that can be stored and granted from, or the reasons why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from labcommons.core.errors import LabCommonsError
from labcommons.core.ids import InstrumentId, LabId
from labcommons.core.values import Value, value_from_json, value_to_json
from labcommons.protocols.documents import Argument, argument_from_json, argument_to_json
from labcommons.protocols.manifests import ManifestInstrument

__all__ = ["Candidate", "Plan", "PlannedCandidate", "PlannedStep", "Reason", "Refusal"]


@dataclass(frozen=True)
class Candidate:
    """An instrument that might run a step, as the facility knows it; ``spec`` is its part of the node's manifest."""

    instrument: InstrumentId
    lab: LabId
    lab_name: str
    name: str
    type: str
    simulated: bool
    spec: ManifestInstrument


@dataclass(frozen=True)
class Reason:
    """Why something cannot run. ``field`` is a JSON pointer: see ``located``; ``text`` says it in a sentence."""

    step: str | None
    instrument: str | None
    code: str
    limit: str | None
    field: str
    remedy: str
    text: str = ""

    @classmethod
    def of(cls, error: LabCommonsError, *, step: str | None = None, instrument: str | None = None) -> Reason:
        """The reason that an error of ours gives."""
        limit = error.extra.get("limit")
        text = None if limit is None else str(limit)
        return cls(step, instrument, error.word, text, error.field, error.remedy, error.detail)

    def located(self, index: int) -> str:
        """The pointer into a whole submit body, for the experiment at ``index``.

        ``/protocol`` (with a pointer into the document behind it) and ``/project`` are members of the body itself.
        """
        whole = self.field.startswith(("/protocol", "/project"))
        return self.field if whole else f"/experiments/{index}{self.field}"

    def to_json(self) -> dict[str, str | None]:
        """``{step, instrument, code, limit, field, remedy, text}``."""
        return {
            "step": self.step,
            "instrument": self.instrument,
            "code": self.code,
            "limit": self.limit,
            "field": self.field,
            "remedy": self.remedy,
            "text": self.text,
        }


@dataclass(frozen=True)
class Refusal:
    """No plan, and at least one reason."""

    reasons: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        """``{"reasons": [...]}``."""
        return {"reasons": [reason.to_json() for reason in self.reasons]}


@dataclass(frozen=True)
class PlannedCandidate:
    """An instrument that can run the step; times in milliseconds of its lab's time."""

    instrument: InstrumentId
    lab: LabId
    expected_ms: int
    maximum_ms: int
    driver_action: str


@dataclass(frozen=True)
class PlannedStep:
    """A step ready to be stored. ``arguments``: values, and references to what is not known yet (outputs, samples).

    ``hold_ms``: the largest maximum among the candidates. ``timeout_ms``: the document's, else ``hold_ms``.
    """

    id: str
    role: str
    action: str
    capability: str
    after: tuple[str, ...]
    arguments: Mapping[str, Argument]
    guard: str | None
    timeout_ms: int
    instrument_type: str
    candidates: tuple[PlannedCandidate, ...]
    hold_ms: int
    repeatable: bool
    on_partition: Literal["continue", "safe_point"]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; ``from_json`` gives an equal step back."""
        return {
            "id": self.id,
            "role": self.role,
            "action": self.action,
            "capability": self.capability,
            "after": list(self.after),
            "arguments": {name: argument_to_json(argument) for name, argument in self.arguments.items()},
            "guard": self.guard,
            "timeout_ms": self.timeout_ms,
            "instrument_type": self.instrument_type,
            "candidates": [
                {
                    "instrument": str(c.instrument),
                    "lab": str(c.lab),
                    "expected_ms": c.expected_ms,
                    "maximum_ms": c.maximum_ms,
                    "driver_action": c.driver_action,
                }
                for c in self.candidates
            ],
            "hold_ms": self.hold_ms,
            "repeatable": self.repeatable,
            "on_partition": self.on_partition,
        }

    @classmethod
    def from_json(cls, obj: Mapping[str, Any]) -> PlannedStep:
        """The step that ``to_json`` wrote (our own rows: not checked again)."""
        candidates = tuple(
            PlannedCandidate(
                InstrumentId(c["instrument"]), LabId(c["lab"]), c["expected_ms"], c["maximum_ms"], c["driver_action"]
            )
            for c in obj["candidates"]
        )
        arguments = {name: argument_from_json(argument) for name, argument in obj["arguments"].items()}
        changed = {"candidates": candidates, "arguments": arguments, "after": tuple(obj["after"])}
        return cls(**{**obj, **changed})


@dataclass(frozen=True)
class Plan:
    """The compiled experiment: its steps in the document's order, what they hold by instrument type, and the
    experiment's arguments with the document's defaults (guards read them)."""

    steps: tuple[PlannedStep, ...]
    cost_ms: Mapping[str, int]
    parameters: Mapping[str, Value] = field(default_factory=dict)

    def step(self, name: str) -> PlannedStep:
        """The step of that id. Raises ``KeyError``."""
        for step in self.steps:
            if step.id == name:
                return step
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; ``from_json`` gives an equal plan back."""
        parameters = {name: value_to_json(value) for name, value in self.parameters.items()}
        return {
            "steps": [step.to_json() for step in self.steps],
            "cost_ms": dict(self.cost_ms),
            "parameters": parameters,
        }

    @classmethod
    def from_json(cls, obj: Mapping[str, Any]) -> Plan:
        """The plan that ``to_json`` wrote."""
        parameters = {name: value_from_json(value) for name, value in obj["parameters"].items()}
        return cls(tuple(PlannedStep.from_json(step) for step in obj["steps"]), dict(obj["cost_ms"]), parameters)

    def summary(self) -> dict[str, Any]:
        """The answer to a compile: ``steps: [{step, action, instrument_type, candidates, hold_ms}], cost_ms``."""
        steps = [
            {
                "step": step.id,
                "action": step.action,
                "instrument_type": step.instrument_type,
                "candidates": [
                    {
                        "instrument": str(c.instrument),
                        "lab": str(c.lab),
                        "expected_ms": c.expected_ms,
                        "maximum_ms": c.maximum_ms,
                    }
                    for c in step.candidates
                ],
                "hold_ms": step.hold_ms,
            }
            for step in self.steps
        ]
        return {"steps": steps, "cost_ms": dict(self.cost_ms)}
