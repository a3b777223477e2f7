"""Query parameters: filters that filter, words that are checked, and names that nobody knows refused."""

from __future__ import annotations

from typing import Any

import pytest

from integration.api.bench import HandNode
from integration.api.house import House
from integration.api.test_authority_matrix import body_of, routes, things
from integration.api.test_link import CURVE, submitted
from integration.api.test_problems import problem


async def test_records_of_one_study_are_of_no_other(house: House) -> None:
    node = HandNode(house, "north")
    await node.arrive()
    found = {}
    for content in (CURVE, CURVE + b"0.2,3.0\n"):
        experiment = await submitted(house)
        await node.perform(await node.granted(), content)
        shown = (await house.call("GET", f"/v1/experiments/{experiment}", "rae")).json()
        found[shown["study"]] = experiment
        node.tokens = [max(node.tokens) + 1]
    assert len((await house.call("GET", "/v1/records", "rae")).json()["items"]) == 2
    (first, one), (_, other) = found.items()
    items = (await house.call("GET", f"/v1/records?study={first}", "rae")).json()["items"]
    assert [item["experiment"] for item in items] == [one]
    both = await house.call("GET", f"/v1/records?study={first}&experiment={other}", "rae")
    assert both.json()["items"] == []
    assert (await house.call("GET", "/v1/records?study=std_none", "rae")).json()["items"] == []
    hidden = await house.call("GET", f"/v1/records?study={first}", "omar")
    assert hidden.json()["items"] == [], "another project's study is as if it were not there"


@pytest.mark.parametrize("path", ["/v1/experiments", "/v1/attempts"])
async def test_a_state_that_is_none_is_refused_with_the_words_that_are(house: House, path: str) -> None:
    found = problem(await house.call("GET", f"{path}?state=foo", "rae"), 422, "bad_word")
    assert found["field"] == "/state"
    word = "succeeded" if path == "/v1/experiments" else "SUCCEEDED"
    assert f"'{word}'" in found["remedy"]
    assert (await house.call("GET", f"{path}?state={word}", "rae")).status_code == 200


async def test_an_unknown_parameter_is_named_with_the_known_ones(house: House) -> None:
    found = problem(await house.call("GET", "/v1/records?stduy=std_1", "rae"), 422, "unknown_field")
    assert found["field"] == "/stduy"
    for known in ("after", "experiment", "limit", "project", "study"):
        assert known in found["remedy"]
    assert (await house.call("GET", "/v1/records?limit=5", "rae")).status_code == 200


async def test_every_route_refuses_what_it_does_not_know(house: House) -> None:
    names = await things(house)
    house.app.state.wiring.stopping.set()
    before = house.counts()
    for operation in routes():
        method, _, template = operation.partition(" ")
        node = "/node/" in template
        more: dict[str, Any] = {"json": body_of(house, operation, names)} if method == "POST" else {}
        if node:
            more["headers"] = {"Authorization": f"Bearer {house.node_token('north')}"}
        answer = await house.call(method, template.format(**names) + "?nonsense=1", None if node else "sam", **more)
        assert problem(answer, 422, "unknown_field")["field"] == "/nonsense", operation
    for path in ("/healthz", "/readyz", "/version", "/docs"):
        problem(await house.client.get(f"{path}?nonsense=1"), 422, "unknown_field")
    assert house.counts() == before
