"""Projects, members, allocations, the ledger."""

from __future__ import annotations

from typing import Any

from integration.api.house import House
from integration.api.test_problems import problem

WINDOW = {"starts_at": "2026-01-01T00:00:00.000Z", "ends_at": "2099-01-01T00:00:00.000Z"}


async def test_staff_make_a_project_and_its_pi_fills_it(house: House) -> None:
    made = await house.call("POST", "/v1/projects", "sam", json={"name": "glass", "title": "Glass", "pi": "pia"})
    assert made.status_code == 201, made.text
    project = made.json()
    assert [member["username"] for member in project["members"]] == ["pia"]
    path = f"/v1/projects/{project['id']}/members"
    added = await house.call("POST", path, "pia", json={"username": "rae", "role": "researcher", "cap_ms": 1000})
    assert added.json() == {"person": house.person("rae"), "username": "rae", "role": "researcher", "cap_ms": 1000}
    assert (await house.call("GET", f"/v1/projects/{project['id']}", "rae")).status_code == 200
    changed = await house.call("POST", path, "pia", json={"username": "rae", "role": "viewer"})
    assert (changed.json()["role"], changed.json()["cap_ms"]) == ("viewer", None)


async def test_a_researcher_makes_no_project(house: House) -> None:
    body = {"name": "mine", "title": "Mine", "pi": "rae"}
    problem(await house.call("POST", "/v1/projects", "rae", json=body), 403, "forbidden")


async def test_the_last_pi_stays(house: House) -> None:
    path = f"/v1/projects/{house.project}/members"
    body = {"username": "pia", "role": "viewer"}
    document = problem(await house.call("POST", path, "pia", json=body), 409, "last_pi")
    assert document["field"] == "/role"
    assert (await house.call("POST", path, "pia", json={"username": "rae", "role": "pi"})).status_code == 201
    assert (await house.call("POST", path, "pia", json=body)).status_code == 201


async def test_an_unknown_person(house: House) -> None:
    path = f"/v1/projects/{house.project}/members"
    document = problem(
        await house.call("POST", path, "pia", json={"username": "zoe", "role": "viewer"}), 422, "unknown_person"
    )
    assert document["field"] == "/username"


async def test_a_name_that_is_taken(house: House) -> None:
    body = {"name": "tough-barrels", "title": "Again", "pi": "pia"}
    document = problem(await house.call("POST", "/v1/projects", "sam", json=body), 409, "already_exists")
    assert document["field"] == "/name"


def grant(project: str, **changes: Any) -> dict[str, Any]:
    return {"project": project, "instrument_type": "barrel-press", "amount_ms": 1_000, **WINDOW} | changes


async def test_time_is_granted_and_stands_in_the_ledger(house: House) -> None:
    made = await house.call("POST", "/v1/allocations", "sam", json=grant(house.project))
    assert made.status_code == 201, made.text
    allocation = made.json()
    assert (allocation["granted_ms"], allocation["available_ms"], allocation["held_ms"]) == (1_000, 1_000, 0)
    shown = await house.call("GET", f"/v1/allocations/{allocation['id']}", "rae")
    assert shown.json() == allocation
    listed = (await house.call("GET", "/v1/allocations", "rae")).json()["items"]
    assert allocation in listed
    statement = (await house.call("GET", f"/v1/ledger/statement?project={house.project}", "rae")).json()
    line = next(one for one in statement["allocations"] if one["allocation"] == allocation["id"])
    assert line["granted_ms"] == 1_000
    entries = [one for one in statement["entries"] if one["cause"] == allocation["id"]]
    assert [one["kind"] for one in entries] == ["grant"]
    assert entries[0]["actor"] == house.person("sam")


async def test_a_window_that_ends_before_it_begins(house: House) -> None:
    body = grant(house.project, ends_at="2025-01-01T00:00:00.000Z")
    before = house.counts()
    document = problem(await house.call("POST", "/v1/allocations", "sam", json=body), 422, "window_backwards")
    assert document["field"] == "/ends_at"
    assert house.counts() == before


async def test_a_time_that_is_none(house: House) -> None:
    body = grant(house.project, ends_at="tomorrow")
    document = problem(await house.call("POST", "/v1/allocations", "sam", json=body), 422, "bad_time")
    assert document["field"] == "/ends_at"


async def test_nobody_grants_time_to_themselves(house: House) -> None:
    path = f"/v1/projects/{house.project}/members"
    assert (await house.call("POST", path, "pia", json={"username": "sam", "role": "viewer"})).status_code == 201
    problem(await house.call("POST", "/v1/allocations", "sam", json=grant(house.project)), 403, "forbidden")
    assert (await house.call("POST", "/v1/allocations", "kim", json=grant(house.project))).status_code == 201


async def test_the_ledger_pages_by_cursor(house: House) -> None:
    for amount in (1, 2, 3, 4):
        body = grant(house.project, amount_ms=amount)
        assert (await house.call("POST", "/v1/allocations", "sam", json=body)).status_code == 201
    seen: list[int] = []
    after = ""
    while True:
        page = (await house.call("GET", f"/v1/ledger/entries?limit=2{after}", "rae")).json()
        seen += [one["amount_ms"] for one in page["items"]]
        assert len(page["items"]) <= 2
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen[-4:] == [1, 2, 3, 4]
    assert len(seen) == 5
    problem(await house.call("GET", "/v1/ledger/entries?after=ent_nothing", "rae"), 422, "bad_cursor")


async def test_an_operator_reads_what_the_lab_is_owed(house: House) -> None:
    lab = house.seeded.labs["north"].lab
    found = (await house.call("GET", f"/v1/ledger/statement?lab={lab}", "olga")).json()
    assert (found["lab"], found["types"], found["entries"]) == (lab, [], [])
    problem(await house.call("GET", f"/v1/ledger/statement?lab={lab}", "omar"), 404, "not_found")
    problem(await house.call("GET", "/v1/ledger/statement", "olga"), 422, "missing_field")
