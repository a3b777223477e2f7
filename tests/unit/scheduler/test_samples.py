"""The sample's table, and the ways through it."""

from __future__ import annotations

import pytest

from labcommons.core.errors import InvalidTransition
from labcommons.scheduler import samples
from labcommons.scheduler.samples import Sample, SampleEvent, SampleState
from support.clocks import at

S = SampleState
E = SampleEvent


def after(*happenings: SampleEvent) -> Sample:
    sample = Sample("smp_1")
    for n, event in enumerate(happenings):
        sample, _ = samples.step(sample, event, at(n), cause="stp_1", lab="lab_1")
    return sample


@pytest.mark.parametrize(
    ("happenings", "state"),
    [
        ((E.MADE,), S.AVAILABLE),
        ((E.NEVER_MADE,), S.VOID),
        ((E.DOUBTED, E.MADE), S.AVAILABLE),
        ((E.DOUBTED, E.NEVER_MADE), S.VOID),
        ((E.MADE, E.RESERVED), S.RESERVED),
        ((E.MADE, E.RESERVED, E.RESERVATION_ENDED), S.AVAILABLE),
        ((E.MADE, E.RESERVED, E.GRANTED), S.COMMITTED),
        ((E.MADE, E.RESERVED, E.GRANTED, E.NOT_TOUCHED), S.RESERVED),
        ((E.MADE, E.RESERVED, E.GRANTED, E.USED_UP), S.CONSUMED),
        ((E.MADE, E.RESERVED, E.GRANTED, E.GIVEN_BACK), S.AVAILABLE),
        ((E.MADE, E.RESERVED, E.GRANTED, E.DOUBTED), S.QUARANTINED),
        ((E.MADE, E.RESERVED, E.GRANTED, E.DOUBTED, E.USED_UP), S.CONSUMED),
        ((E.MADE, E.RESERVED, E.GRANTED, E.DOUBTED, E.NOT_TOUCHED), S.RESERVED),
    ],
)
def test_the_ways_of_a_sample(happenings: tuple[SampleEvent, ...], state: SampleState) -> None:
    sample = after(*happenings)
    assert (sample.state, sample.lab) == (state, "lab_1")
    again, effects = samples.step(sample, happenings[-1], at(99))
    assert (again, effects) == (sample, ())


@pytest.mark.parametrize(
    ("happenings", "event"),
    [((), E.RESERVED), ((E.MADE,), E.GRANTED), ((E.MADE, E.RESERVED), E.USED_UP), ((E.NEVER_MADE,), E.MADE)],
)
def test_an_illegal_event_raises_with_the_story(happenings: tuple[SampleEvent, ...], event: SampleEvent) -> None:
    sample = after(*happenings)
    with pytest.raises(InvalidTransition, match="smp_1: illegal") as caught:
        samples.step(sample, event, at(9))
    for passage in sample.history:
        assert passage.cause in str(caught.value)
