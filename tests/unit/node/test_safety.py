"""The lab's own word: allow-list, hours in its zone, ranges once more."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from labcommons.core.windows import parse_hours
from labcommons.federation.wire import Grant
from labcommons.node.decisions import Close
from labcommons.node.safety import AllowRule, Prepared, allowed, prepare
from unit.node.test_decisions import grant

MONDAY_NOON = datetime(2026, 7, 6, 11, 0, tzinfo=UTC)  # 12:00 in Lisbon
MONDAY_EARLY = datetime(2026, 7, 6, 6, 59, tzinfo=UTC)  # 07:59 there
HOURS = "Mon-Fri 08:00-20:00"
ZONE = "Europe/Lisbon"
PRESS: dict[str, Any] = {
    "name": "press",
    "offers": [
        {
            "capability": "compression.test@1",
            "actions": {
                "crush": {
                    "driver_action": "squeeze",
                    "parameters": {
                        "n": {"kind": "int", "min": "6", "max": "12"},
                        "r": {"kind": "quantity", "unit": "mm", "min": "1.5", "max": "2.5"},
                        "mode": {"kind": "enum", "values": ["quick", "slow"]},
                        "volts": {"kind": "array", "unit": "V", "max": "2"},
                        "heat": {"kind": "profile", "unit": "Cel", "max": "450"},
                        "note": {"kind": "text"},
                    },
                    "takes": {"well": {"kind": "sample", "becomes": "consumed"}},
                }
            },
        }
    ],
}
GOOD: dict[str, Any] = {
    "n": {"int": 9},
    "r": {"value": "0.2", "unit": "cm"},
    "mode": {"enum": "quick"},
    "volts": {"array": {"unit": "mV", "values": ["100", "2000"]}},
    "heat": {"profile": {"unit": "Cel", "points": [{"t_ms": 0, "value": "25"}], "interpolation": "linear"}},
    "note": "a word",
    "well": {"sample": "smp_01J8Z3V5Q2M4T6W8Y0A1B3C5D7", "amount": None},
}


def refusal(rules: list[AllowRule], now: datetime = MONDAY_NOON, **over: Any) -> Close | None:
    return allowed(grant(**over), rules, now, ZONE)


class TestAllowList:
    @pytest.mark.parametrize("pattern", ["*", "colour.*", "colour.mix", "sha256:" + "a" * 64])
    def test_patterns_and_hashes(self, pattern: str) -> None:
        assert refusal([AllowRule(pattern)]) is None

    @pytest.mark.parametrize("pattern", ["colour", "mix", "COLOUR.*", "sha256:" + "b" * 64])
    def test_what_no_line_names_is_not_allowed(self, pattern: str) -> None:
        found = refusal([AllowRule(pattern)])
        assert found is not None
        assert found.reason == "not_allowed"
        assert "no line of the allow-list" in found.text

    def test_an_empty_list_allows_nothing(self) -> None:
        assert refusal([]) is not None

    def test_without_a_name_only_the_star_and_hashes_match(self) -> None:
        assert refusal([AllowRule("colour.*")], protocol_id=None) is not None
        assert refusal([AllowRule("*")], protocol_id=None) is None
        assert refusal([AllowRule("sha256:" + "a" * 64)], protocol_id=None) is None

    def test_projects(self) -> None:
        assert refusal([AllowRule("*", frozenset({"prj_1"}))]) is None
        found = refusal([AllowRule("*", frozenset({"prj_2"}))])
        assert found is not None
        assert "prj_1 is not listed" in found.text

    def test_hours_are_those_of_the_lab(self) -> None:
        rule = AllowRule("*", None, parse_hours(HOURS), HOURS)
        assert refusal([rule]) is None
        found = refusal([rule], MONDAY_EARLY)
        assert found is not None
        assert "2026-07-06T07:00:00.000Z" in found.text

    def test_one_line_that_allows_is_enough_and_each_that_does_not_says_why(self) -> None:
        shut = AllowRule("colour.*", None, parse_hours("Sat 08:00-09:00"), "Sat 08:00-09:00")
        other = AllowRule("*", frozenset({"prj_9"}))
        assert refusal([shut, other, AllowRule("colour.mix")]) is None
        found = refusal([shut, other])
        assert found is not None
        assert "outside the hours" in found.text
        assert "not listed" in found.text


def prepared(**over: Any) -> Prepared | Close:
    arguments = {name: value for name, value in {**GOOD, **over}.items() if value is not ...}
    return prepare(_grant(arguments), PRESS)


def _grant(arguments: dict[str, Any], action: str = "crush") -> Grant:
    return grant(arguments=arguments, action=action)


class TestArguments:
    def test_units_become_the_instruments_own(self) -> None:
        found = prepared()
        assert isinstance(found, Prepared)
        assert found.action == "squeeze"
        assert found.arguments["r"] == {"value": "2", "unit": "mm"}
        assert found.arguments["volts"]["array"] == {"unit": "V", "values": ["0.100", "2.000"]}
        assert found.arguments["well"] == GOOD["well"]

    @pytest.mark.parametrize(
        ("over", "reason"),
        [
            ({"n": {"int": 13}}, "out_of_range"),
            ({"n": {"int": 5}}, "out_of_range"),
            ({"r": {"value": "0.26", "unit": "cm"}}, "out_of_range"),
            ({"volts": {"array": {"unit": "V", "values": ["0", "2.1"]}}}, "out_of_range"),
            ({"heat": {"profile": {"unit": "Cel", "points": [{"t_ms": 0, "value": "451"}]}}}, "out_of_range"),
            ({"heat": {"profile": {"unit": "K", "points": [{"t_ms": 0, "value": "300"}]}}}, "bad_request"),
            ({"r": {"value": "2", "unit": "V"}}, "bad_request"),
            ({"r": 2}, "bad_request"),
            ({"mode": {"enum": "fast"}}, "bad_request"),
            ({"n": {"enum": "nine"}}, "bad_request"),
            ({"n": ...}, "bad_request"),
            ({"extra": {"int": 1}}, "bad_request"),
            ({"well": "smp"}, "bad_request"),
        ],
    )
    def test_each_way_to_be_wrong(self, over: dict[str, Any], reason: str) -> None:
        found = prepared(**over)
        assert isinstance(found, Close)
        assert found.reason == reason
        assert found.text

    def test_an_action_by_the_drivers_own_name(self) -> None:
        assert isinstance(prepare(_grant(GOOD, "squeeze"), PRESS), Prepared)

    def test_an_action_that_is_not_offered(self) -> None:
        found = prepare(_grant(GOOD, "melt"), PRESS)
        assert isinstance(found, Close)
        assert found.reason == "unsupported"
