"""The embedded issuer's own pages and endpoints: forms, cookies, headers, and words that have no place in a request."""

from collections.abc import Iterator
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.identity.issuers import EmbeddedIssuer, Login, answer_of, embedded, endpoint, renew
from labcommons.client.oidc.loginform import read_form

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedIssuer]:
    with embedded(tmp_path_factory.mktemp("issuer")) as made:
        yield made


def _post(http: httpx.Client, page: httpx.Response, deed: str, **changes: str) -> httpx.Response:
    form = read_form(page.text)
    assert form is not None
    headers = {"Origin": changes.pop("origin")} if "origin" in changes else {}
    data = {**form.fields, "deed": deed, **changes}
    return http.post(page.url.join(form.action), data=data, headers=headers)


def _log_in(http: httpx.Client, login: Login) -> str:
    return login.code(http)


# The form --------------------------------------------------------------------------------------------------------


def test_the_page_can_be_used_by_everybody(http: httpx.Client, login: Login) -> None:
    text = login.open(http).text
    assert '<html lang="en">' in text
    assert 'name="viewport"' in text
    for name in ("username", "password"):
        assert f'<label for="{name}">' in text
        assert f'id="{name}"' in text
    assert 'autocomplete="current-password"' in text
    assert "<script" not in text


def test_a_wrong_password_is_said_clearly(issuer: EmbeddedIssuer, http: httpx.Client, login: Login) -> None:
    answer = issuer.fill_in(http, login.open(http), "rae", "not the password")
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert "user name or the password is wrong" in answer.text
    assert 'value="rae"' in answer.text
    assert "not the password" not in answer.text
    unknown = issuer.fill_in(http, login.open(http), "nobody", "not the password")
    assert unknown.text.count("user name or the password is wrong") == 1


def test_what_was_typed_comes_back_as_text(issuer: EmbeddedIssuer, http: httpx.Client, login: Login) -> None:
    answer = issuer.fill_in(http, login.open(http), '"><script>alert(1)</script>', "not the password")
    assert "<script" not in answer.text


def test_a_form_from_nowhere(issuer: EmbeddedIssuer, http: httpx.Client, login: Login) -> None:
    page = login.open(http)
    right = {"username": "rae", "password": issuer.person.password}
    for changes in (
        {"form_token": ""},
        {"form_token": "0" * 64},
        {"origin": "http://evil.example"},
        {"origin": "null"},
    ):
        answer = _post(http, page, "login", **right, **changes)
        assert answer.status_code == 403
        assert "location" not in answer.headers
    origin = issuer.url.removesuffix("/oidc")
    assert "location" in _post(http, page, "login", **right, origin=origin).headers


def test_a_form_of_another_browser(issuer: EmbeddedIssuer, http: httpx.Client, login: Login) -> None:
    page = login.open(http)
    with httpx.Client(trust_env=False) as other:
        answer = _post(other, page, "login", username="rae", password=issuer.person.password)
    assert answer.status_code == 403


def test_a_form_of_another_request(issuer: EmbeddedIssuer, http: httpx.Client, login: Login) -> None:
    other = read_form(Login(issuer, issuer.other_program).open(http).text)
    assert other is not None
    page = login.open(http)
    answer = _post(http, page, "login", form_token=other.fields["form_token"], username="rae", password="x")
    assert answer.status_code == 403


def test_the_page_asks_before_it_tells_another_program(issuer: EmbeddedIssuer, http: httpx.Client) -> None:
    _log_in(http, Login(issuer, issuer.program))
    login = Login(issuer, issuer.other_program)
    page = login.open(http)
    assert 'name="password"' not in page.text
    assert issuer.other_program in page.text
    found = answer_of(_post(http, page, "continue"), login.redirect_uri)
    assert login.redeem(http, found["code"]).status_code == 200


def test_nobody_goes_on_without_a_login(http: httpx.Client, login: Login) -> None:
    answer = _post(http, login.open(http), "continue")
    assert "location" not in answer.headers
    assert 'name="password"' in answer.text


def test_somebody_else_can_log_in(http: httpx.Client, login: Login) -> None:
    _log_in(http, login)
    assert 'name="password"' in _post(http, login.open(http), "switch").text


def test_cancelling_tells_the_program(http: httpx.Client, login: Login) -> None:
    found = answer_of(_post(http, login.open(http), "cancel"), login.redirect_uri)
    assert found["error"] == "access_denied"
    assert found["state"] == login.state


