"""The life of a sample: one table of transitions and the events that move it.

A sample is EXPECTED from the submission on, for the step that will make it; later steps of its own experiment may
count on it while it is only expected (they wait for that step anyhow), which does not change its state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from labcommons.core.errors import InvalidTransition
from labcommons.scheduler.attempts import Passage
from labcommons.scheduler.events import Audit

__all__ = ["TRANSITIONS", "Sample", "SampleEvent", "SampleState", "step"]


class SampleState(StrEnum):
    """States of a sample."""

    EXPECTED = "EXPECTED"
    AVAILABLE = "AVAILABLE"
    RESERVED = "RESERVED"
    COMMITTED = "COMMITTED"
    CONSUMED = "CONSUMED"
    QUARANTINED = "QUARANTINED"
    VOID = "VOID"


_S = SampleState

#: Every arrow there is.
TRANSITIONS: Mapping[SampleState, frozenset[SampleState]] = MappingProxyType(
    {
        _S.EXPECTED: frozenset({_S.AVAILABLE, _S.VOID, _S.QUARANTINED}),
        _S.AVAILABLE: frozenset({_S.RESERVED}),
        _S.RESERVED: frozenset({_S.COMMITTED, _S.AVAILABLE}),
        _S.COMMITTED: frozenset({_S.CONSUMED, _S.AVAILABLE, _S.RESERVED, _S.QUARANTINED}),
        _S.QUARANTINED: frozenset({_S.AVAILABLE, _S.RESERVED, _S.CONSUMED, _S.VOID}),
        _S.CONSUMED: frozenset(),
        _S.VOID: frozenset(),
    }
)


class SampleEvent(StrEnum):
    """What happens to a sample."""

    MADE = "made"  # the step that makes it is DONE; ``lab`` says where
    NEVER_MADE = "never_made"  # that step ended otherwise, and nothing is left of it
    RESERVED = "reserved"  # a step that takes it was submitted, or waits now that it is made
    RESERVATION_ENDED = "reservation_ended"  # that step ended without a grant
    GRANTED = "granted"  # that step was granted
    NOT_TOUCHED = "not_touched"  # its attempt did not run; the step goes back to the queue
    USED_UP = "used_up"  # its attempt ran and, as the action declares, nothing is left
    GIVEN_BACK = "given_back"  # its attempt ran and, as the action declares, it is whole
    DOUBTED = "doubted"  # an attempt that touches or makes it is UNKNOWN, or failed in mid-run


_LEADS_TO: Mapping[SampleEvent, SampleState] = MappingProxyType(
    {
        SampleEvent.MADE: _S.AVAILABLE,
        SampleEvent.NEVER_MADE: _S.VOID,
        SampleEvent.RESERVED: _S.RESERVED,
        SampleEvent.RESERVATION_ENDED: _S.AVAILABLE,
        SampleEvent.GRANTED: _S.COMMITTED,
        SampleEvent.NOT_TOUCHED: _S.RESERVED,
        SampleEvent.USED_UP: _S.CONSUMED,
        SampleEvent.GIVEN_BACK: _S.AVAILABLE,
        SampleEvent.DOUBTED: _S.QUARANTINED,
    }
)


@dataclass(frozen=True)
class Sample:
    """A sample; ``lab``: where it is, once it is made."""

    sample: str
    state: SampleState = SampleState.EXPECTED
    lab: str | None = None
    history: tuple[Passage, ...] = ()


def step(
    sample: Sample, event: SampleEvent, at: datetime, *, cause: str = "", lab: str | None = None
) -> tuple[Sample, tuple[Audit, ...]]:
    """What ``event`` makes of ``sample``; a repetition changes nothing. Raises ``InvalidTransition`` with its story."""
    after = _LEADS_TO[event]
    if sample.state is after:
        return sample, ()
    why = f"{event} {cause}".strip()
    if after not in TRANSITIONS[sample.state]:
        story = "; ".join(f"{p.at.isoformat()} {p.before} -> {p.after} ({p.cause})" for p in sample.history)
        raise InvalidTransition(
            f"sample {sample.sample}: illegal at {at.isoformat()}: {sample.state} -> {after} ({why}). "
            f"Its story: {story or 'EXPECTED, nothing since'}"
        )
    passage = Passage(at, sample.state, after, why)
    moved = replace(sample, state=after, lab=lab or sample.lab, history=(*sample.history, passage))
    return moved, (Audit(at, sample.sample, sample.state, after, why),)
