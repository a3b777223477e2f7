"""The client's own login against the real issuer: browser, password, renewal, log-out, and the file of tokens."""

import json
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from contract.identity.issuers import EmbeddedIssuer, embedded
from labcommons.client.errors import FacilityUnreachable, NotLoggedIn
from labcommons.client.oidc import Tokens, TokenStore, login_with_browser, login_with_password, logout, refresh
from labcommons.client.oidc.callback import Callback, open_browser, to_stderr
from labcommons.client.oidc.tokens import TokenFile
from labcommons.facility.clock import SystemClock
from labcommons.facility.identity.verifier import create_verifier

pytestmark = pytest.mark.slow

TOKENS = Tokens(
    facility="http://127.0.0.1:1",
    issuer="http://127.0.0.1:1/oidc",
    client_id="labcommons-cli",
    token_endpoint="http://127.0.0.1:1/oidc/token",
    revocation_endpoint="http://127.0.0.1:1/oidc/revoke",
    expires_at=1000.0,
    access_token="access-0",
    refresh_token="refresh-0",
)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedIssuer]:
    with embedded(tmp_path_factory.mktemp("issuer")) as made:
        yield made


@pytest.fixture
def url(issuer: EmbeddedIssuer) -> str:
    return issuer.url.removesuffix("/oidc")


# Against the issuer ----------------------------------------------------------------------------------------------


async def test_by_password(issuer: EmbeddedIssuer, url: str) -> None:
    tokens = login_with_password(url, issuer.person.username, issuer.person.password)
    verifier = create_verifier(issuer.url, SystemClock(), issuer.denylist)
    claims = await verifier.verify(tokens.access_token)
    assert claims.subject == issuer.person.sub
    assert claims.client == "labcommons-cli"
    assert tokens.facility == url
    assert tokens.access_token not in repr(tokens)
    fresh = refresh(tokens)
    assert (await verifier.verify(fresh.access_token)).session == claims.session
    logout(fresh)
    with pytest.raises(NotLoggedIn) as caught:
        refresh(fresh)
    assert caught.value.word == "session_ended"
    assert caught.value.remedy


def test_a_wrong_password_says_what_the_page_says(issuer: EmbeddedIssuer, url: str) -> None:
    with pytest.raises(NotLoggedIn) as caught:
        login_with_password(url, issuer.person.username, "not the password")
    assert caught.value.word == "login_refused"
    assert "user name or the password is wrong" in caught.value.detail
    assert "not the password" not in str(caught.value)


class Person:
    """Does in a thread what a person does in a browser."""

    def __init__(self, issuer: EmbeddedIssuer, before: Callable[[str], object] | None = None) -> None:
        self.issuer = issuer
        self.before = before
        self.last: httpx.Response | None = None
        self.thread: threading.Thread | None = None

    def browse(self, address: str) -> None:
        self.thread = threading.Thread(target=self._browse, args=(address,))
        self.thread.start()

    def _browse(self, address: str) -> None:
        with httpx.Client(trust_env=False, timeout=20) as http:
            redirect = parse_qs(urlsplit(address).query)["redirect_uri"][0]
            if self.before is not None:
                self.before(redirect)
            answer = self.issuer.fill_in(http, http.get(address), "rae", self.issuer.person.password)
            self.last = http.get(answer.headers["location"])

    def done(self) -> httpx.Response:
        assert self.thread is not None
        self.thread.join(20)
        assert self.last is not None
        return self.last


def test_by_browser(issuer: EmbeddedIssuer, url: str) -> None:
    said: list[str] = []
    person = Person(issuer)
    tokens = login_with_browser(url, announce=said.append, browse=person.browse, timeout_s=20)
    assert person.done().status_code == 200
    assert "Logged in" in person.done().text
    assert f"{issuer.url}/authorize?" in said[0]
    assert refresh(tokens).access_token != tokens.access_token


def test_what_else_comes_to_the_address_is_turned_away(issuer: EmbeddedIssuer, url: str) -> None:
    found: list[int] = []

    def meddle(redirect: str) -> None:
        odd = ("?code=stolen&state=wrong", "?code=stolen", "/../favicon.ico", "x")
        found.extend(httpx.get(redirect + more, trust_env=False).status_code for more in odd)

    person = Person(issuer, meddle)
    login_with_browser(url, announce=lambda _: None, browse=person.browse, timeout_s=20)
    person.done()
    assert found == [400, 400, 404, 404]


def test_the_person_says_no(issuer: EmbeddedIssuer, url: str) -> None:
    def refuse(address: str) -> None:
        query = parse_qs(urlsplit(address).query)
        where = f"{query['redirect_uri'][0]}?error=access_denied&state={query['state'][0]}"
        threading.Thread(target=httpx.get, args=(where,), kwargs={"trust_env": False}).start()

    with pytest.raises(NotLoggedIn) as caught:
        login_with_browser(url, announce=lambda _: None, browse=refuse, timeout_s=20)
    assert "access_denied" in caught.value.detail