@pytest.mark.parametrize("changes", [{"prompt": "login"}, {"max_age": "0"}, {"max_age": "-1"}, {"max_age": "soon"}])
def test_a_program_can_ask_for_a_fresh_login(http: httpx.Client, login: Login, changes: dict[str, str]) -> None:
    _log_in(http, login)
    assert 'name="password"' not in login.open(http, max_age="3600").text
    assert 'name="password"' in login.open(http, **changes).text


def test_a_silent_login_is_not_had(http: httpx.Client, login: Login) -> None:
    assert answer_of(login.open(http, prompt="none"), login.redirect_uri)["error"] == "login_required"
    _log_in(http, login)
    assert answer_of(login.open(http, prompt="none"), login.redirect_uri)["error"] == "interaction_required"


def test_every_answer_names_its_issuer(issuer: EmbeddedIssuer, http: httpx.Client, login: Login) -> None:
    good = issuer.fill_in(http, login.open(http), "rae", issuer.person.password)
    assert answer_of(good, login.redirect_uri)["iss"] == issuer.url
    assert answer_of(login.open(http, code_challenge=None), login.redirect_uri)["iss"] == issuer.url


@pytest.mark.parametrize("changes", [{"response_mode": "form_post"}, {"request": "x"}, {"request_uri": "x"}])
def test_what_is_not_supported_is_said(http: httpx.Client, login: Login, changes: dict[str, str]) -> None:
    assert answer_of(login.open(http, **changes), login.redirect_uri)["error"] == "invalid_request"


# Log-out by hand -------------------------------------------------------------------------------------------------


def test_a_person_logs_out_by_the_button(issuer: EmbeddedIssuer, http: httpx.Client, login: Login) -> None:
    tokens = login.tokens(http)
    page = http.get(endpoint(http, issuer, "end_session_endpoint"))
    assert renew(http, issuer, tokens["refresh_token"]).status_code == 200
    assert "You are logged out" in _post(http, page, "logout").text
    assert 'name="password"' in login.open(http).text


def test_log_out_leads_back_to_a_registered_address(issuer: EmbeddedIssuer, http: httpx.Client) -> None:
    home = "http://127.0.0.1:8400/goodbye"
    issuer.admin.add_client(
        "labcommons-portal", redirect_uris=["http://127.0.0.1:8400/callback"], post_logout_redirect_uris=[home]
    )
    tokens = Login(issuer, "labcommons-portal", redirect_uri="http://127.0.0.1:8400/callback").tokens(http)
    address = endpoint(http, issuer, "end_session_endpoint")
    params = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": home, "state": "s"}
    assert http.get(address, params=params).headers["location"] == f"{home}?state=s"
    without = http.get(address, params={"post_logout_redirect_uri": home, "client_id": "labcommons-portal"})
    assert "location" not in without.headers


def test_a_fixed_address_has_a_fixed_port(issuer: EmbeddedIssuer, http: httpx.Client) -> None:
    issuer.admin.add_client("fixed", redirect_uris=["http://127.0.0.1:8401/callback"])
    login = Login(issuer, "fixed", redirect_uri="http://127.0.0.1:8401/callback")
    assert login.open(http).status_code == 200
    assert login.open(http, redirect_uri="http://127.0.0.1:8402/callback").status_code == 400


@pytest.mark.parametrize("port", ["0", "65536", "99999999", "", "40123x", "٣٣٣٣"])
def test_any_port_is_any_real_port(http: httpx.Client, login: Login, port: str) -> None:
    answer = login.open(http, redirect_uri=f"http://127.0.0.1:{port}/callback")
    assert answer.status_code == 400


# Cookies and headers ---------------------------------------------------------------------------------------------


def test_cookies_stay_on_the_login_page(issuer: EmbeddedIssuer, http: httpx.Client, login: Login) -> None:
    answer = issuer.fill_in(http, login.open(http), "rae", issuer.person.password)
    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 2
    for cookie in cookies:
        assert not cookie.startswith("sid=")
        assert "Path=/oidc/authorize" in cookie
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()
        assert issuer.url.rpartition(":")[2].partition("/")[0] in cookie.partition("=")[0]


def test_the_code_is_not_the_cookie(issuer: EmbeddedIssuer, http: httpx.Client, login: Login) -> None:
    tokens = login.tokens(http)
    secrets = {cookie.value for cookie in http.cookies.jar}
    assert not secrets & {str(value) for value in tokens.values()}


def test_the_form_is_not_repeated_at_the_program(issuer: EmbeddedIssuer, http: httpx.Client, login: Login) -> None:
    answer = issuer.fill_in(http, login.open(http), "rae", issuer.person.password)
    assert answer.status_code == 303


