"""The link as a node sees it, and what comes of one experiment."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator

from integration.api.bench import HandNode
from integration.api.house import House
from integration.api.test_problems import problem

CURVE = b"displacement_mm,force_N\n" + b"0.1,2.0\n" * 40_000


async def submitted(house: House) -> str:
    """Submit one experiment for the lab north; its id."""
    body = house.submission(item={"labs": [house.seeded.labs["north"].lab]})
    answer = await house.call("POST", "/v1/experiments", "rae", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["experiments"][0])


async def test_one_experiment_from_submit_to_record(house: House) -> None:
    node = HandNode(house, "north")
    await node.arrive()
    experiment = await submitted(house)
    grant = await node.granted()
    assert grant.instrument == "press"
    assert grant.arguments["theta"] == {"value": "40", "unit": "deg"}
    await node.perform(grant, CURVE)
    assert grant.attempt in (await node.next()).stored

    shown = (await house.call("GET", f"/v1/experiments/{experiment}", "rae")).json()
    assert shown["state"] == "succeeded"
    (step,) = shown["steps"]
    assert step["state"] == "DONE"
    # Two seconds at the node are eight minutes there; but no more than passed from grant to receipt.
    assert 0 < step["charged_ms"] <= 480_000
    (record,) = (await house.call("GET", f"/v1/experiments/{experiment}/records", "rae")).json()["items"]
    assert record["outputs"]["toughness"] == {"value": "12.5", "unit": "J", "u": "0.4"}
    assert record["planned"]["theta"] == {"value": "40", "unit": "deg"}
    assert record["simulated"] is True
    assert (await house.call("GET", f"/v1/records/{record['id']}", "pia")).json() == record
    assert (await house.call("GET", f"/{record['ark']}", "rae")).json() == record
    assert (await house.call("GET", "/v1/records", "rae")).json()["items"] == [record]

    story = (await house.call("GET", f"/v1/attempts/{grant.attempt}", "olga")).json()
    assert [one["to"] for one in story["history"]][-1] == "SUCCEEDED"
    assert story["used_ms"] == 2_000
    line = (await house.call("GET", f"/v1/attempts?experiment={experiment}", "rae")).json()["items"][0]
    assert line.keys() >= {"attempt", "experiment", "step", "project", "lab", "instrument", "epoch", "fence", "state"}
    study = (await house.call("GET", f"/v1/studies/{shown['study']}", "rae")).json()
    assert study["states"] == {"succeeded": 1}


async def test_a_records_bytes_are_for_its_project(house: House) -> None:
    node = HandNode(house, "north")
    await node.arrive()
    await submitted(house)
    await node.perform(await node.granted(), CURVE)
    name = hashlib.sha256(CURVE).hexdigest()
    answer = await house.call("GET", f"/v1/objects/{name}", "rae")
    assert answer.content == CURVE
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''curve%2F%C3%BCbung.csv"
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    for foreigner in ("omar", "sam"):
        problem(await house.call("GET", f"/v1/objects/{name}", foreigner), 404, "not_found")
    problem(await house.call("GET", f"/v1/objects/{'0' * 64}", "rae"), 404, "not_found")
    problem(await house.call("GET", "/v1/objects/readme.txt", "rae"), 422, "bad_name")


async def test_the_statement_adds_up(house: House) -> None:
    node = HandNode(house, "north")
    await node.arrive()
    await submitted(house)
    await node.perform(await node.granted(), CURVE)
    found = (await house.call("GET", f"/v1/ledger/statement?project={house.project}", "rae")).json()
    (line,) = found["allocations"]
    sums: dict[str, int] = {}
    for entry in found["entries"]:
        sums[entry["account"]] = sums.get(entry["account"], 0) - entry["amount_ms"]
        sums[entry["counter_account"]] = sums.get(entry["counter_account"], 0) + entry["amount_ms"]
    assert line["available_ms"] == sums[f"alloc:{line['allocation']}"]
    assert line["held_ms"] == sums[f"held:{line['allocation']}"] == 0
    assert line["charged_ms"] == line["granted_ms"] - line["available_ms"] > 0
    lab = house.seeded.labs["north"].lab
    owed = (await house.call("GET", f"/v1/ledger/statement?lab={lab}", "olga")).json()
    assert owed["types"] == [{"instrument_type": "barrel-press", "owed_ms": line["charged_ms"]}]


async def test_a_commit_wakes_the_waiting_call(house: House) -> None:
    node = HandNode(house, "north")
    await node.arrive()
    async with house.app.router.lifespan_context(house.app):
        waiting = asyncio.create_task(node.next(wait_ms=20_000))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        began = time.monotonic()
        await submitted(house)
        answer = await waiting
        assert len(answer.grants) == 1
        assert time.monotonic() - began < 5


async def test_a_newer_call_lets_the_held_one_go(house: House) -> None:
    node = HandNode(house, "north")
    await node.arrive()
    held = asyncio.create_task(node.next(wait_ms=20_000))
    await asyncio.sleep(0.3)
    newer = asyncio.create_task(node.next(wait_ms=300))
    assert (await asyncio.wait_for(held, 5)).grants == []
    assert (await asyncio.wait_for(newer, 5)).grants == []


async def test_a_held_call_ends_with_its_time(house: House) -> None:
    node = HandNode(house, "north")
    await node.arrive()
    began = time.monotonic()
    assert (await node.next(wait_ms=400)).grants == []
    assert 0.35 < time.monotonic() - began < 5


async def test_a_server_that_ends_lets_held_calls_go(house: House) -> None:
    node = HandNode(house, "north")
    await node.arrive()
    held = asyncio.create_task(node.next(wait_ms=20_000))
    await asyncio.sleep(0.2)
    house.app.state.wiring.stopping.set()
    await asyncio.wait_for(held, 5)


async def test_a_corrupt_entry_is_refused_and_the_node_goes_on(house: House) -> None:
    node = HandNode(house, "north")
    await node.arrive()
    good = node.write("EPOCH", epoch=1)
    node.entries[-1] = good.model_copy(update={"detail": {"epoch": 7}})
    answer = await node.post("report", entries=[node.entries[-1].model_dump(mode="json")])
    problem(answer, 422, "corrupt_entry")
    with house.facility.work.read() as uow:
        assert [row.detail["code"] for row in uow.run.audit.find(action="node.message_refused")] == ["corrupt_entry"]
    node.entries[-1] = good
    assert (await node.report()).cursor.seq == good.seq


async def test_an_oversized_message_is_refused_and_the_node_goes_on(house: House) -> None:
    node = HandNode(house, "north")
    await node.arrive()
    bearer = {"Authorization": f"Bearer {house.node_token('north')}", "Content-Type": "application/json"}
    answer = await house.client.post("/v1/node/report", content=b" " * ((16 << 20) + 1), headers=bearer)
    problem(answer, 413, "too_large")
    problem(await node.post("report", entries="none"), 422, "bad_type")
    problem(await node.post("report", entries=[], surprise=1), 422, "unknown_field")
    assert (await node.next()).grants == []


async def test_bytes_under_a_wrong_name(house: House) -> None:
    node = HandNode(house, "north")
    await node.arrive()
    problem(await node.put(b"some bytes", "0" * 64), 422, "hash_mismatch")
    assert (await node.put(b"some bytes")).status_code == 201
    assert (await node.put(b"some bytes")).status_code == 200
    assert not house.facility.objects.has("0" * 64)


async def test_an_upload_that_breaks_off_leaves_nothing(house: House) -> None:
    node = HandNode(house, "north")
    await node.arrive()
    content = b"x" * 200_000
    name = hashlib.sha256(content).hexdigest()

    async def half() -> AsyncIterator[bytes]:
        yield content[:100_000]

    bearer = {"Authorization": f"Bearer {house.node_token('north')}"}
    answer = await house.client.put(f"/v1/node/objects/{name}", content=half(), headers=bearer)
    problem(answer, 422, "hash_mismatch")
    assert not house.facility.objects.has(name)


async def test_a_manifest_that_is_not_here_is_asked_for(house: House) -> None:
    node = HandNode(house, "north")
    problem(await node.post("report", entries=[]), 409, "manifest_missing")
    await node.arrive()


async def test_people_may_not_speak_for_nodes(house: House) -> None:
    node = HandNode(house, "north")
    for lane in ("report", "next"):
        answer = await house.call(
            "POST", f"/v1/node/{lane}", "sam", json=node.head() | ({"entries": []} if lane == "report" else {})
        )
        problem(answer, 403, "forbidden")
    problem(await house.call("PUT", f"/v1/node/objects/{'0' * 64}", "sam", content=b"x"), 403, "forbidden")


async def test_labs_and_instruments_are_seen_by_all_and_nodes_by_their_own(house: House) -> None:
    node = HandNode(house, "north")
    await node.arrive()
    labs = {lab["name"]: lab for lab in (await house.call("GET", "/v1/labs", "rae")).json()["items"]}
    assert (labs["north"]["state"], labs["south"]["state"]) == ("online", "offline")
    (press,) = labs["north"]["instruments"]
    assert (press["name"], press["type"], press["state"], press["simulated"]) == ("press", "barrel-press", "idle", True)
    assert press["offers"][0]["capability"] == "compression.test@1"
    assert (await house.call("GET", f"/v1/instruments/{press['id']}", "rae")).json() == press
    assert (await house.call("GET", "/v1/instruments?lab=north&type=barrel-press", "rae")).json()["items"] == [press]
    assert (await house.call("GET", "/v1/instruments?lab=south", "rae")).json()["items"] == []
    assert (await house.call("GET", "/v1/labs/north", "rae")).json() == labs["north"]
    mine = (await house.call("GET", "/v1/nodes", "olga")).json()["items"]
    assert [one["id"] for one in mine] == [node.node]
    assert mine[0]["ray_cluster"] == "cluster-1"
    assert (await house.call("GET", f"/v1/nodes/{node.node}", "sam")).json() == mine[0]
    problem(await house.call("GET", f"/v1/nodes/{node.node}", "omar"), 404, "not_found")
    assert (await house.call("GET", "/v1/nodes", "rae")).json()["items"] == []
    vocabulary = (await house.call("GET", "/v1/capabilities", "rae")).json()["items"]
    assert "compression.test" in {one["id"] for one in vocabulary}


async def test_cancelling_what_waits(house: House) -> None:
    experiment = ""
    node = HandNode(house, "north")
    await node.arrive()
    experiment = await submitted(house)
    why = (await house.call("GET", f"/v1/experiments/{experiment}/why", "rae")).json()
    assert why["experiment"] == experiment
    answer = await house.call("POST", f"/v1/experiments/{experiment}/cancel", "rae", json={})
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "cancelled"
    found = (await house.call("GET", f"/v1/ledger/statement?project={house.project}", "rae")).json()
    assert found["allocations"][0]["held_ms"] == 0
    assert (await house.call("POST", f"/v1/experiments/{experiment}/cancel", "rae", json={})).status_code == 200
