"""Logging in without a library: authorization code with PKCE over a loopback address, renewal, log-out.

``login_with_browser`` is for people and any issuer; ``login_with_password`` is for the embedded issuer alone;
``TokenStore`` keeps what they return. All raise ``NotLoggedIn`` and ``FacilityUnreachable``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from labcommons.client.addresses import checked, is_loopback
from labcommons.client.errors import FacilityUnreachable, NotLoggedIn
from labcommons.client.oidc import clock
from labcommons.client.oidc.callback import Callback, open_browser, to_stderr
from labcommons.client.oidc.loginform import read_form
from labcommons.client.oidc.tokens import TokenFile, Tokens

__all__ = ["TokenStore", "Tokens", "login_with_browser", "login_with_password", "logout", "refresh"]

CLIENT_ID = "labcommons-cli"
_SCOPE = "openid profile email"
_AGAIN = "run `labcommons login` again"


class TokenStore(TokenFile):
    """The file of tokens at ``path`` (mode 0600), with silent renewal at the issuer that each came from.

    ``facility``: the URL for which tokens may be given out; None: that of the last login.
    """

    def __init__(self, path: Path, facility: str | None = None, *, now: Callable[[], float] = clock.now) -> None:
        super().__init__(path, refresh, facility, now=now)


@dataclass(frozen=True, slots=True)
class _Issuer:
    """What discovery said."""

    facility: str
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The secrets of one login: they tie the answer to the question."""

    redirect_uri: str
    state: str
    nonce: str
    verifier: str

    @classmethod
    def begin(cls, redirect_uri: str) -> _Attempt:
        return cls(redirect_uri, secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48))

    def address(self, issuer: _Issuer) -> str:
        """The page to open."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": self.redirect_uri,
            "scope": _SCOPE,
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{issuer.authorization_endpoint}?{urlencode(query)}"


def login_with_browser(
    url: str,
    *,
    announce: Callable[[str], object] = to_stderr,
    browse: Callable[[str], object] = open_browser,
    timeout_s: float = 300.0,
) -> Tokens:
    """Log in at the facility ``url`` through the browser of this machine.

    ``announce`` is told the address to open, for when no browser opens by itself. Waits ``timeout_s`` seconds.
    """
    with _http(url) as http, Callback() as callback:
        issuer = _discover(http, url)
        attempt = _Attempt.begin(callback.redirect_uri)
        address = attempt.address(issuer)
        announce(f"Log in here: {address}")
        browse(address)
        answer = callback.wait(attempt.state, clock.monotonic() + timeout_s)
        return _exchange(http, issuer, attempt, answer)


def login_with_password(url: str, username: str, password: str) -> Tokens:
    """Log in at the facility ``url`` without a browser, by filling in the login page of its **embedded** issuer.

    For scripts and tests on the machine of the facility. Refused for any other issuer: a program that asks for the
    password of an institution's account teaches people to give it away, and cannot do their second factor.
    """
    with _http(url) as http:
        issuer = _discover(http, url)
        if not is_loopback(issuer.authorization_endpoint):
            raise NotLoggedIn(
                f"{issuer.issuer} is not an embedded issuer, so it takes passwords in its own pages only",
                code="password_refused",
                remedy="log in with the browser: `labcommons login`",
            )
        attempt = _Attempt.begin("http://127.0.0.1:1/callback")
        page = _call(http, "GET", attempt.address(issuer))
        form = read_form(page.text)
        if form is None:
            raise NotLoggedIn("the login page has no form that this program knows", remedy=_AGAIN)
        fields = {**form.fields, "username": username, "password": password, "deed": "login"}
        answer = _call(http, "POST", str(page.url.join(form.action)), data=fields)
        location = answer.headers.get("location", "")
        if not location.startswith(attempt.redirect_uri + "?"):
            problem = read_form(answer.text)
            raise NotLoggedIn(
                (problem.problem if problem else "") or "the user name or the password is wrong",
                code="login_refused",
                remedy="check user name and password; on a demo facility they are in people.json",
            )
        return _exchange(http, issuer, attempt, dict(httpx.URL(location).params))


def refresh(tokens: Tokens) -> Tokens:
    """New tokens for the same session; the old refresh token is spent. Raises ``NotLoggedIn`` if it has ended."""
    if tokens.refresh_token is None:
        raise NotLoggedIn("the login cannot be renewed", remedy=_AGAIN)
    with _http(tokens.facility) as http:
        answer = _call(
            http,
            "POST",
            tokens.token_endpoint,
            data={
                "grant_type": "refresh_token",
                "refresh_token": tokens.refresh_token,
                "client_id": tokens.client_id,
            },
        )
    body = _granted(answer)
    return replace(
        tokens,
        access_token=str(body["access_token"]),
        refresh_token=body.get("refresh_token", tokens.refresh_token),
        id_token=body.get("id_token", tokens.id_token),
        expires_at=clock.now() + float(body.get("expires_in", 60)),
    )


def logout(tokens: Tokens) -> None:
    """End the session at the issuer: its refresh and access tokens are worth nothing afterwards."""
    token = tokens.refresh_token or tokens.access_token
    with _http(tokens.facility) as http:
        answer = _call(http, "POST", tokens.revocation_endpoint, data={"token": token, "client_id": tokens.client_id})
    if not answer.is_success:
        raise NotLoggedIn(f"the issuer did not end the session ({answer.status_code})", remedy="it ends by itself")


def _http(url: str) -> httpx.Client:
    # No proxy from the environment on loopback: it would be asked for its own 127.0.0.1.
    return httpx.Client(timeout=httpx.Timeout(30.0, connect=5.0), trust_env=not is_loopback(url))


def _discover(http: httpx.Client, url: str) -> _Issuer:
    facility = checked(url).rstrip("/")
    answer = _call(http, "GET", f"{facility}/oidc/.well-known/openid-configuration", follow_redirects=True)
    try:
        found = answer.raise_for_status().json()
        return _Issuer(
            facility,
            str(found["issuer"]),
            checked(found["authorization_endpoint"]),
            checked(found["token_endpoint"]),
            checked(found["revocation_endpoint"]),
        )
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
        raise FacilityUnreachable(
            f"{facility} does not say where to log in ({error})",
            remedy="check that the address is a facility's (`labcommons up` prints it)",
        ) from error


def _call(http: httpx.Client, method: str, url: str, **more: Any) -> httpx.Response:
    try:
        return http.request(method, url, **more)
    except httpx.HTTPError as error:
        raise FacilityUnreachable(
            f"{urlsplit(url).netloc} does not answer ({error})", remedy="see whether it runs, then repeat"
        ) from error


def _exchange(http: httpx.Client, issuer: _Issuer, attempt: _Attempt, answer: Mapping[str, str]) -> Tokens:
    """The tokens for the code in ``answer``, which is checked against the question first."""
    if not hmac.compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
        raise NotLoggedIn("the answer belongs to another login", code="state_mismatch", remedy=_AGAIN)
    if answer.get("iss", issuer.issuer) != issuer.issuer:
        raise NotLoggedIn("the answer comes from another issuer", code="issuer_mismatch", remedy=_AGAIN)
    if "code" not in answer:
        word = answer.get("error", "no code")
        raise NotLoggedIn(f"the issuer did not log you in: {word}", code="login_refused", remedy=_AGAIN)
    body = _granted(
        _call(
            http,
            "POST",
            issuer.token_endpoint,
            data={
                "grant_type": "authorization_code",
                "code": answer["code"],
                "redirect_uri": attempt.redirect_uri,
                "client_id": CLIENT_ID,
                "code_verifier": attempt.verifier,
            },
        )
    )
    _check_id_token(str(body.get("id_token", "")), issuer, attempt)
    return Tokens(
        facility=issuer.facility,
        issuer=issuer.issuer,
        client_id=CLIENT_ID,
        token_endpoint=issuer.token_endpoint,
        revocation_endpoint=issuer.revocation_endpoint,
        expires_at=clock.now() + float(body.get("expires_in", 60)),
        access_token=str(body["access_token"]),
        refresh_token=body.get("refresh_token"),
        id_token=body.get("id_token"),
    )


def _granted(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if answer.is_success and isinstance(body, dict) and "access_token" in body:
        return body
    if answer.status_code >= 500 or not isinstance(body, dict):
        raise FacilityUnreachable(
            f"the issuer answers {answer.status_code} and nothing that can be used", remedy="repeat in a few seconds"
        )
    if body.get("error") == "invalid_grant":
        raise NotLoggedIn("the login has ended", code="session_ended", remedy=_AGAIN)
    word = body.get("error_description") or body.get("error") or "the issuer gave no token"
    raise NotLoggedIn(str(word), code="login_refused", remedy=_AGAIN)


def _check_id_token(token: str, issuer: _Issuer, attempt: _Attempt) -> None:
    """Raise ``NotLoggedIn`` unless the ID token answers this very login.

    It came straight from the issuer, over TLS or within this machine, so its signature need not be checked (OpenID
    Connect Core, 3.1.3.7); that it was made for us and for now must be.
    """
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        good = claims["iss"] == issuer.issuer and CLIENT_ID in audience and claims["nonce"] == attempt.nonce
    except (IndexError, ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise NotLoggedIn("the ID token belongs to another login", code="id_token_mismatch", remedy=_AGAIN)