def test_nothing_is_cached_framed_or_guessed(issuer: EmbeddedIssuer, http: httpx.Client, login: Login) -> None:
    page = login.open(http)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:40123;" in policy
    for answer in (page, renew(http, issuer, "x"), http.get(f"{issuer.url}/jwks")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost@evil", ""])
def test_another_name_for_this_machine(issuer: EmbeddedIssuer, http: httpx.Client, host: str) -> None:
    address = f"{issuer.url}/.well-known/openid-configuration"
    assert http.get(address, headers={"Host": host}).status_code in (400, 421)


def test_a_forged_host_changes_nothing(issuer: EmbeddedIssuer, http: httpx.Client) -> None:
    address = f"{issuer.url}/.well-known/openid-configuration"
    assert http.get(address, headers={"Host": "localhost:1", "X-Forwarded-Host": "evil"}).json()["issuer"] == issuer.url


# Words that have no place ----------------------------------------------------------------------------------------

BAD = {"nul": "\x00", "newline": "a\r\nSet-Cookie: x=y", "escape": "\x1b[31m", "delete": "\x7f", "c1": "\x85"}
BAD |= {"quote": 'a"b', "backslash": "a\\b", "right to left": "\u202e", "letter": "é", "long": "x" * 9000}
BAD_NAMES = ["response_type", "client_id", "redirect_uri", "scope", "code_challenge", "prompt", "nonce", "state"]


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
@pytest.mark.parametrize("name", BAD_NAMES)
def test_control_characters_in_the_question(http: httpx.Client, login: Login, name: str, value: str) -> None:
    answer = login.open(http, **{name: value})
    if name in ("state", "nonce") and value in ('a"b', "a\\b"):
        assert answer.status_code == 200
        return
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
@pytest.mark.parametrize("name", ["grant_type", "code", "refresh_token", "client_id", "client_assertion", "token"])
def test_control_characters_in_a_call(issuer: EmbeddedIssuer, http: httpx.Client, name: str, value: str) -> None:
    for path in ("token", "revoke"):
        data = {"grant_type": "refresh_token", "client_id": issuer.program, name: value}
        answer = http.post(f"{issuer.url}/{path}", data=data)
        assert answer.status_code == 400
        assert answer.json()["error"] == "invalid_request"


@pytest.mark.parametrize("name", ["client_id", "redirect_uri", "state", "scope", "code_challenge", "nonce"])
def test_no_parameter_twice(issuer: EmbeddedIssuer, http: httpx.Client, login: Login, name: str) -> None:
    query = [*login.question().items(), (name, login.question()[name])]
    answer = http.get(f"{issuer.url}/authorize?{urlencode(query)}")
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{}", "application/json"),
        (b"grant_type=refresh_token", "text/plain"),
        (b"x" * 70_000, "application/x-www-form-urlencoded"),
        (b"&".join(b"p%d=1" % n for n in range(100)), "application/x-www-form-urlencoded"),
        (b"no equals sign", "application/x-www-form-urlencoded"),
        (b"a=%ff%fe", "application/x-www-form-urlencoded"),
        (b"a=\xff\xfe", "application/x-www-form-urlencoded"),
        (b"grant_type=refresh_token&grant_type=refresh_token", "application/x-www-form-urlencoded"),
    ],
    ids=["json", "text", "too long", "too many", "no pairs", "not utf-8", "not ascii", "twice"],
)
def test_bodies_that_are_no_form(issuer: EmbeddedIssuer, http: httpx.Client, content: bytes, kind: str) -> None:
    answer = http.post(f"{issuer.url}/token", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"


def test_tokens_are_posted_for(issuer: EmbeddedIssuer, http: httpx.Client) -> None:
    for path in ("token", "revoke"):
        assert http.get(f"{issuer.url}/{path}", params={"grant_type": "client_credentials"}).status_code == 405


WORDS = st.dictionaries(
    st.sampled_from([*BAD_NAMES, "code", "code_verifier", "refresh_token", "client_assertion", "grant_type", "max_age"])
    | st.text(max_size=8),
    st.sampled_from(["code", "labcommons-cli", "authorization_code", "refresh_token", "client_credentials", "openid"])
    | st.text(max_size=40),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(changes=WORDS)
def test_nothing_makes_it_stumble(
    issuer: EmbeddedIssuer, http: httpx.Client, login: Login, changes: dict[str, str]
) -> None:
    question = http.get(f"{issuer.url}/authorize", params={**login.question(), **changes})
    assert question.status_code < 500
    call = http.post(f"{issuer.url}/token", data={"client_id": issuer.program, **changes})
    assert 400 <= call.status_code < 500
    logout = http.get(f"{issuer.url}/authorize/end_session", params=changes)
    assert logout.status_code < 500
