"""Who calls: tokens, principals, and what foreign things look like."""

from __future__ import annotations

import pytest

from integration.api.house import URL, House, soon
from integration.api.test_problems import problem


async def test_me_is_read_from_the_database(house: House) -> None:
    me = (await house.call("GET", "/v1/me", "rae")).json()
    assert me["username"] == "rae"
    assert me["person"] == house.person("rae")
    assert me["projects"] == [{"id": house.project, "name": "tough-barrels", "role": "researcher"}]
    assert me["labs"] == []
    assert (await house.call("GET", "/v1/me", "sam")).json()["roles"] == ["staff"]
    assert [lab["name"] for lab in (await house.call("GET", "/v1/me", "olga")).json()["labs"]] == ["north"]


async def test_no_token(house: House) -> None:
    answer = await house.client.get("/v1/me")
    problem(answer, 401, "token_missing")
    assert answer.headers["www-authenticate"] == 'Bearer realm="labcommons"'


@pytest.mark.parametrize("header", ["Basic cmFlOnJhZQ==", "Bearer", "Bearer  "])
async def test_a_header_that_holds_no_bearer_token(house: House, header: str) -> None:
    answer = await house.client.get("/v1/me", headers={"Authorization": header})
    problem(answer, 401, "token_malformed")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"aud": None}, "audience_missing"),
        ({"aud": "account"}, "audience_wrong"),
        ({"iss": "http://127.0.0.1:1/oidc"}, "issuer_unknown"),
        ({"sub": None}, "token_invalid"),
    ],
)
async def test_a_token_that_is_not_believed(house: House, changes: dict[str, str | None], word: str) -> None:
    before = house.counts()
    wrong = {"Authorization": f"Bearer {house.token('rae', **changes)}"}
    answer = await house.client.get("/v1/me", headers=wrong)
    problem(answer, 401, word)
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert (await house.call("GET", "/v1/me", "rae")).status_code == 200
    assert house.counts() == before


async def test_an_expired_token_and_its_remedy(house: House) -> None:
    old = house.token("rae", iat=soon(house.facility, -900), exp=soon(house.facility, -600))
    answer = await house.client.get("/v1/me", headers={"Authorization": f"Bearer {old}"})
    document = problem(answer, 401, "token_expired")
    assert "log in again" in document["remedy"]
    assert (await house.call("GET", "/v1/me", "rae")).status_code == 200


async def test_a_person_whom_we_do_not_have(house: House) -> None:
    stranger = house.token("rae", sub="per_" + "0" * 26)
    answer = await house.client.get("/v1/me", headers={"Authorization": f"Bearer {stranger}"})
    problem(answer, 401, "person_unknown")


async def test_a_node_that_we_do_not_have(house: House) -> None:
    stranger = "nod_" + "0" * 26
    token = house.token("rae", sub=stranger, azp=stranger, client_id=stranger)
    answer = await house.client.get("/v1/labs", headers={"Authorization": f"Bearer {token}"})
    problem(answer, 401, "node_unknown")


async def test_a_revoked_node_is_denied(house: House) -> None:
    node = house.seeded.labs["north"].node
    with house.facility.work.write() as uow:
        row = uow.lab.nodes.get(node)
        assert row is not None
        uow.lab.nodes.save(type(row)(**{**vars(row), "state": "revoked"}))
        uow.commit()
    answer = await house.client.post(
        "/v1/node/report", json={}, headers={"Authorization": f"Bearer {house.node_token('north')}"}
    )
    problem(answer, 403, "node_revoked")


async def test_a_node_may_not_look_around(house: House) -> None:
    bearer = {"Authorization": f"Bearer {house.node_token('north')}"}
    for path in ("/v1/me", "/v1/labs", "/v1/projects", "/v1/ledger/entries", "/v1/events"):
        problem(await house.client.get(path, headers=bearer), 403, "forbidden")


async def test_a_foreign_project_is_not_there(house: House) -> None:
    made = await house.call("POST", "/v1/projects", "sam", json={"name": "other", "title": "Other", "pi": "kim"})
    other = made.json()["id"]
    for path in (f"/v1/projects/{other}", f"/v1/projects/{other}/members", f"/v1/ledger/statement?project={other}"):
        foreign = problem(await house.call("GET", path, "rae"), 404, "not_found")
        invented = problem(await house.call("GET", path.replace(other, "prj_" + "0" * 26), "rae"), 404, "not_found")
        assert foreign["title"] == invented["title"], "a foreign thing and none look alike"
    assert other not in str((await house.call("GET", "/v1/projects", "rae")).json())
    assert other in str((await house.call("GET", "/v1/projects", "sam")).json())


async def test_the_embedded_issuer_is_mounted(house: House) -> None:
    document = (await house.client.get("/oidc/.well-known/openid-configuration")).json()
    assert document["issuer"] == f"{URL}/oidc"
