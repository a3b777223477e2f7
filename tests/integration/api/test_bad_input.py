"""Everything that can be wrong with a submission: refused with a pointer and a remedy, nothing stored; mended, it goes.

Each case says what is wrong, what the problem document must say, and what its remedy asks for; the test does that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from integration.api.house import House
from integration.api.test_problems import problem

Change = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """Arguments that are wrong, the problem, and arguments as the remedy asks for them."""

    wrong: Change
    word: str
    field: str
    remedy: str
    right: Change


CASES = {
    "value out of range": Case(
        {"theta": {"value": "250", "unit": "deg"}},
        "out_of_range",
        "/experiments/0/arguments/theta",
        "200",
        {"theta": {"value": "200", "unit": "deg"}},
    ),
    "wrong dimension": Case(
        {"theta": {"value": "40", "unit": "mm"}},
        "wrong_dimension",
        "/experiments/0/arguments/theta",
        "deg",
        {"theta": {"value": "40", "unit": "deg"}},
    ),
    "unknown unit": Case(
        {"r": {"value": "2.1", "unit": "smoot"}},
        "unknown_unit",
        "/experiments/0/arguments/r/unit",
        '"unit": "mm"',
        {"r": {"value": "2.1", "unit": "mm"}},
    ),
    "bare number": Case(
        {"theta": 40},
        "bare_number",
        "/experiments/0/arguments/theta",
        '"unit": "deg"',
        {"theta": {"value": "40", "unit": "deg"}},
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_an_argument_that_is_wrong(open_house: House, name: str) -> None:
    case = CASES[name]
    compiled = await open_house.call(
        "POST", "/v1/protocols/compile", "rae", json=open_house.submission(arguments=case.wrong)
    )
    [reason] = compiled.json()["items"][0]["reasons"]
    limits = {"theta": "0 to 200 deg", "r": "1.5 to 2.5 mm"}
    assert (reason["step"], reason["limit"]) == ("compress", limits[next(iter(case.wrong))])
    await refused_and_mended(
        open_house,
        open_house.submission(arguments=case.wrong),
        (case.word, case.field, case.remedy),
        open_house.submission(arguments=case.right),
    )


async def refused_and_mended(
    house: House, wrong: dict[str, Any], said: tuple[str, str, str], right: dict[str, Any]
) -> None:
    """Submit what is wrong: the problem says so and nothing is stored. Submit it mended: it is taken."""
    word, field, remedy = said
    before = house.counts()
    document = problem(await house.call("POST", "/v1/experiments", "rae", json=wrong), 422, word)
    assert document["field"] == field
    assert remedy in document["remedy"]
    assert house.counts() == before, "a refused submission leaves nothing"
    taken = await house.call("POST", "/v1/experiments", "rae", json=right)
    assert taken.status_code == 201, taken.text
    assert len(taken.json()["experiments"]) == len(right["experiments"])
    after = house.counts()
    assert after["experiments"] == before["experiments"] + len(right["experiments"])
    assert after["holds"] == before["holds"] + len(right["experiments"])


async def test_one_bad_item_among_good_ones_refuses_them_all(open_house: House) -> None:
    good = open_house.submission()["experiments"][0]
    bad = open_house.submission(arguments={"t": {"value": "9", "unit": "mm"}})["experiments"][0]
    await refused_and_mended(
        open_house,
        open_house.submission(experiments=[good, good, bad]),
        ("out_of_range", "/experiments/2/arguments/t", "1.4"),
        open_house.submission(experiments=[good, good, good]),
    )


async def test_a_unit_of_the_same_dimension_is_converted(open_house: House) -> None:
    body = open_house.submission(arguments={"r": {"value": "0.0021", "unit": "m"}})
    answer = await open_house.call("POST", "/v1/experiments", "rae", json=body)
    assert answer.status_code == 201, answer.text


# --- documents --------------------------------------------------------------------------------------------------------


def document(**changes: Any) -> dict[str, Any]:
    """A protocol of two steps on the press, the second after the first."""
    arguments = {name: {"from": f"parameters.{name}"} for name in ("n", "theta", "r", "t")}
    length = {"kind": "quantity", "unit": "mm"}
    found: dict[str, Any] = {
        "protocol": 1,
        "id": "twice",
        "title": "Crush two of a kind",
        "licence": "CC-BY-4.0",
        "parameters": {
            "n": {"kind": "int", "min": "6", "max": "12"},
            "theta": {"kind": "quantity", "unit": "deg", "min": "0", "max": "200"},
            "r": length | {"min": "1.5", "max": "2.5"},
            "t": length | {"min": "0.7", "max": "1.4"},
        },
        "roles": {"press": {"capability": "compression.test@1"}},
        "steps": [
            {"id": "one", "role": "press", "action": "crush", "arguments": arguments},
            {"id": "two", "role": "press", "action": "crush", "arguments": arguments, "after": ["one"]},
        ],
        "repeatable": False,
    }
    return found | changes


async def store(house: House, protocol: dict[str, Any]) -> str:
    """Store a document; its hash."""
    answer = await house.call("POST", "/v1/protocols", "rae", json=protocol)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["hash"])


@pytest.mark.parametrize(
    ("wrong", "word", "field", "remedy"),
    [
        (
            {"roles": {"press": {"capability": "compression.tset@1"}}},
            "unknown_capability",
            "/roles/press/capability",
            "compression.test@1",
        ),
        (
            {"steps": [document()["steps"][0] | {"after": ["two"]}, document()["steps"][1]]},
            "cycle",
            "/steps/0/after",
            "take one of these out of the other's after",
        ),
        ({"titel": "Misspelt"}, "unknown_field", "/titel", "leave this field out"),
        ({"protocol": 2}, "bad_word", "/protocol", "write one of 1"),
        ({"roles": {}}, "invalid_input", "/roles", "at least 1 entries"),
    ],
)
async def test_a_document_that_is_wrong(
    open_house: House, wrong: dict[str, Any], word: str, field: str, remedy: str
) -> None:
    before = open_house.counts()
    answer = await open_house.call("POST", "/v1/protocols", "rae", json=document(**wrong))
    found = problem(answer, 422, word)
    assert found["field"] == field
    assert remedy in found["remedy"]
    assert open_house.counts() == before
    # The sound document is each wrong one after its remedy.
    name = await store(open_house, document())
    body = open_house.submission(protocol=name)
    taken = await open_house.call("POST", "/v1/experiments", "rae", json=body)
    assert taken.status_code == 201, taken.text
    experiment = await open_house.call("GET", f"/v1/experiments/{taken.json()['experiments'][0]}", "rae")
    assert [step["state"] for step in experiment.json()["steps"]] == ["READY", "WAITING"]


async def test_a_document_is_kept_by_its_hash_and_its_name_means_the_newest(open_house: House) -> None:
    first = await store(open_house, document())
    second = await store(open_house, document(title="Crush two of another kind"))
    assert await store(open_house, document()) == first, "the same document is kept once"
    shown = (await open_house.call("GET", "/v1/protocols/twice", "olga")).json()
    assert (shown["hash"], shown["id"]) == (second, "twice")
    assert (await open_house.call("GET", f"/v1/protocols/{first}", "olga")).json()["document"] == document()
    listed = (await open_house.call("GET", "/v1/protocols", "olga")).json()["items"]
    assert [one["hash"] for one in listed if one["id"] == "twice"] == [second]


async def test_a_profile_that_goes_back_in_time(open_house: House) -> None:
    warm = document()["parameters"] | {"warm": {"kind": "profile", "unit": "Cel", "min": "15", "max": "60"}}
    name = await store(open_house, document(parameters=warm))

    def body(*times: int) -> dict[str, Any]:
        points = [{"t_ms": t_ms, "value": str(25 + n)} for n, t_ms in enumerate(times)]
        ramp = {"profile": {"unit": "Cel", "points": points, "interpolation": "linear"}}
        return open_house.submission(protocol=name, arguments={"warm": ramp})

    before = open_house.counts()
    wrong = await open_house.call("POST", "/v1/experiments", "rae", json=body(0, 5_000, 4_000))
    found = problem(wrong, 422, "profile_backwards")
    assert found["field"] == "/experiments/0/arguments/warm/profile/points/2/t_ms"
    assert "5000" in found["remedy"]
    assert found["reasons"][0]["limit"] == "15 to 60 Cel"
    assert open_house.counts() == before
    right = await open_house.call("POST", "/v1/experiments", "rae", json=body(0, 5_000, 5_001))
    assert right.status_code == 201, right.text


async def test_more_time_than_the_project_has(open_house: House) -> None:
    item = open_house.submission()["experiments"][0]
    # A hundred hours were granted; each experiment holds twelve minutes.
    wrong = open_house.submission(experiments=[item] * 501)
    await refused_and_mended(
        open_house,
        wrong,
        ("insufficient_allocation", "/project", "submit less"),
        open_house.submission(experiments=[item] * 500),
    )


async def test_time_that_lacks_is_granted_as_the_remedy_says(open_house: House) -> None:
    wrong = open_house.submission(experiments=open_house.submission()["experiments"] * 501)
    before = open_house.counts()
    found = problem(await open_house.call("POST", "/v1/experiments", "rae", json=wrong), 422, "insufficient_allocation")
    assert open_house.counts() == before
    said = re.search(r"one allocation of (\d+) ms of (\S+) time that ends no earlier than (\S+),", found["remedy"])
    assert said is not None, found["remedy"]
    grant = {
        "project": open_house.project,
        "instrument_type": said[2],
        "amount_ms": int(said[1]),
        "starts_at": "2026-01-01T00:00:00.000Z",
        "ends_at": said[3],
    }
    made = await open_house.call("POST", "/v1/allocations", "sam", json=grant)
    assert made.status_code == 201, made.text
    taken = await open_house.call("POST", "/v1/experiments", "rae", json=wrong)
    assert taken.status_code == 201, taken.text


async def test_five_megabytes_of_json(open_house: House) -> None:
    item = open_house.submission()["experiments"][0]
    wrong = open_house.submission(experiments=[item | {"label": "x" * 100}] * 20_000)
    before = open_house.counts()
    found = problem(await open_house.call("POST", "/v1/experiments", "rae", json=wrong), 413, "too_large")
    assert "split" in found["remedy"]
    assert open_house.counts() == before
    right = open_house.submission(experiments=[item] * 100)
    assert (await open_house.call("POST", "/v1/experiments", "rae", json=right)).status_code == 201


async def test_a_thousand_and_one(open_house: House) -> None:
    wrong = open_house.submission(experiments=[{"arguments": {}}] * 1_001)
    found = problem(await open_house.call("POST", "/v1/experiments", "rae", json=wrong), 422, "invalid_input")
    assert (found["field"], found["remedy"]) == ("/experiments", "give at most 1000 entries")


async def test_no_experiment_at_all(open_house: House) -> None:
    await refused_and_mended(
        open_house,
        open_house.submission(experiments=[]),
        ("invalid_input", "/experiments", "give at least 1 entries"),
        open_house.submission(),
    )


@pytest.mark.parametrize(
    ("changes", "word", "remedy"),
    [
        ({"exp": 1_700_000_000, "iat": 1_699_999_000}, "token_expired", "log in again"),
        ({"aud": None}, "audience_missing", "put 'labcommons' into `aud`"),
    ],
)
async def test_a_submission_with_a_token_that_is_not_believed(
    open_house: House, changes: dict[str, Any], word: str, remedy: str
) -> None:
    before = open_house.counts()
    headers = {"Authorization": f"Bearer {open_house.token('rae', **changes)}"}
    answer = await open_house.call("POST", "/v1/experiments", None, json=open_house.submission(), headers=headers)
    assert remedy in problem(answer, 401, word)["remedy"]
    assert open_house.counts() == before
    # A token as a new login gives it, for the audience that is asked for.
    taken = await open_house.call("POST", "/v1/experiments", "rae", json=open_house.submission())
    assert taken.status_code == 201, taken.text


async def test_the_same_key_with_another_payload(open_house: House) -> None:
    first = await open_house.call("POST", "/v1/experiments", "rae", key="k", json=open_house.submission())
    assert first.status_code == 201
    before = open_house.counts()
    other = open_house.submission(study="Another")
    answer = await open_house.call("POST", "/v1/experiments", "rae", key="k", json=other)
    problem(answer, 422, "idempotency_mismatch")
    assert open_house.counts() == before
    again = await open_house.call("POST", "/v1/experiments", "rae", key="k", json=open_house.submission())
    assert again.json() == first.json()
    assert open_house.counts() == before
    assert (await open_house.call("POST", "/v1/experiments", "rae", key="l", json=other)).status_code == 201


async def test_another_projects_experiment(open_house: House) -> None:
    made = await open_house.call("POST", "/v1/experiments", "rae", json=open_house.submission())
    experiment = made.json()["experiments"][0]
    project = await open_house.call("POST", "/v1/projects", "sam", json={"name": "other", "title": "O", "pi": "omar"})
    assert project.status_code == 201
    for path in ("", "/why", "/records", "/events"):
        answer = await open_house.call("GET", f"/v1/experiments/{experiment}{path}", "omar")
        problem(answer, 404, "not_found")
    problem(await open_house.call("POST", f"/v1/experiments/{experiment}/cancel", "omar", json={}), 404, "not_found")
    assert (await open_house.call("GET", f"/v1/experiments/{experiment}", "rae")).status_code == 200


async def test_a_submission_to_another_project(open_house: House) -> None:
    project = await open_house.call("POST", "/v1/projects", "sam", json={"name": "other", "title": "O", "pi": "pia"})
    before = open_house.counts()
    body = open_house.submission(project=project.json()["id"])
    problem(await open_house.call("POST", "/v1/experiments", "rae", json=body), 404, "not_found")
    assert open_house.counts() == before


async def test_a_protocol_that_nobody_stored(open_house: House) -> None:
    body = open_house.submission(protocol="compression-thoughness")
    found = problem(await open_house.call("POST", "/v1/experiments", "rae", json=body), 404, "unknown_protocol")
    assert found["field"] == "/protocol"


async def test_a_lab_that_is_none(open_house: House) -> None:
    body = open_house.submission(item={"labs": ["north"]})
    found = problem(await open_house.call("POST", "/v1/experiments", "rae", json=body), 422, "bad_identifier")
    assert found["field"] == "/experiments/0/labs/0"
    body = open_house.submission(item={"labs": [open_house.seeded.labs["north"].lab]})
    assert (await open_house.call("POST", "/v1/experiments", "rae", json=body)).status_code == 201


async def test_compiling_says_the_same_and_stores_nothing(open_house: House) -> None:
    before = open_house.counts()
    good = await open_house.call("POST", "/v1/protocols/compile", "rae", json=open_house.submission())
    assert good.status_code == 200, good.text
    unnamed = {key: value for key, value in open_house.submission().items() if key != "protocol"}
    same = await open_house.call("POST", "/v1/protocols/compression-toughness/compile", "rae", json=unnamed)
    assert same.json() == good.json()
    item = good.json()["items"][0]
    assert item["cost_ms"] == {"barrel-press": 720_000}
    assert item["steps"][0]["step"] == "compress"
    assert {one["lab"] for one in item["steps"][0]["candidates"]} == {
        lab.lab for lab in open_house.seeded.labs.values()
    }
    bad = open_house.submission(arguments={"theta": {"value": "250", "unit": "deg"}})
    answer = await open_house.call("POST", "/v1/protocols/compile", "rae", json=bad)
    assert answer.status_code == 200
    reasons = answer.json()["items"][0]["reasons"]
    assert reasons[0]["code"] == "out_of_range"
    assert reasons[0]["field"] == "/arguments/theta"
    assert open_house.counts() == before
