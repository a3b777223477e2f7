"""People log in: the good way, and every way around it. Runs against each issuer."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from contract.identity.issuers import IssuerUnderTest, Login, answer_of, endpoint, renew, token_call
from labcommons.core.errors import Unauthenticated
from labcommons.facility.identity.verifier import OidcVerifier

pytestmark = pytest.mark.slow


def _refused(answer: httpx.Response, word: str) -> None:
    assert answer.status_code in (400, 401), (answer.status_code, answer.text)
    assert answer.json()["error"] == word, answer.text


def _userinfo(http: httpx.Client, issuer: IssuerUnderTest, token: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return http.get(endpoint(http, issuer, "userinfo_endpoint"), headers=headers)


def test_discovery_says_what_is_so(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    document = http.get(f"{issuer.url}/.well-known/openid-configuration").json()
    assert document["issuer"] == issuer.url
    assert document["response_types_supported"] == ["code"] or "code" in document["response_types_supported"]
    assert "S256" in document["code_challenge_methods_supported"]
    keys = http.get(document["jwks_uri"]).json()["keys"]
    assert keys
    assert not any({"d", "p", "q", "k"} & set(key) for key in keys)


async def test_a_person_logs_in_and_is_believed(
    issuer: IssuerUnderTest, http: httpx.Client, login: Login, verifier: OidcVerifier
) -> None:
    tokens = login.tokens(http)
    assert tokens["token_type"].lower() == "bearer"
    assert tokens["expires_in"] <= 300
    claims = await verifier.verify(tokens["access_token"])
    person = issuer.person
    assert (claims.username, claims.name) == (person.username, person.name)
    assert (claims.subject, claims.client) == (person.sub, issuer.program)
    assert claims.roles >= set(person.roles)
    assert {"openid", "profile", "email"} <= claims.scopes
    assert claims.token_id
    assert claims.session
    assert claims.auth_time is not None
    assert not claims.is_node


def test_the_id_token_answers_this_login(issuer: IssuerUnderTest, http: httpx.Client, login: Login) -> None:
    tokens = login.tokens(http)
    keys = KeySet.import_key_set(http.get(endpoint(http, issuer, "jwks_uri")).json())
    claims = jwt.decode(tokens["id_token"], keys, algorithms=["ES256"]).claims
    assert claims["nonce"] == login.nonce
    assert claims["aud"] in (login.client_id, [login.client_id])
    assert claims["iss"] == issuer.url
    assert claims["sub"] == issuer.person.sub


async def test_an_id_token_is_no_access_token(http: httpx.Client, login: Login, verifier: OidcVerifier) -> None:
    with pytest.raises(Unauthenticated):
        await verifier.verify(login.tokens(http)["id_token"])


def test_userinfo_knows_the_person(issuer: IssuerUnderTest, http: httpx.Client, login: Login) -> None:
    found = _userinfo(http, issuer, login.tokens(http)["access_token"])
    assert found.status_code == 200
    assert found.json()["sub"] == issuer.person.sub
    assert found.json()["preferred_username"] == issuer.person.username


@pytest.mark.parametrize("token", ["rubbish", "a.b.c", "..", "é.é.é"])
def test_userinfo_wants_a_token(issuer: IssuerUnderTest, http: httpx.Client, token: str) -> None:
    headers = [(b"Authorization", f"Bearer {token}".encode())]
    assert http.get(endpoint(http, issuer, "userinfo_endpoint"), headers=headers).status_code == 401


# PKCE ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": "s256"},
        {"code_challenge": "short"},
        {"code_challenge": "x" * 64},
    ],
    ids=["none", "no challenge", "no method", "plain", "lower case", "short", "a verifier"],
)
def test_pkce_is_not_optional(http: httpx.Client, login: Login, changes: dict[str, str | None]) -> None:
    found = answer_of(login.open(http, **changes), login.redirect_uri)
    assert found["error"] == "invalid_request"
    assert found["state"] == login.state
    assert "code" not in found


@pytest.mark.parametrize("verifier", [None, "x" * 43, "short"], ids=["missing", "wrong", "short"])
def test_the_verifier_must_fit(http: httpx.Client, login: Login, verifier: str | None) -> None:
    code = login.code(http)
    answer = login.redeem(http, code, code_verifier=verifier)
    assert answer.status_code == 400
    assert answer.json()["error"] in ("invalid_grant", "invalid_request")
    # The code was spent by it: whoever tries a stolen one has one try.
    _refused(login.redeem(http, code), "invalid_grant")


# Redirects -------------------------------------------------------------------------------------------------------

WRONG_REDIRECTS = [
    "http://127.0.0.1:40123/callback/",
    "http://127.0.0.1:40123/callback?next=http://evil.example",
    "http://127.0.0.1:40123/callback#fragment",
    "http://127.0.0.1:40123/other",
    "http://127.0.0.1:40123/callback/../other",
    "https://127.0.0.1:40123/callback",
    "http://localhost.evil.example/callback",
    "http://127.0.0.1.evil.example/callback",
    "http://127.0.0.1:40123@evil.example/callback",
    "http://evil.example/callback",
    "http://evil.example:40123/callback?http://127.0.0.1:40123/callback",
    "//evil.example/callback",
    "javascript:alert(1)//127.0.0.1:1/callback",
]


@pytest.mark.parametrize("uri", WRONG_REDIRECTS)
def test_nobody_is_sent_to_an_address_that_is_not_registered(http: httpx.Client, login: Login, uri: str) -> None:
    answer = login.open(http, redirect_uri=uri)
    assert answer.status_code == 400
    assert "location" not in answer.headers


def test_errors_are_not_sent_there_either(http: httpx.Client, login: Login) -> None:
    answer = login.open(http, redirect_uri="http://evil.example/callback", response_type="token", scope="nonsense")
    assert answer.status_code == 400
    assert "location" not in answer.headers


def test_an_unknown_program_gets_a_page(http: httpx.Client, login: Login) -> None:
    answer = login.open(http, client_id="nobody")
    assert answer.status_code == 400
    assert "location" not in answer.headers


def test_the_code_is_bound_to_its_address(http: httpx.Client, login: Login) -> None:
    code = login.code(http)
    _refused(login.redeem(http, code, redirect_uri="http://127.0.0.1:40124/callback"), "invalid_grant")


def test_the_code_is_bound_to_its_program(issuer: IssuerUnderTest, http: httpx.Client, login: Login) -> None:
    code = login.code(http)
    _refused(login.redeem(http, code, client_id=issuer.other_program), "invalid_grant")


def test_only_codes_are_given(http: httpx.Client, login: Login) -> None:
    for kind in ("token", "id_token", "code token", "code id_token"):
        answer = login.open(http, response_type=kind)
        assert "code=" not in answer.headers.get("location", "")
        assert "access_token" not in answer.headers.get("location", "")
        assert answer.status_code != 200


# Used once -------------------------------------------------------------------------------------------------------


async def test_a_code_used_twice_ends_its_whole_family(
    issuer: IssuerUnderTest, http: httpx.Client, login: Login, verifier: OidcVerifier
) -> None:
    code = login.code(http)
    tokens = login.redeem(http, code).json()
    assert _userinfo(http, issuer, tokens["access_token"]).status_code == 200
    _refused(login.redeem(http, code), "invalid_grant")
    _refused(renew(http, issuer, tokens["refresh_token"]), "invalid_grant")
    assert _userinfo(http, issuer, tokens["access_token"]).status_code == 401


async def test_renewal_rotates(
    issuer: IssuerUnderTest, http: httpx.Client, login: Login, verifier: OidcVerifier
) -> None:
    first = login.tokens(http)
    second = renew(http, issuer, first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    old, new = await verifier.verify(first["access_token"]), await verifier.verify(second["access_token"])
    assert (old.subject, old.session, old.auth_time) == (new.subject, new.session, new.auth_time)
    assert old.token_id != new.token_id


def test_a_refresh_token_used_twice_ends_its_family(issuer: IssuerUnderTest, http: httpx.Client, login: Login) -> None:
    first = login.tokens(http)
    second = renew(http, issuer, first["refresh_token"]).json()
    _refused(renew(http, issuer, first["refresh_token"]), "invalid_grant")
    _refused(renew(http, issuer, second["refresh_token"]), "invalid_grant")
    assert _userinfo(http, issuer, second["access_token"]).status_code == 401


def test_a_refresh_token_is_bound_to_its_program(issuer: IssuerUnderTest, http: httpx.Client, login: Login) -> None:
    tokens = login.tokens(http)
    _refused(renew(http, issuer, tokens["refresh_token"], issuer.other_program), "invalid_grant")


def test_renewal_does_not_widen_the_scope(issuer: IssuerUnderTest, http: httpx.Client, login: Login) -> None:
    answer = login.redeem(http, login.code(http, scope="openid"))
    data: dict[str, str | None] = {"grant_type": "refresh_token", "client_id": issuer.program}
    data |= {"refresh_token": answer.json()["refresh_token"], "scope": "openid profile email administrator"}
    _refused(token_call(http, issuer, data), "invalid_scope")


@pytest.mark.parametrize("what", ["code", "refresh_token"])
def test_of_many_at_once_at_most_one_wins(issuer: IssuerUnderTest, http: httpx.Client, login: Login, what: str) -> None:
    code = login.code(http)
    refresh = "" if what == "code" else login.redeem(http, code).json()["refresh_token"]

    def attempt(_: int) -> int:
        with httpx.Client(timeout=20, trust_env=False) as own:
            return (login.redeem(own, code) if what == "code" else renew(own, issuer, refresh)).status_code

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(attempt, range(8)))
    assert found.count(200) == 1
    assert found.count(400) == 7


# Ends ------------------------------------------------------------------------------------------------------------


def _revoke(http: httpx.Client, issuer: IssuerUnderTest, token: str, client_id: str) -> httpx.Response:
    data = {"token": token, "client_id": client_id}
    return http.post(endpoint(http, issuer, "revocation_endpoint"), data=data)


def test_a_revoked_access_token_is_worth_nothing(issuer: IssuerUnderTest, http: httpx.Client, login: Login) -> None:
    tokens = login.tokens(http)
    assert _revoke(http, issuer, tokens["access_token"], issuer.program).status_code == 200
    assert _userinfo(http, issuer, tokens["access_token"]).status_code == 401


def test_a_revoked_refresh_token_ends_the_session(issuer: IssuerUnderTest, http: httpx.Client, login: Login) -> None:
    tokens = login.tokens(http)
    assert _revoke(http, issuer, tokens["refresh_token"], issuer.program).status_code == 200
    _refused(renew(http, issuer, tokens["refresh_token"]), "invalid_grant")
    assert _userinfo(http, issuer, tokens["access_token"]).status_code == 401


def test_nobody_revokes_anothers_token(issuer: IssuerUnderTest, http: httpx.Client, login: Login) -> None:
    tokens = login.tokens(http)
    _revoke(http, issuer, tokens["access_token"], issuer.other_program)
    _revoke(http, issuer, tokens["refresh_token"], issuer.other_program)
    assert _userinfo(http, issuer, tokens["access_token"]).status_code == 200
    assert renew(http, issuer, tokens["refresh_token"]).status_code == 200


def test_revoking_rubbish_is_no_error(issuer: IssuerUnderTest, http: httpx.Client) -> None:
    assert _revoke(http, issuer, "rubbish", issuer.program).status_code == 200


def test_the_program_ends_the_session(issuer: IssuerUnderTest, http: httpx.Client, login: Login) -> None:
    tokens = login.tokens(http)
    address = endpoint(http, issuer, "end_session_endpoint")
    answer = http.get(address, params={"id_token_hint": tokens["id_token"]})
    assert answer.status_code < 400
    _refused(renew(http, issuer, tokens["refresh_token"]), "invalid_grant")
    # The browser's login went with it: the page asks for the password again.
    assert 'name="password"' in login.open(http).text


@pytest.mark.parametrize("uri", ["http://evil.example/", "http://127.0.0.1:40123/callback"])
def test_log_out_sends_nobody_elsewhere(issuer: IssuerUnderTest, http: httpx.Client, login: Login, uri: str) -> None:
    tokens = login.tokens(http)
    address = endpoint(http, issuer, "end_session_endpoint")
    answer = http.get(address, params={"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": uri})
    assert not answer.headers.get("location", "").startswith(uri)


def test_a_link_alone_logs_nobody_out(issuer: IssuerUnderTest, http: httpx.Client, login: Login) -> None:
    tokens = login.tokens(http)
    address = endpoint(http, issuer, "end_session_endpoint")
    for hint in ({}, {"id_token_hint": tokens["access_token"]}, {"id_token_hint": "rubbish"}):
        http.get(address, params=hint)
    assert renew(http, issuer, tokens["refresh_token"]).status_code == 200


# Odd tokens from the issuer itself -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("odd", "code"),
    [
        ("expired_token", "token_expired"),
        ("token_without_audience", "audience_missing"),
        ("token_for_another_audience", "audience_wrong"),
    ],
)
async def test_odd_tokens_are_refused(issuer: IssuerUnderTest, verifier: OidcVerifier, odd: str, code: str) -> None:
    token = getattr(issuer, odd)()
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify(token)
    assert caught.value.word == code
    assert caught.value.remedy
    assert token not in str(caught.value)


# Other ways in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        {"grant_type": "password", "username": "rae", "password": "x"},
        {"grant_type": "client_credentials"},
        {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "x"},
        {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": "x"},
        {"grant_type": "nonsense"},
        {},
    ],
    ids=lambda data: str(data.get("grant_type", "none")).rpartition(":")[2],
)
def test_there_is_no_other_way_in(issuer: IssuerUnderTest, http: httpx.Client, data: dict[str, Any]) -> None:
    answer = token_call(http, issuer, {**data, "client_id": issuer.program})
    assert answer.status_code in (400, 401)
    assert "access_token" not in json.dumps(answer.json())


# Guessing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("username", ["rae", "nobody-of-that-name"])
def test_guessing_locks_the_name(issuer: IssuerUnderTest, http: httpx.Client, login: Login, username: str) -> None:
    answers = [
        issuer.fill_in(http, login.open(http), username, f"wrong password {n}") for n in range(issuer.guesses + 1)
    ]
    assert all("location" not in answer.headers for answer in answers)
    # Now even the right one is not looked at, and the page of a name that nobody has says the same.
    last = issuer.fill_in(http, login.open(http), username, issuer.person.password)
    assert "location" not in last.headers
    assert answers[-1].status_code == last.status_code == 429
    assert int(last.headers["retry-after"]) > 0
    # Nobody else is locked out by it.
    other = issuer.fill_in(http, login.open(http), "somebody-else", "wrong password")
    assert other.status_code != 429
