"""The authorization endpoint's conversation with a person: who are you, and may this program know?

A person who is logged in already is still asked once for each program: any program on this machine can claim to be the
command line, and a code that is given without a person's deed is given to whoever asked (RFC 8252, section 8.6).
Blocking: the application calls it in worker threads.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from authlib.oauth2.rfc6749.errors import OAuth2Error
from authlib.oidc.core.errors import InteractionRequiredError
from starlette.responses import Response

from labcommons.facility.identity.issuer.config import IssuerConfig
from labcommons.facility.identity.issuer.models import Person
from labcommons.facility.identity.issuer.request import Reply, Request
from labcommons.facility.identity.issuer.server import Server
from labcommons.facility.identity.issuer.store.lockout import Lockout
from labcommons.facility.identity.issuer.web.pages import Form, page
from labcommons.facility.ports import Clock

__all__ = ["FormKeeper", "LoginPage", "Visit"]

_NAME_CHARACTERS = 64
_STALE = "This page was open for too long, or was not opened here. Please try again."


@dataclass(frozen=True, slots=True)
class Visit:
    """One call of a page: the address's parameters, the cookies, and the form of a POST."""

    parameters: Mapping[str, str]
    login: str | None
    form_cookie: str
    form: Mapping[str, str] | None = None
    same_origin: bool = True

    @property
    def query(self) -> str:
        """The parameters in one spelling: a browser may spell an address otherwise when it sends the form there."""
        return urlencode(sorted(self.parameters.items()))


class FormKeeper:
    """Ties a form to the browser that it was sent to: a hidden word that only fits that browser's cookie."""

    def __init__(self) -> None:
        # Forgotten with the process: a form from before a restart says that it is stale, and works at the second try.
        self._key = secrets.token_bytes(32)

    def token(self, visit: Visit) -> str:
        """The hidden word for this browser and this very request."""
        text = f"{visit.form_cookie}\n{visit.query}".encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()

    def fits(self, visit: Visit) -> bool:
        """Whether the form came from a page of ours in this browser."""
        given = (visit.form or {}).get("form_token", "")
        return visit.same_origin and hmac.compare_digest(given.encode(), self.token(visit).encode())


@dataclass(frozen=True, slots=True)
class _Asked:
    """A valid request of a client, and the person that the browser is logged in as, if that will do."""

    request: Request
    grant: Any
    person: Person | None


class LoginPage:
    """GET and POST of ``/authorize``. Answers with a page, or with Authlib's reply and a new login's secret."""

    def __init__(self, config: IssuerConfig, server: Server, lockout: Lockout, clock: Clock, forms: FormKeeper) -> None:
        self._config = config
        self._server = server
        self._lockout = lockout
        self._clock = clock
        self._forms = forms

    def show(self, visit: Visit) -> Response | Reply:
        """What a GET gets."""
        asked = self._ask(visit)
        if not isinstance(asked, _Asked):
            return asked
        if "none" in visit.parameters.get("prompt", "").split():
            error = InteractionRequiredError(redirect_uri=asked.grant.redirect_uri)
            error.state = visit.parameters.get("state")
            return self._refused(asked.request, error)
        return self._page(visit, asked)

    def act(self, visit: Visit) -> tuple[Response | Reply, str | None]:
        """What a POST gets, and the secret of a new login for the browser's cookie."""
        asked = self._ask(visit)
        if not isinstance(asked, _Asked):
            return asked, None
        if not self._forms.fits(visit):
            return self._page(visit, asked, problem=_STALE, status=403), None
        form = visit.form or {}
        match form.get("deed"):
            case "cancel":
                return self._answer(asked, None, None), None
            case "continue" if asked.person is not None and visit.login is not None:
                return self._answer(asked, asked.person, visit.login), None
            case "login":
                return self._log_in(visit, asked, form)
            case _:
                return self._page(visit, _Asked(asked.request, asked.grant, None)), None

    def _ask(self, visit: Visit) -> _Asked | Response | Reply:
        request = Request("GET", f"{self._config.url}/authorize", visit.parameters)
        person = self._known(visit)
        try:
            grant = self._server.get_consent_grant(request, person)
        except OAuth2Error as error:
            return self._refused(request, error)
        return _Asked(request, grant, person)

    def _known(self, visit: Visit) -> Person | None:
        """Who is logged in in this browser, unless the client wants a fresher login."""
        found = self._server.sessions.login(visit.login) if visit.login else None
        if found is None or "login" in visit.parameters.get("prompt", "").split():
            return None
        sub, auth_time = found
        oldest = visit.parameters.get("max_age", "")
        if oldest and not (oldest.isdecimal() and len(oldest) < 10 and self._seconds() - auth_time <= int(oldest)):
            return None
        return self._server.registry.person(sub=sub)

    def _log_in(self, visit: Visit, asked: _Asked, form: Mapping[str, str]) -> tuple[Response | Reply, str | None]:
        username = form.get("username", "").strip()[:_NAME_CHARACTERS]
        asked = _Asked(asked.request, asked.grant, None)
        wait = self._lockout.begin(username)
        if wait:
            problem = (
                f"Too many wrong passwords for this name. It is locked for {wait} more seconds; wait, then try again."
            )
            return self._page(visit, asked, problem, 429, username, {"Retry-After": str(wait)}), None
        person = self._server.registry.authenticate(username, form.get("password", ""))
        if person is None:
            problem = "The user name or the password is wrong. Check both and try again."
            return self._page(visit, asked, problem, 401, username), None
        self._lockout.succeed(username)
        secret = self._server.sessions.open_login(person.sub)
        return self._answer(asked, person, secret), secret

    def _answer(self, asked: _Asked, person: Person | None, login: str | None) -> Reply:
        asked.request.login = login
        asked.request.user = person
        reply: Reply = self._server.create_authorization_response(asked.request, person, asked.grant)
        return reply

    def _refused(self, request: Request, error: OAuth2Error) -> Response | Reply:
        """Back to the client if its address is beyond doubt; else a page, which leads nowhere."""
        if error.redirect_uri:
            reply: Reply = self._server.handle_error_response(request, error)
            return reply
        lines = ["The program that sent you here asked for something that cannot be given.", "Go back and start again."]
        return page(
            "You cannot be logged in from here", problem=error.description or error.error, lines=lines, status=400
        )

    def _page(
        self,
        visit: Visit,
        asked: _Asked,
        problem: str = "",
        status: int = 200,
        username: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        client_id = asked.request.client.client_id
        action = f"{self._config.url}/authorize?{visit.query}"
        token = self._forms.token(visit)
        if asked.person is None:
            lines = [f"The program “{client_id}” wants to know who you are."]
            form = Form(action, token, "login", "Log in", [("cancel", "Cancel")], password=True, username=username)
        else:
            lines = [f"You are logged in as {asked.person.name}.", f"The program “{client_id}” wants to act for you."]
            others = [("switch", "Log in as somebody else"), ("cancel", "Cancel")]
            form = Form(action, token, "continue", f"Continue as {asked.person.username}", others)
        return page(
            "Log in to the facility",
            lines=lines,
            problem=problem,
            form=form,
            status=status,
            headers=headers,
            redirect_uri=asked.grant.redirect_uri,
        )

    def _seconds(self) -> float:
        return self._clock.now().timestamp()
