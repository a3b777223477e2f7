"""Moments on the wire, and a lab's hours across the changes of its clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcommons.core.errors import InvalidInput
from labcommons.core.times import from_ms, from_text, to_ms, to_text
from labcommons.core.windows import Hours, check_zone, parse_hours


@given(st.integers(0, 253_370_764_800_000_000))
def test_moments_come_back_to_the_millisecond(microseconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    cut = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert from_text(to_text(moment)) == cut
    assert from_ms(to_ms(moment)) == cut


def test_the_form_on_the_wire() -> None:
    moment = datetime(2026, 10, 1, 11, 0, 0, 7999, tzinfo=timezone(timedelta(hours=2)))
    assert to_text(moment) == "2026-10-01T09:00:00.007Z"
    assert from_text("2026-10-01t11:00:00+02:00") == datetime(2026, 10, 1, 9, tzinfo=UTC)
    assert from_text("2026-10-01T09:00:00.123456789Z").microsecond == 123456


@pytest.mark.parametrize(
    "text", ["2026-10-01T09:00:00", "2026-13-01T09:00:00Z", "yesterday", "", 5, None, "2026-10-01", "9" * 99]
)
def test_what_is_no_time(text: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        from_text(text, "/at")
    assert (caught.value.word, caught.value.field) == ("bad_time", "/at")


def test_a_moment_needs_its_zone() -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001
    for convert in (to_text, to_ms):
        with pytest.raises(ValueError, match="without a zone"):
            convert(naive)


def at(text: str) -> datetime:
    return from_text(text)


@pytest.mark.parametrize(
    ("rule", "moment", "inside"),
    [
        # 2026-10-05 is a Monday; Lisbon is at UTC+1 until 2026-10-25.
        ("Mon-Fri 08:00-20:00", "2026-10-05T07:00:00Z", True),
        ("Mon-Fri 08:00-20:00", "2026-10-05T06:59:59Z", False),
        ("Mon-Fri 08:00-20:00", "2026-10-05T19:00:00Z", False),
        ("Mon-Fri 08:00-20:00", "2026-10-04T12:00:00Z", False),
        # After the change the same wall clock is another moment.
        ("Mon-Fri 08:00-20:00", "2026-10-26T07:30:00Z", False),
        ("Mon-Fri 08:00-20:00", "2026-10-26T08:00:00Z", True),
        # And in spring: 2026-03-29 is the Sunday of the change.
        ("Sun 08:00-20:00", "2026-03-29T07:00:00Z", True),
        ("Sun 08:00-20:00", "2026-03-22T07:30:00Z", False),
        ("Fri-Mon 00:00-24:00", "2026-10-04T12:00:00Z", True),
        ("Fri-Mon 00:00-24:00", "2026-10-06T12:00:00Z", False),
        ("Sat, Sun 22:00-06:00", "2026-10-05T04:00:00Z", True),
        ("Sat,Sun 22:00-06:00", "2026-10-05T05:00:00Z", False),
        ("Sat,Sun 22:00-06:00", "2026-10-05T21:30:00Z", False),
        ("08:00-09:00; 12:00-13:00", "2026-10-05T11:30:00Z", True),
        ("08:00-09:00; 12:00-13:00", "2026-10-05T10:00:00Z", False),
        ("always", "2026-10-05T10:00:00Z", True),
    ],
)
def test_hours_are_read_on_the_labs_clock(rule: str, moment: str, inside: bool) -> None:
    assert parse_hours(rule).contains(at(moment), "Europe/Lisbon") is inside


def test_the_next_opening() -> None:
    hours = parse_hours("Mon-Fri 08:00-20:00")
    assert hours.next_open(at("2026-10-02T19:30:12Z"), "Europe/Lisbon") == at("2026-10-05T07:00:00Z")
    inside = at("2026-10-05T10:00:12Z")
    assert hours.next_open(inside, "Europe/Lisbon") == inside
    assert parse_hours("always") == Hours(())
    # 02:30 does not exist on the Sunday of the change in Berlin: the next one is a week later.
    gap = parse_hours("Sun 02:30-02:45")
    assert gap.next_open(at("2026-03-28T12:00:00Z"), "Europe/Berlin") == at("2026-04-05T00:30:00Z")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mon",
        "Mon-Fri",
        "Mon-Fri 8-20",
        "Foo 08:00-20:00",
        "Mon- 08:00-20:00",
        "08:00-08:00",
        "24:00-06:00",
        "08:60-09:00",
        "25:00-26:00",
        "Mon-Fri 08:00-20:00;",
        None,
        5,
        "x" * 501,
        "Mon-Fri-Sat 08:00-10:00",
    ],
)
def test_what_names_no_hours(text: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_hours(text, "/hours")
    assert (caught.value.word, caught.value.field) == ("bad_hours", "/hours")


@pytest.mark.parametrize("name", ["Nowhere/City", "", "../etc/passwd", "a\x00b"])
def test_what_is_no_zone(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_zone(name, "/time_zone")
    assert (caught.value.word, caught.value.field) == ("bad_zone", "/time_zone")
