"""What people write becomes Values; what comes back becomes words, rounded as a laboratory would."""

import time
from typing import Any

import pytest

from labcommons.client.arguments import to_values
from labcommons.client.commands.run import ending_code
from labcommons.client.tables import duration_text, plain_rows, value_text, when_text
from labcommons.core.errors import BareNumber, InvalidInput, UnknownUnit
from labcommons.core.quantities import Quantity

QUANTITY = {"kind": "quantity", "unit": "mm"}


@pytest.mark.parametrize(
    ("raw", "parameter", "value"),
    [
        ("2.10 mm", QUANTITY, {"value": "2.10", "unit": "mm"}),
        (Quantity.of("2.10", "mm"), QUANTITY, {"value": "2.10", "unit": "mm"}),
        ({"value": "1", "unit": "cm"}, QUANTITY, {"value": "1", "unit": "cm"}),
        (9, {"kind": "int"}, {"int": 9}),
        ("9", {"kind": "int"}, {"int": 9}),
        ("quick", {"kind": "enum", "values": ["quick", "slow"]}, {"enum": "quick"}),
        ("hello", {"kind": "text"}, "hello"),
        ("hello", None, "hello"),
    ],
)
def test_arguments_are_read_by_the_protocols_kinds(raw: Any, parameter: dict[str, Any] | None, value: Any) -> None:
    made = to_values({"x": raw}, {"x": parameter} if parameter else {})["x"]
    assert {k: v for k, v in made.items() if v is not None} == value if isinstance(made, dict) else made == value


@pytest.mark.parametrize(
    ("raw", "parameter", "error"),
    [
        (2.1, QUANTITY, BareNumber),
        (9, None, BareNumber),
        ("2.1", QUANTITY, BareNumber),
        ("2.1 florps", QUANTITY, UnknownUnit),
        (9.5, {"kind": "int"}, InvalidInput),
        (True, {"kind": "int"}, InvalidInput),
        ("nine", {"kind": "int"}, InvalidInput),
        ("inf", {"kind": "int"}, InvalidInput),
    ],
)
def test_what_says_too_little_is_refused_where_it_stands(
    raw: Any, parameter: dict[str, Any] | None, error: type[InvalidInput]
) -> None:
    with pytest.raises(error) as caught:
        to_values({"x": raw}, {"x": parameter} if parameter else {})
    assert caught.value.field in {"/arguments/x", "/arguments/x/unit"}
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"value": "12.3456", "unit": "mm", "u": "0.0213"}, "12.346 ± 0.021 mm"),
        ({"value": "12345", "unit": "1", "u": "130"}, "12340 ± 130"),
        ({"value": "12.50", "unit": "mm"}, "12.50 mm"),
        ({"value": "12.50", "unit": "mm", "u": "0"}, "12.50 ± 0 mm"),
        ({"int": 3}, "3"),
        ({"enum": "quick"}, "quick"),
        ("text", "text"),
        ({"array": {"unit": "V", "values": ["1", "2"]}}, "2 values in V"),
        ({"profile": {"unit": "Cel", "points": [1, 2, 3]}}, "profile of 3 points in Cel"),
    ],
)
def test_values_are_shown_as_a_laboratory_writes_them(value: Any, words: str) -> None:
    assert value_text(value) == words


@pytest.mark.parametrize(
    ("ms", "words"),
    [(None, "unknown"), (850, "850 ms"), (12_340, "12.3 s"), (500_000, "8 min 20 s"), (11_100_000, "3 h 05 min")],
)
def test_durations_are_shown_in_units_people_use(ms: int | None, words: str) -> None:
    assert duration_text(ms) == words


def test_rows_hold_one_output_each_with_what_it_hangs_on() -> None:
    record = {
        "id": "rec_1",
        "ark": "ark:/99999/lc1rec_1x",
        "experiment": "exp_1",
        "attempt": "att_1",
        "lab": "lab_1",
        "instrument": "ins_1",
        "outputs": {"force": {"value": "1.50", "unit": "N", "u": "0.1"}, "note": "ok"},
    }
    force, note = plain_rows([record])
    assert (force["value"], force["unit"], force["u"]) == (1.5, "N", 0.1)
    assert (note["value"], note["unit"]) == (None, None)


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (["succeeded"], 0),
        (["succeeded", "running"], 0),
        (["succeeded", "failed"], 1),
        (["cancelled"], 1),
        (["failed", "needs_person"], 5),
    ],
)
def test_exit_codes_tell_failed_work_from_work_that_needs_a_person(states: list[str], code: int) -> None:
    assert ending_code(states) == code


def test_times_are_shown_in_the_readers_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Lisbon")
    time.tzset()
    assert when_text("2026-07-01T09:00:00.000Z") == "2026-07-01 10:00:00 WEST"
    monkeypatch.undo()
    time.tzset()
