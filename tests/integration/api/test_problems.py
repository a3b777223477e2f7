"""Every refusal is a problem document, whatever refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from integration.api.house import House
from labcommons.core.errors import InvalidTransition

MEMBERS = {"type", "title", "status", "detail", "field", "remedy", "trace"}


def problem(answer: httpx.Response, status: int, word: str) -> dict[str, Any]:
    """The document of a refusal, checked for what each must have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document.keys() >= MEMBERS
    assert document["type"] == word
    assert document["status"] == status
    assert document["remedy"], "a refusal says what to do"
    assert document["trace"] == answer.headers["trace-id"]
    return document


async def test_an_address_that_is_none(house: House) -> None:
    problem(await house.call("GET", "/v1/nothing", "rae"), 404, "not_found")


async def test_a_method_that_an_address_does_not_take(house: House) -> None:
    answer = await house.call("DELETE", "/v1/projects", "rae")
    problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


async def test_a_body_that_is_no_json(house: House) -> None:
    answer = await house.call(
        "POST", "/v1/experiments", "rae", content=b'{"project": ', headers={"Content-Type": "application/json"}
    )
    problem(answer, 422, "bad_json")


async def test_a_body_nested_without_end(house: House) -> None:
    answer = await house.call(
        "POST", "/v1/experiments", "rae", content=b"[" * 200_000, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in {400, 422}, answer.text
    problem(answer, answer.status_code, answer.json()["type"])


async def test_an_unknown_field_is_named(house: House) -> None:
    answer = await house.call("POST", "/v1/experiments", "rae", json=house.submission(item={"argumnets": {}}))
    document = problem(answer, 422, "unknown_field")
    assert document["field"] == "/experiments/0/argumnets"


async def test_a_missing_field_is_named(house: House) -> None:
    body = house.submission()
    del body["project"]
    document = problem(await house.call("POST", "/v1/experiments", "rae", json=body), 422, "missing_field")
    assert document["field"] == "/project"


async def test_several_findings_come_together(house: House) -> None:
    body = {"name": "x" * 200, "titel": "A project", "pi": "pia"}
    document = problem(await house.call("POST", "/v1/projects", "sam", json=body), 422, "unknown_field")
    assert {one["field"] for one in document["errors"]} == {"/titel", "/title", "/name"}


async def test_a_lone_surrogate_is_refused_and_breaks_nothing(house: House) -> None:
    content = json.dumps({"name": "surrogates", "title": "\ud800", "pi": "pia"}).encode("ascii")
    answer = await house.call(
        "POST", "/v1/projects", "sam", content=content, headers={"Content-Type": "application/json"}
    )
    problem(answer, 422, answer.json()["type"])


async def test_a_query_parameter_is_named(house: House) -> None:
    document = problem(await house.call("GET", "/v1/labs?limit=0", "rae"), 422, "out_of_range")
    assert document["field"] == "/limit"


@pytest.mark.parametrize("size", [(1 << 20) + 1, 5_000_000])
async def test_a_large_body_is_refused_by_its_length(house: House, size: int) -> None:
    before = house.counts()
    document = problem(
        await house.call(
            "POST", "/v1/experiments", "rae", content=b" " * size, headers={"Content-Type": "application/json"}
        ),
        413,
        "too_large",
    )
    assert "split" in document["remedy"]
    assert house.counts() == before


async def test_reading_stops_where_no_length_was_told(house: House) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 1 << 20
            yield b" " * (1 << 20)

    answer = await house.call(
        "POST", "/v1/experiments", "rae", content=endless(), headers={"Content-Type": "application/json"}
    )
    problem(answer, 413, "too_large")
    assert sent <= 20 << 20, "what does not end is not read to its end"


async def test_a_defect_says_nothing_of_what_happened(house: House) -> None:
    def broken() -> list[str]:
        raise ZeroDivisionError("the secret of the third drawer")

    object.__setattr__(house.app.state.wiring, "missing", broken)
    answer = await house.client.get("/readyz")
    document = problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert document["trace"] in document["remedy"]


async def test_contradicting_books_say_nothing_either(house: House) -> None:
    def broken() -> list[str]:
        raise InvalidTransition("attempt att_1 of rae went from here to there")

    object.__setattr__(house.app.state.wiring, "missing", broken)
    answer = await house.client.get("/readyz")
    problem(answer, 500, "internal")
    assert "att_1" not in answer.text


async def test_another_name_in_the_host_header(house: House) -> None:
    answer = await house.client.get("/healthz", headers={"Host": "rebound.example"})
    problem(answer, 421, "wrong_host")


async def test_security_headers_stand_on_every_answer(house: House) -> None:
    for path in ("/healthz", "/v1/me", "/nowhere"):
        headers = (await house.client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers
