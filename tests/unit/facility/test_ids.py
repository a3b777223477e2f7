"""The mint: later identifiers sort after earlier ones, whatever the clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from labcommons.core.ids import AttemptId, ExperimentId
from labcommons.facility.clock import SystemClock
from labcommons.facility.entropy import RandomIds


class _Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 10, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0


def test_identifiers_rise_within_a_millisecond_and_when_the_clock_is_set_back() -> None:
    clock = _Clock()
    ids = RandomIds(clock)
    made = [ids.mint(ExperimentId) for _ in range(100)]
    clock.at -= timedelta(hours=1)
    made += [ids.mint(ExperimentId) for _ in range(100)]
    clock.at += timedelta(hours=2)
    made += [ids.mint(ExperimentId) for _ in range(100)]
    assert made == sorted(made)
    assert len(set(made)) == 300
    assert all(ExperimentId.parse(one) == one for one in made)


def test_kinds_are_what_was_asked_for() -> None:
    ids = RandomIds(SystemClock())
    assert isinstance(ids.mint(AttemptId), AttemptId)
    assert ids.mint(AttemptId).startswith("att_")


def test_two_mints_do_not_meet() -> None:
    clock = _Clock()
    assert RandomIds(clock).mint(AttemptId) != RandomIds(clock).mint(AttemptId)


def test_the_systems_clock_is_utc_in_milliseconds_and_never_goes_back() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.now().microsecond % 1000 == 0
    assert clock.monotonic() <= clock.monotonic()