@pytest.mark.parametrize(("name", "value"), [("iss", "https://evil.example"), ("code", "stolen")])
def test_an_answer_that_is_not_ours(issuer: EmbeddedIssuer, url: str, name: str, value: str) -> None:
    def answer(address: str) -> None:
        query = parse_qs(urlsplit(address).query)
        given = {"state": query["state"][0], "iss": issuer.url, "code": "x", name: value}
        where = httpx.URL(query["redirect_uri"][0], params=given)
        threading.Thread(target=httpx.get, args=(where,), kwargs={"trust_env": False}).start()

    with pytest.raises(NotLoggedIn):
        login_with_browser(url, announce=lambda _: None, browse=answer, timeout_s=20)


def test_nobody_comes(url: str) -> None:
    with pytest.raises(NotLoggedIn) as caught:
        login_with_browser(url, announce=lambda _: None, browse=lambda _: None, timeout_s=0.2)
    assert caught.value.word == "login_timeout"


def test_a_facility_that_is_not_there() -> None:
    with pytest.raises(FacilityUnreachable):
        login_with_password("http://127.0.0.1:1", "rae", "x")
    with pytest.raises(FacilityUnreachable):
        refresh(TOKENS)


def test_something_that_is_no_facility(url: str) -> None:
    with pytest.raises(FacilityUnreachable) as caught:
        login_with_password(f"{url}/nowhere", "rae", "x")
    assert caught.value.remedy


def test_plain_http_off_loopback_is_refused() -> None:
    with pytest.raises(NotLoggedIn) as caught:
        login_with_password("http://facility.example", "rae", "x")
    assert caught.value.word == "insecure_transport"
    with pytest.raises(NotLoggedIn) as caught:
        login_with_browser("http://facility.example", announce=print, browse=print)
    assert caught.value.word == "insecure_transport"


def _stand_in(monkeypatch: pytest.MonkeyPatch, answer: Callable[[httpx.Request], httpx.Response]) -> None:
    client = httpx.Client

    def made(**more: Any) -> httpx.Client:
        return client(transport=httpx.MockTransport(answer), timeout=more["timeout"])

    monkeypatch.setattr("labcommons.client.oidc.flow.httpx.Client", made)


def test_no_password_for_an_institutions_issuer(monkeypatch: pytest.MonkeyPatch) -> None:
    base = "https://sso.example/realms/commons"
    names = ("authorization_endpoint", "token_endpoint", "revocation_endpoint")
    document = {"issuer": base} | {name: f"{base}/{name}" for name in names}
    _stand_in(monkeypatch, lambda _: httpx.Response(200, json=document))
    with pytest.raises(NotLoggedIn) as caught:
        login_with_password("https://facility.example", "rae", "secret")
    assert caught.value.word == "password_refused"


@pytest.mark.parametrize(
    "answer", [httpx.Response(502), httpx.Response(200, text="hello"), httpx.Response(500, json={})]
)
def test_an_issuer_that_stumbles_ends_no_login(monkeypatch: pytest.MonkeyPatch, answer: httpx.Response) -> None:
    _stand_in(monkeypatch, lambda _: answer)
    with pytest.raises(FacilityUnreachable):
        refresh(TOKENS)


