"""Nodes log in by their key: the good way, and every assertion that must not pass. Runs against each issuer."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from contract.identity.issuers import (
    ASSERTION_TYPE,
    Ahead,
    IssuerUnderTest,
    Login,
    NodeKey,
    assertion,
    forged,
    hs256,
    mint_id,
    node_call,
    token_call,
)
from labcommons.facility.identity.verifier import OidcVerifier

pytestmark = pytest.mark.slow


def _turned_away(answer: httpx.Response) -> None:
    assert answer.status_code in (400, 401), (answer.status_code, answer.text)
    assert answer.json()["error"] in ("invalid_client", "unauthorized_client"), answer.text
    assert "access_token" not in answer.json()


async def test_a_node_logs_in_and_is_known_by_azp(
    issuer: IssuerUnderTest, http: httpx.Client, verifier: OidcVerifier
) -> None:
    answer = node_call(http, issuer, assertion(issuer.node, issuer.url))
    assert answer.status_code == 200, answer.text
    assert "refresh_token" not in answer.json()
    assert answer.json()["expires_in"] <= 300
    claims = await verifier.verify(answer.json()["access_token"])
    assert claims.is_node
    assert claims.client == issuer.node.client_id == claims.node
    assert claims.session is None


def test_one_audience_in_a_list_is_one_audience(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    assert node_call(http, issuer, assertion(issuer.node, [issuer.url])).status_code == 200


def test_client_id_may_be_said_as_well(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    statement = assertion(issuer.node, issuer.url)
    assert node_call(http, issuer, statement, client_id=issuer.node.client_id).status_code == 200


def test_an_assertion_works_once(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    statement = assertion(issuer.node, issuer.url)
    assert node_call(http, issuer, statement).status_code == 200
    _turned_away(node_call(http, issuer, statement))


def test_of_many_at_once_one_wins(issuer: IssuerUnderTest) -> None:
    statement = assertion(issuer.node, issuer.url)

    def attempt(_: int) -> int:
        with httpx.Client(timeout=20, trust_env=False) as own:
            return node_call(own, issuer, statement).status_code

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(attempt, range(8)))
    assert found.count(200) == 1


def test_the_same_id_from_another_node_is_another_id(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    other = issuer.new_node()
    jti = mint_id("jti")
    assert node_call(http, issuer, assertion(issuer.node, issuer.url, jti=jti)).status_code == 200
    assert node_call(http, issuer, assertion(other, issuer.url, jti=jti)).status_code == 200


SPOILT: dict[str, dict[str, Any]] = {
    "lives two hours": {"exp": Ahead(7200)},
    "lives five minutes": {"exp": Ahead(300)},
    "has expired": {"exp": Ahead(-60), "iat": Ahead(-110)},
    "never expires": {"exp": None},
    "exp is infinite": {"exp": 1e400},
    "exp is a text": {"exp": "1790000000"},
    "exp is true": {"exp": True},
    "not yet valid": {"nbf": Ahead(120)},
    "issued in the future": {"iat": Ahead(120)},
    "no jti": {"jti": None},
    "jti is empty": {"jti": ""},
    "jti is a list": {"jti": ["a", "b"]},
    "no subject": {"sub": None},
    "no issuer": {"iss": None},
    "issuer is another": {"iss": mint_id("nod")},
    "subject is a number": {"sub": 7, "iss": 7},
    "subject is unknown": {"sub": "nod_unknown", "iss": "nod_unknown"},
}


@pytest.mark.parametrize("changes", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_assertion(issuer: IssuerUnderTest, http: httpx.Client, changes: dict[str, Any]) -> None:
    _turned_away(node_call(http, issuer, assertion(issuer.node, issuer.url, **changes)))


@pytest.mark.parametrize("audience", ["missing", "two", "other", "empty list", "prefix"])
def test_the_audience_is_this_issuer_alone(issuer: IssuerUnderTest, http: httpx.Client, audience: str) -> None:
    values: dict[str, Any] = {
        "missing": None,
        "two": [issuer.url, "https://another.example"],
        "other": "https://another.example",
        "empty list": [],
        "prefix": issuer.url + "x",
    }
    _turned_away(node_call(http, issuer, assertion(issuer.node, values[audience])))


def _claims(issuer: IssuerUnderTest) -> dict[str, Any]:
    now = int(time.time())
    node = issuer.node.client_id
    return {"iss": node, "sub": node, "aud": issuer.url, "iat": now, "exp": now + 50, "jti": mint_id("jti")}


def test_an_unsigned_assertion(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    for algorithm in ("none", "None", ""):
        _turned_away(node_call(http, issuer, forged({"alg": algorithm}, _claims(issuer))))


def test_the_public_key_used_as_a_secret(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    pem = issuer.node.key.as_pem(private=False)
    jwk = json.dumps(issuer.node.key.as_dict(private=False)).encode()
    for secret in (pem, pem.strip(), jwk):
        _turned_away(node_call(http, issuer, hs256(_claims(issuer), secret)))


def test_another_key(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    stranger = NodeKey(issuer.node.client_id)
    _turned_away(node_call(http, issuer, assertion(stranger, issuer.url)))


def test_another_key_that_is_brought_along(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    stranger = NodeKey(issuer.node.client_id)
    header = {"alg": "ES256", "jwk": stranger.key.as_dict(private=False)}
    _turned_away(node_call(http, issuer, assertion(stranger, issuer.url, header=header)))


def test_other_algorithms(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    rsa, p384 = RSAKey.generate_key(2048), ECKey.generate_key("P-384")
    for algorithm, key in (("RS256", rsa), ("ES384", p384)):
        statement = jwt.encode({"alg": algorithm}, _claims(issuer), key, algorithms=[algorithm])
        _turned_away(node_call(http, issuer, statement))


def test_a_node_without_keys_is_turned_away_in_good_order(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    node = issuer.new_node(jwks={"keys": []})
    _turned_away(node_call(http, issuer, assertion(node, issuer.url)))


@pytest.mark.parametrize("statement", ["rubbish", "a.b.c", "..", "e30.e30.e30", "W10.W10.W10", "." * 50, "x" * 60_000])
def test_rubbish(issuer: IssuerUnderTest, http: httpx.Client, statement: str) -> None:
    answer = node_call(http, issuer, statement)
    assert answer.status_code in (400, 401)


def test_the_client_named_must_be_the_one_that_signed(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    _turned_away(node_call(http, issuer, assertion(issuer.node, issuer.url), client_id=issuer.program))


def test_a_nodes_id_alone_is_nothing(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    for secret in (None, "", "guess"):
        data: dict[str, str | None] = {"grant_type": "client_credentials", "client_id": issuer.node.client_id}
        _turned_away(token_call(http, issuer, data | {"client_secret": secret}))


def test_nobody_logs_in_through_a_node(issuer: IssuerUnderTest, http: httpx.Client, login: Login) -> None:
    answer = login.open(http, client_id=issuer.node.client_id)
    assert answer.status_code == 400
    assert "location" not in answer.headers


async def test_a_disabled_node_gets_nothing_more(
    issuer: IssuerUnderTest, http: httpx.Client, verifier: OidcVerifier
) -> None:
    node = issuer.new_node()
    token = node_call(http, issuer, assertion(node, issuer.url)).json()["access_token"]
    assert (await verifier.verify(token)).node == node.client_id
    issuer.disable_node(node)
    _turned_away(node_call(http, issuer, assertion(node, issuer.url)))


def test_the_assertion_type_must_be_named(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    statement = assertion(issuer.node, issuer.url)
    _turned_away(node_call(http, issuer, statement, client_assertion_type=None))
    _turned_away(node_call(http, issuer, statement, client_assertion_type=ASSERTION_TYPE + "x"))
