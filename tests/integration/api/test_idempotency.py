"""Sent twice, done once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from integration.api.house import House
from integration.api.test_problems import problem

BODY = {"name": "glass", "title": "Glass", "pi": "pia"}


async def test_the_same_request_gets_the_same_answer(house: House) -> None:
    first = await house.call("POST", "/v1/projects", "sam", key="one", json=BODY)
    before = house.counts()
    again = await house.call("POST", "/v1/projects", "sam", key="one", json=dict(reversed(BODY.items())))
    assert (again.status_code, again.json()) == (first.status_code, first.json()) == (201, first.json())
    assert house.counts() == before


async def test_another_payload_under_the_same_key(house: House) -> None:
    assert (await house.call("POST", "/v1/projects", "sam", key="one", json=BODY)).status_code == 201
    before = house.counts()
    other = BODY | {"name": "metal"}
    document = problem(
        await house.call("POST", "/v1/projects", "sam", key="one", json=other), 422, "idempotency_mismatch"
    )
    assert house.counts() == before
    assert "new key" in document["remedy"]
    assert (await house.call("POST", "/v1/projects", "sam", key="two", json=other)).status_code == 201


async def test_a_key_is_of_one_person(house: House) -> None:
    assert (await house.call("POST", "/v1/projects", "sam", key="one", json=BODY)).status_code == 201
    other = BODY | {"name": "metal"}
    assert (await house.call("POST", "/v1/projects", "kim", key="one", json=other)).status_code == 201


async def test_a_refused_request_leaves_its_key_free(house: House) -> None:
    problem(
        await house.call("POST", "/v1/projects", "sam", key="one", json=BODY | {"pi": "zoe"}), 422, "unknown_person"
    )
    assert (await house.call("POST", "/v1/projects", "sam", key="one", json=BODY)).status_code == 201


async def test_after_a_week_a_key_is_new(house: House) -> None:
    first = await house.call("POST", "/v1/projects", "sam", key="one", json=BODY)
    assert first.status_code == 201
    with house.facility.work.write() as uow:
        row = uow.office.idempotency.get(house.person("sam"), "POST /v1/projects", "one")
        assert row is not None
        uow.office.idempotency.delete(person=row.person, route=row.route, key=row.key)
        uow.office.idempotency.add(replace(row, created_at=row.created_at - timedelta(days=7, seconds=1)))
        uow.commit()
    other = await house.call("POST", "/v1/projects", "sam", key="one", json=BODY | {"name": "metal"})
    assert other.status_code == 201, other.text


async def test_no_key(house: House) -> None:
    problem(await house.call("POST", "/v1/projects", "sam", key=None, json=BODY), 422, "idempotency_key_missing")


@pytest.mark.parametrize("key", ["with a space", "x" * 201])
async def test_a_key_that_is_none(house: House, key: str) -> None:
    problem(await house.call("POST", "/v1/projects", "sam", key=key, json=BODY), 422, "idempotency_key_malformed")