def test_a_page_without_a_form(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("issuer", "authorization_endpoint", "token_endpoint", "revocation_endpoint")
    document = dict.fromkeys(names, "http://127.0.0.1:1/x")
    _stand_in(
        monkeypatch,
        lambda request: httpx.Response(200, json=document) if "known" in request.url.path else httpx.Response(200),
    )
    with pytest.raises(NotLoggedIn, match="no form"):
        login_with_password("http://127.0.0.1:1", "rae", "x")


def test_without_a_refresh_token() -> None:
    with pytest.raises(NotLoggedIn):
        refresh(replace(TOKENS, refresh_token=None))


# The file --------------------------------------------------------------------------------------------------------


class Renewal:
    """Stands for the issuer: counts, and fails on demand."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []
        self.error: Exception | None = None

    def __call__(self, tokens: Tokens) -> Tokens:
        self.seen.append(tokens.refresh_token)
        if self.error is not None:
            raise self.error
        n = len(self.seen)
        return replace(tokens, access_token=f"access-{n}", refresh_token=f"refresh-{n}", expires_at=1000.0 + 300 * n)


class Now:
    at = 900.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def renewal() -> Renewal:
    return Renewal()


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def store(tmp_path: Path, renewal: Renewal, now: Now) -> TokenFile:
    made = TokenFile(tmp_path / "home" / "tokens.json", renewal, now=now)
    made.save(TOKENS)
    return made


def test_the_file_is_private(store: TokenFile, tmp_path: Path) -> None:
    folder = tmp_path / "home"
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "tokens.json": 0o600,
        "tokens.json.lock": 0o600,
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_good_token_is_given_as_it_is(store: TokenFile, renewal: Renewal) -> None:
    assert store.access_token() == "access-0"
    assert renewal.seen == []
    assert store.load() == TOKENS


def test_a_token_is_renewed_before_it_ends(store: TokenFile, renewal: Renewal, now: Now) -> None:
    now.at = 971.0
    assert store.access_token() == "access-1"
    assert store.access_token() == "access-1"
    assert renewal.seen == ["refresh-0"]
    saved = store.load()
    assert saved is not None
    assert saved.refresh_token == "refresh-1"


def test_a_token_that_was_refused_is_replaced(store: TokenFile, renewal: Renewal) -> None:
    assert store.access_token() == "access-0"
    assert store.renewed() == "access-1"
    assert renewal.seen == ["refresh-0"]


def test_another_process_may_have_been_first(store: TokenFile, renewal: Renewal, now: Now, tmp_path: Path) -> None:
    other = TokenFile(tmp_path / "home" / "tokens.json", renewal, now=now)
    assert store.access_token() == other.access_token() == "access-0"
    assert other.renewed() == "access-1"
    assert store.renewed() == "access-1"
    assert renewal.seen == ["refresh-0"]


def test_many_at_once_renew_once(tmp_path: Path, renewal: Renewal, now: Now, store: TokenFile) -> None:
    now.at = 1100.0

    def ask(_: int) -> str | None:
        return TokenFile(tmp_path / "home" / "tokens.json", renewal, now=now).access_token()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(16))) == {"access-1"}
    assert renewal.seen == ["refresh-0"]


def test_a_login_that_has_ended_is_forgotten(store: TokenFile, renewal: Renewal, now: Now) -> None:
    now.at = 2000.0
    renewal.error = NotLoggedIn("ended")
    assert store.access_token() is None
    assert store.load() is None
    assert store.renewed() is None


def test_an_issuer_that_is_down_ends_no_login(store: TokenFile, renewal: Renewal, now: Now) -> None:
    renewal.error = FacilityUnreachable("down")
    now.at = 980.0
    # It is early, and the old one is good for some seconds yet.
    assert store.access_token() == "access-0"
    with pytest.raises(FacilityUnreachable):
        store.renewed()
    now.at = 1001.0
    with pytest.raises(FacilityUnreachable):
        store.access_token()
    assert store.load() == TOKENS


def test_tokens_go_to_the_facility_that_they_are_for(store: TokenFile, tmp_path: Path) -> None:
    path = tmp_path / "home" / "tokens.json"
    assert TokenStore(path, "http://127.0.0.1:1/", now=lambda: 0.0).access_token() == "access-0"
    assert TokenStore(path, "https://evil.example").access_token() is None
    elsewhere = replace(TOKENS, facility="https://two.example", access_token="access-two")
    TokenStore(path, "https://two.example").save(elsewhere)
    assert TokenStore(path, now=lambda: 0.0).access_token() == "access-two"
    TokenStore(path, "https://two.example").clear()
    assert store.load() is None
    assert TokenStore(path, TOKENS.facility).load() == TOKENS
    TokenStore(path, TOKENS.facility).clear()
    TokenStore(path, TOKENS.facility).clear()
    assert json.loads(path.read_text())["logins"] == {}


@pytest.mark.parametrize("content", ["", "rubbish", "[]", "{}", '{"last": "x", "logins": {"x": {"a": 1}}}', "\xff"])
def test_a_spoilt_file_means_log_in_again(store: TokenFile, tmp_path: Path, content: str) -> None:
    path = tmp_path / "home" / "tokens.json"
    path.write_text(content, encoding="latin-1")
    assert store.access_token() is None
    store.save(TOKENS)
    assert store.access_token() == "access-0"


# Small parts -----------------------------------------------------------------------------------------------------


def test_no_browser_without_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("labcommons.client.oidc.callback.webbrowser.open", opened.append)
    monkeypatch.setattr("labcommons.client.oidc.callback.sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    open_browser("http://127.0.0.1:1/")
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    open_browser("http://127.0.0.1:1/")
    assert opened == ["http://127.0.0.1:1/"]


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    to_stderr("Log in here")
    assert capsys.readouterr() == ("", "Log in here\n")


def test_the_waiting_address_is_loopback() -> None:
    with Callback() as callback:
        assert callback.redirect_uri.startswith("http://127.0.0.1:")
        assert callback.redirect_uri.endswith("/callback")
