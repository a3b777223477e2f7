"""Arguments and outputs against a description."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from labcommons.node.drivers.contract import Action, Description, Health, InstrumentRefused, Status
from labcommons.node.drivers.results import judge, output_problems, read_file, settle_files
from labcommons.node.drivers.values import fit, fit_action, limits, same_arguments

SAMPLE = "smp_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"
ANNEAL = {
    "name": "anneal",
    "parameters": {
        "schedule": {"kind": "profile", "unit": "Cel", "min": "0", "max": "900"},
        "gas": {"kind": "enum", "values": ["argon", "air"]},
        "bias": {"kind": "array", "unit": "V", "max": "5"},
        "piece": {"kind": "sample", "unit": "mg", "max": "100"},
        "note": {"kind": "text"},
        "n": {"kind": "int", "min": "1"},
    },
    "outputs": {"mass": {"kind": "quantity", "unit": "mg"}, "trace": {"kind": "array", "unit": "K"}},
    "duration": {"expected_ms": 10, "max_ms": 20},
}
DESCRIPTION = {
    "protocol": 1,
    "instrument": {"name": "Furnace"},
    "actions": [ANNEAL],
    "remembers_attempts": True,
    "can_void": False,
    "on_disconnect": "pause",
    "simulated": False,
}
FURNACE = Description.from_json(DESCRIPTION)
ACTION = FURNACE.actions[0]


def arguments(**other: Any) -> dict[str, Any]:
    points = [{"t_ms": 0, "value": "298.15"}, {"t_ms": 600, "value": "723.15"}]
    return {
        "schedule": {"profile": {"unit": "K", "points": points, "interpolation": "linear"}},
        "gas": {"enum": "argon"},
        "bias": {"array": {"unit": "mV", "values": ["100", "200"]}},
        "piece": {"sample": SAMPLE, "amount": {"value": "0.05", "unit": "g"}},
        "note": "slow",
        "n": {"int": 2},
    } | other


def test_each_kind_is_brought_into_the_described_unit() -> None:
    found = fit(ACTION, arguments(), convert=True)
    assert found["schedule"]["profile"]["unit"] == "Cel"
    assert [float(p["value"]) for p in found["schedule"]["profile"]["points"]] == [25, 450]
    assert found["bias"]["array"] == {"unit": "V", "values": ["0.100", "0.200"]} or [
        float(v) for v in found["bias"]["array"]["values"]
    ] == [0.1, 0.2]
    assert found["piece"]["amount"]["unit"] == "mg"


@pytest.mark.parametrize(
    ("changed", "code", "word"),
    [
        ({"gas": {"enum": "steam"}}, "bad_request", "not one of: argon, air"),
        ({"gas": "argon"}, "bad_request", "kind text"),
        ({"n": {"int": 0}}, "out_of_range", "not within 1 to"),
        ({"bias": {"array": {"unit": "V", "values": ["1", "5.1"]}}}, "out_of_range", "bias = 5.1 V"),
        ({"piece": {"sample": SAMPLE, "amount": {"value": "1", "unit": "g"}}}, "out_of_range", "piece"),
        ({"bias": {"array": {"unit": "A", "values": []}}}, "bad_request", "bias"),
        ({"schedule": {"profile": {"unit": "Cel", "points": [{"t_ms": 0, "value": "901"}], "interpolation": "step"}}},
         "out_of_range", "schedule = 901"),
        ({"schedule": {"profile": {"unit": "Cel", "points": [{"t_ms": 5, "value": "1"}, {"t_ms": 5, "value": "2"}],
                                   "interpolation": "step"}}}, "bad_request", "rise strictly"),
        ({"more": "x"}, "bad_request", "no parameter 'more'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(changed: dict[str, Any], code: str, word: str) -> None:
    with pytest.raises(InstrumentRefused, match=word) as refused:
        fit(ACTION, arguments(**changed), convert=True)
    assert refused.value.code == code


def test_what_is_missing_is_refused() -> None:
    given = arguments()
    del given["note"]
    with pytest.raises(InstrumentRefused, match="'note' of anneal is missing"):
        fit(ACTION, given, convert=True)
    with pytest.raises(InstrumentRefused, match="must be an object"):
        fit_action(FURNACE, "anneal", [], convert=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["schedule", "bias", "piece"])
def test_an_instrument_refuses_other_units(name: str) -> None:
    native = fit(ACTION, arguments(), convert=True)
    assert fit(ACTION, native, convert=False) == native
    with pytest.raises(InstrumentRefused, match="described is"):
        fit(ACTION, native | {name: arguments()[name]}, convert=False)


def test_numbers_compare_as_numbers() -> None:
    one = {
        "r": {"value": "12.50", "unit": "mm"},
        "a": {"array": {"unit": "V", "values": ["1.0"]}},
        "s": {"amount": None},
    }
    other = {"r": {"value": "12.5", "unit": "mm", "u": None}, "a": {"array": {"unit": "V", "values": ["1"]}}, "s": {}}
    assert same_arguments(one, other)
    assert not same_arguments(one, {**other, "r": {"value": "12.5", "unit": "cm"}})
    assert same_arguments({"t": {"value": "x"}}, {"t": {"value": "x"}})


def test_limits_are_decimals_as_text() -> None:
    with pytest.raises(ValueError, match="max must be a decimal as text"):
        limits({"max": 5})
    with pytest.raises(ValueError, match="min must be a decimal"):
        limits({"min": "low"})


@pytest.mark.parametrize(
    ("outputs", "flag"),
    [
        ({"mass": {"value": "1", "unit": "g"}, "trace": {"array": {"unit": "K", "values": []}}}, "wrong_unit"),
        ({"mass": {"value": "1", "unit": "mg"}, "trace": {"array": {"unit": "Cel", "values": []}}}, "wrong_unit"),
        ({"mass": {"value": "1", "unit": "mg"}}, "wrong_output"),
        ({"mass": "heavy", "trace": {"array": {"unit": "K", "values": []}}}, "wrong_output"),
        ({"mass": 4, "trace": {"array": {"unit": "K", "values": []}}}, "wrong_output"),
        (None, "wrong_output"),
    ],
)
def test_outputs_other_than_described_fail_and_keep_the_data(outputs: Any, flag: str) -> None:
    found = judge(Status("done", result={"outputs": outputs}), FURNACE, "anneal")
    assert (found.phase, found.flags) == ("failed", (flag,))
    assert found.result == {"outputs": outputs}
    assert found.error is not None
    assert found.error["code"] == flag


def test_what_is_as_described_passes_and_what_was_stopped_may_be_partial() -> None:
    whole = {"mass": {"value": "1", "unit": "mg"}, "trace": {"array": {"unit": "K", "values": ["1"]}}}
    done = Status("done", result={"outputs": whole})
    assert judge(done, FURNACE, None) == done
    stopped = Status("stopped", result={"outputs": {"mass": whole["mass"]}})
    assert judge(stopped, FURNACE, "anneal") == stopped
    odd = judge(Status("stopped", result={"outputs": {"colour": whole["mass"]}}), FURNACE, "anneal")
    assert (odd.phase, odd.flags) == ("stopped", ("wrong_output",))
    assert output_problems(ACTION, {**whole, "x": "y"}, complete=True) == [
        ("wrong_output", "the output 'x' is not described")
    ]


def test_files_are_checked_and_stay_below_the_shared_folder(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "big.bin").write_bytes(b"abc")
    (tmp_path / "secret").write_bytes(b"key")
    good = hashlib.sha256(b"abc").hexdigest()
    entries = [
        {"name": "a", "media_type": "text/plain", "sha256": good, "base64": "YWJj"},
        {"name": "b", "sha256": good, "path": "big.bin"},
    ]
    bad = [{"name": "c", "path": "../secret"}, {"name": "d", "base64": "%%"}, {"name": "e", "path": "none"}, "f"]
    result, flags = settle_files({"files": [*entries, *bad]}, shared)
    assert [f["name"] for f in result["files"]] == ["a", "b"]
    assert flags == ("missing_file",)
    assert [b"".join(read_file(f)) for f in result["files"]] == [b"abc", b"abc"]
    assert settle_files({"outputs": {}}, None) == ({"outputs": {}, "files": []}, ())


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"protocol": 2}, "protocol"),
        ({"instrument": "x"}, "instrument: must be an object"),
        ({"actions": {}}, "actions: must be a list"),
        ({"remembers_attempts": "yes"}, "remembers_attempts: must be true or false"),
        ({"remembers_attempts": False, "can_void": True}, "can_void: implies"),
        ({"on_disconnect": "panic"}, "on_disconnect: must be one of"),
        ({"time_scale": 60}, "time_scale: must be a positive decimal"),
        ({"time_scale": "0"}, "time_scale: must be a positive decimal"),
        ({"time_scale": "fast"}, "time_scale: must be a positive decimal"),
        ({"actions": [{**ANNEAL, "name": ""}]}, "actions/0/name"),
        ({"actions": [{**ANNEAL, "duration": {"expected_ms": 1.5, "max_ms": 2}}]}, "expected_ms: must be whole"),
        ({"actions": [{**ANNEAL, "duration": {"expected_ms": 3, "max_ms": 2}}]}, "max_ms is below"),
        ({"actions": [{**ANNEAL, "parameters": {"p": 1}}]}, "actions/0/parameters/p"),
    ],
)
def test_a_description_that_makes_no_sense_names_the_field(changed: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Description.from_json(DESCRIPTION | changed)


def test_descriptions_and_statuses_are_read_as_written() -> None:
    assert Description.from_json(FURNACE.to_json()) == FURNACE
    assert isinstance(ACTION, Action)
    assert Health.from_json({"state": "busy", "more": 1}) == Health("busy")
    for reply, word in (({"phase": "gone"}, "phase"), ({"phase": "done", "fraction": "half"}, "fraction"),
                        ({"phase": "done", "result": 4}, "result")):  # fmt: skip
        with pytest.raises(ValueError, match=word):
            Status.from_json(reply)
    with pytest.raises(ValueError, match="state: must be one of"):
        Health.from_json({})
    assert Status.from_json({"phase": "running", "fraction": 1.7}).fraction == 1.0
