"""Who a node is, and whom it talks to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest
from joserfc import jwt

from labcommons.node.identity import (
    ASSERTION_SECONDS,
    IdentityRefused,
    IdentityUnreachable,
    TokenSource,
    check_url,
    load_identity,
)
from support.keys import write_key

URL = "https://commons.example"


@pytest.mark.parametrize(
    "url", ["https://commons.example/", "http://127.0.0.1:8000", "http://[::1]:80", "http://localhost"]
)
def test_addresses_that_are_safe(url: str) -> None:
    assert check_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://commons.example",
        "http://10.0.0.1",
        "ftp://127.0.0.1",
        "commons.example",
        "https://u:p@x",
        "https://x?y=1",
    ],
)
def test_addresses_that_are_not(url: str) -> None:
    with pytest.raises(IdentityRefused):
        check_url(url)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    write_key(tmp_path / "node-key.pem")
    (tmp_path / "identity.json").write_text(json.dumps({"client_id": "nod_1", "node": "nod_1", "lab": "lab_1"}))
    return tmp_path


def test_an_identity_is_two_files(state: Path) -> None:
    identity = load_identity(state)
    assert (identity.client_id, identity.lab, identity.key.curve_name) == ("nod_1", "lab_1", "P-256")


def test_a_key_on_another_curve_is_refused(state: Path) -> None:
    write_key(state / "node-key.pem", "P-384")
    with pytest.raises(IdentityRefused, match="P-256"):
        load_identity(state)


def test_a_key_that_others_can_read_is_refused(state: Path) -> None:
    (state / "node-key.pem").chmod(0o640)
    with pytest.raises(IdentityRefused, match="chmod 600"):
        load_identity(state)


@pytest.mark.parametrize("name", ["identity.json", "node-key.pem"])
def test_what_is_missing_or_broken_is_named(state: Path, name: str) -> None:
    (state / name).write_text("{}")
    with pytest.raises(IdentityRefused):
        load_identity(state)
    (state / name).unlink()
    with pytest.raises(IdentityRefused, match="not enrolled"):
        load_identity(state)


class Issuer:
    """Answers discovery and token calls by a script."""

    def __init__(self, state: Path, answer: Callable[[], httpx.Response] | None = None) -> None:
        self.now = 1_000_000.0
        self.calls: list[httpx.Request] = []
        self.answer = answer or (
            lambda: httpx.Response(200, json={"access_token": f"t{len(self.calls)}", "expires_in": 300})
        )
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self.handle))
        self.tokens = TokenSource(load_identity(state), self.http, URL, lambda: self.now)

    def handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("openid-configuration"):
            return httpx.Response(200, json={"issuer": f"{URL}/oidc", "token_endpoint": f"{URL}/oidc/token"})
        self.calls.append(request)
        return self.answer()


async def test_a_token_is_kept_and_renewed_before_it_ends(state: Path) -> None:
    issuer = Issuer(state)
    first = await issuer.tokens.token()
    issuer.now += 200
    assert await issuer.tokens.token() == first
    issuer.now += 80  # 20 s before its end
    assert await issuer.tokens.token() != first
    assert len(issuer.calls) == 2


async def test_a_rejected_token_is_not_given_again(state: Path) -> None:
    issuer = Issuer(state)
    first = await issuer.tokens.token()
    issuer.tokens.reject("another")
    assert await issuer.tokens.token() == first
    issuer.tokens.reject(first)
    assert await issuer.tokens.token() != first


async def test_each_assertion_is_new_short_and_for_one_audience(state: Path) -> None:
    issuer = Issuer(state)
    key = load_identity(state).key
    ids = set()
    for _ in range(3):
        issuer.tokens.reject(await issuer.tokens.token())
        form = parse_qs(issuer.calls[-1].content.decode())
        token = jwt.decode(form["client_assertion"][0], key, algorithms=["ES256"])
        assert token.header["alg"] == "ES256"
        assert token.claims["aud"] == f"{URL}/oidc"
        assert token.claims["exp"] - token.claims["iat"] == ASSERTION_SECONDS <= 60
        ids.add(token.claims["jti"])
    assert len(ids) == 3


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_an_issuer_that_refuses_is_told_from_one_that_is_away(state: Path, status: int) -> None:
    with pytest.raises(IdentityRefused, match="is it enrolled"):
        await Issuer(state, lambda: httpx.Response(status, text="invalid_client")).tokens.token()


@pytest.mark.parametrize(
    "answer", [httpx.Response(503), httpx.Response(200, text="{}"), httpx.Response(200, text="<p>")]
)
async def test_an_answer_of_no_use_is_tried_again_later(state: Path, answer: httpx.Response) -> None:
    with pytest.raises(IdentityUnreachable):
        await Issuer(state, lambda: answer).tokens.token()


async def test_an_issuer_out_of_reach(state: Path) -> None:
    def away() -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(IdentityUnreachable):
        await Issuer(state, away).tokens.token()


async def test_a_token_endpoint_without_tls_is_refused(state: Path) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"issuer": URL, "token_endpoint": "http://elsewhere.example/token"})

    http = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    with pytest.raises(IdentityRefused, match="plain http"):
        await TokenSource(load_identity(state), http, URL, lambda: 0.0).token()
