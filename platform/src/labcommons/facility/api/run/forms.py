"""Forms of the room *run*, as interface.md promises them. Fields may be added, never renamed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, WithJsonSchema

#: RFC 3339 in UTC with milliseconds.
Time = Annotated[
    str, WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-10-01T09:00:00.000Z"]})
]


class Submitted(BaseModel):
    """What came of a submit: the study, and the experiments in the order of the list."""

    study: str = Field(examples=["std_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"])
    experiments: list[str] = Field(examples=[["exp_01J8Z3V5Q2M4T6W8Y0A1B3C5D8"]])


class StepAttempt(BaseModel):
    """An attempt as its step shows it."""

    attempt: str
    state: str = Field(examples=["RUNNING"])
    lab: str
    instrument: str
    granted_at: Time | None = None
    started_at: Time | None = None
    ended_at: Time | None = None
    fraction: float | None = Field(default=None, description="Progress of 1, where the instrument tells it")
    reason: str | None = None


class Step(BaseModel):
    """One action of an experiment. Amounts are lab ms."""

    id: str
    step: str = Field(examples=["compress"])
    action: str = Field(examples=["crush"])
    state: str = Field(examples=["ACTIVE"])
    instrument_type: str
    hold_ms: int
    charged_ms: int | None = None
    reason: str | None = None
    attempts: list[StepAttempt] = Field(default_factory=list)


class Eta(BaseModel):
    """When it is likely to end: by then with even odds, and by then in nine cases of ten."""

    p50_at: Time
    p90_at: Time


class Experiment(BaseModel):
    """One protocol with its arguments, and how far it is. `place`: READY steps ahead of it."""

    id: str = Field(examples=["exp_01J8Z3V5Q2M4T6W8Y0A1B3C5D8"])
    project: str
    study: str
    label: str | None = None
    protocol: str
    protocol_id: str
    arguments: dict[str, Any]
    labs: list[str]
    priority: int
    state: str = Field(examples=["running"], description="waiting running needs_person succeeded failed cancelled")
    cancelling: bool = False
    submitted_by: str
    submitted_at: Time
    ended_at: Time | None = None
    place: int | None = None
    eta: Eta | None = None
    steps: list[Step]


class Study(BaseModel):
    """Experiments submitted together; `states` counts them."""

    id: str = Field(examples=["std_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"])
    name: str
    project: str
    protocol: str
    experiments: int
    states: dict[str, int] = Field(examples=[{"succeeded": 20, "running": 4}])
    submitted_by: str
    submitted_at: Time


class Change(BaseModel):
    """A change of an attempt's state, and what caused it."""

    at: Time
    before: str | None = Field(default=None, alias="from", serialization_alias="from")
    after: str = Field(alias="to", serialization_alias="to")
    cause: str


class Attempt(BaseModel):
    """One permission to perform one step on one instrument. `used_ms`: wall time at the node; `charged_ms`: lab."""

    attempt: str = Field(examples=["att_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"])
    experiment: str
    step: str
    project: str
    lab: str
    instrument: str
    epoch: int
    fence: int
    state: str = Field(examples=["SUCCEEDED"])
    granted_at: Time | None = None
    started_at: Time | None = None
    ended_at: Time | None = None
    used_ms: int | None = None
    charged_ms: int | None = None
    outputs: dict[str, Any] = Field(default_factory=dict)
    objects: list[dict[str, Any]] = Field(default_factory=list)
    reason: str | None = None


class AttemptStory(Attempt):
    """An attempt with its whole story. `session`: the agent's life that it was granted to."""

    session: str | None = None
    fraction: float | None = None
    history: list[Change]


class Record(BaseModel):
    """One attempt's data: planned beside actual, with units, uncertainty, provenance and an identifier to cite."""

    id: str = Field(examples=["rec_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"])
    ark: str = Field(examples=["ark:/99999/lc101j8z3v5q2m4t6w8y0a1b3c5d7k"])
    experiment: str
    step: str
    step_name: str | None = None
    attempt: str
    project: str
    lab: str
    instrument: str
    protocol: str
    label: str | None = None
    planned: dict[str, Any]
    outputs: dict[str, Any]
    objects: list[dict[str, Any]]
    calibration: str | None = None
    simulated: bool
    outcome: str
    error: dict[str, Any] | None = None
    granted_at: Time | None = None
    started_at: Time | None = None
    ended_at: Time | None = None
    used_ms: int | None = None
    charged_ms: int | None = None
    flags: list[str]
    cite: str


class Why(BaseModel):
    """Why an experiment waits: for each step that does, a reason that a machine can check."""

    class Reason(BaseModel):
        """What stands between a step and its instrument. Without `constraint` the step could go."""

        step: str
        code: str = Field(examples=["busy"])
        text: str
        constraint: Any = None
        until: str | None = None

    experiment: str
    state: str
    reasons: list[Reason]
