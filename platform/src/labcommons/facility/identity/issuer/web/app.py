"""The issuer's endpoints as an application to be mounted at ``/oidc``.

Handlers read the request in the event loop and decide in worker threads. Discovery and keys are answered in the loop
itself: the facility's own verifier, in this very process, must never wait for a thread that waits for it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labcommons.core.errors import Unauthenticated
from labcommons.facility.identity.issuer.config import IssuerConfig
from labcommons.facility.identity.issuer.request import MAXIMUM_BYTES, BadParameters, Reply, Request, read_parameters
from labcommons.facility.identity.issuer.server import Server
from labcommons.facility.identity.issuer.store.lockout import Lockout
from labcommons.facility.identity.issuer.tokens import profile
from labcommons.facility.identity.issuer.web.discovery import discovery_document
from labcommons.facility.identity.issuer.web.login import FormKeeper, LoginPage, Visit
from labcommons.facility.identity.issuer.web.logout import PATH as LOGOUT_PATH
from labcommons.facility.identity.issuer.web.logout import LogoutPage
from labcommons.facility.identity.issuer.web.pages import page
from labcommons.facility.identity.verifier import OidcVerifier
from labcommons.facility.ports import Clock

__all__ = ["create_app"]

_FORM = "application/x-www-form-urlencoded"
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_HEADERS = (
    (b"cache-control", b"no-store"),
    # Not no-referrer: then browsers would hide the Origin of our own form.
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)


def create_app(config: IssuerConfig, server: Server, lockout: Lockout, verifier: OidcVerifier, clock: Clock) -> ASGIApp:
    """The application. ``verifier`` knows the issuer's keys without any call."""
    endpoints = _Endpoints(config, server, lockout, verifier, clock)
    routes = [
        Route("/.well-known/openid-configuration", endpoints.discovery),
        Route("/jwks", endpoints.jwks),
        Route("/authorize", endpoints.authorize, methods=["GET", "POST"]),
        Route(LOGOUT_PATH, endpoints.end_session, methods=["GET", "POST"]),
        Route("/token", endpoints.token, methods=["POST"]),
        Route("/revoke", endpoints.revoke, methods=["POST"]),
        Route("/userinfo", endpoints.userinfo, methods=["GET", "POST"]),
    ]
    return _Guard(Starlette(routes=routes))


class _Guard:
    """Answers only calls that were meant for this machine, and lets nothing be cached.

    A page elsewhere can make its own name point to 127.0.0.1 (DNS rebinding); its browser then says that name.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_local(HttpRequest(scope).headers.get("host", "")):
            refusal = PlainTextResponse("the embedded issuer answers on loopback only\n", status_code=421)
            await refusal(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class _Endpoints:
    def __init__(
        self, config: IssuerConfig, server: Server, lockout: Lockout, verifier: OidcVerifier, clock: Clock
    ) -> None:
        forms = FormKeeper()
        self._config = config
        self._server = server
        self._verifier = verifier
        self._login = LoginPage(config, server, lockout, clock, forms)
        self._logout = LogoutPage(config, server, forms)
        self._login_cookie = f"labcommons_login_{config.cookie_suffix}"
        self._form_cookie = f"labcommons_form_{config.cookie_suffix}"

    async def discovery(self, http: HttpRequest) -> Response:
        return JSONResponse(discovery_document(self._config))

    async def jwks(self, http: HttpRequest) -> Response:
        return JSONResponse(self._server.keys.as_dict(private=False))

    async def authorize(self, http: HttpRequest) -> Response:
        try:
            visit = await self._visit(http)
        except BadParameters as error:
            return page("You cannot be logged in from here", problem=f"The request is not valid: {error}.", status=400)
        secret = None
        if visit.form is None:
            answer = await run_in_threadpool(self._login.show, visit)
        else:
            answer, secret = await run_in_threadpool(self._login.act, visit)
        response = self._sent(answer, back_to_client=True)
        self._remember(response, self._form_cookie, visit.form_cookie)
        if secret is not None:
            self._remember(response, self._login_cookie, secret, self._config.session_s)
        return response

    async def end_session(self, http: HttpRequest) -> Response:
        try:
            visit = await self._visit(http)
        except BadParameters as error:
            return page("You are not logged out", problem=f"The request is not valid: {error}.", status=400)
        response = self._sent(await run_in_threadpool(self._logout.visit, visit), back_to_client=False)
        self._remember(response, self._form_cookie, visit.form_cookie)
        return response

    async def token(self, http: HttpRequest) -> Response:
        return await self._form_call(http, "token", self._server.create_token_response)

    async def revoke(self, http: HttpRequest) -> Response:
        def revoke(request: Request) -> Reply:
            reply: Reply = self._server.create_endpoint_response("revocation", request)
            return reply

        return await self._form_call(http, "revoke", revoke)

    async def userinfo(self, http: HttpRequest) -> Response:
        scheme, _, token = http.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return JSONResponse({"error": "invalid_request"}, 401, {"WWW-Authenticate": "Bearer"})
        try:
            claims = await self._verifier.verify(token.strip())
        except Unauthenticated as error:
            return _bearer_refusal(401, "invalid_token", error.detail)
        if claims.session is None or "openid" not in claims.scopes:
            return _bearer_refusal(403, "insufficient_scope", "the token is not a person's with the scope openid")
        signed_in = await run_in_threadpool(self._server.sessions.signed_in, claims.session)
        if signed_in is None:
            return _bearer_refusal(401, "invalid_token", "the session has ended")
        return JSONResponse(profile(signed_in, " ".join(claims.scopes)))

    async def _form_call(self, http: HttpRequest, path: str, decide: Any) -> Response:
        try:
            parameters = read_parameters(await _body(http))
        except BadParameters as error:
            return JSONResponse({"error": "invalid_request", "error_description": str(error)}, 400)
        reply: Reply = await run_in_threadpool(decide, Request("POST", f"{self._config.url}/{path}", parameters))
        return self._sent(reply, back_to_client=False)

    async def _visit(self, http: HttpRequest) -> Visit:
        form = read_parameters(await _body(http)) if http.method == "POST" else None
        return Visit(
            parameters=read_parameters(http.scope["query_string"]),
            login=http.cookies.get(self._login_cookie),
            form_cookie=http.cookies.get(self._form_cookie) or secrets.token_urlsafe(24),
            form=form,
            same_origin=http.headers.get("origin") in (None, self._origin(http)),
        )

    def _origin(self, http: HttpRequest) -> str:
        """The origin of our own pages, under the loopback name that this browser uses."""
        return f"http://{http.headers.get('host', '')}"

    def _sent(self, answer: Response | Reply, *, back_to_client: bool) -> Response:
        if isinstance(answer, Response):
            return answer
        if answer.location is not None:
            location = _with_issuer(answer.location, self._config.url) if back_to_client else answer.location
            # 303: the browser must not repeat the form, and its password, at the client.
            return Response(status_code=303, headers={"Location": location})
        assert isinstance(answer.body, Mapping)
        # As Keycloak does: who failed to authenticate gets 401.
        status = 401 if answer.body.get("error") == "invalid_client" else answer.status
        return JSONResponse(dict(answer.body), status)

    def _remember(self, response: Response, name: str, value: str, seconds: int | None = None) -> None:
        # Not Secure: this issuer speaks plain HTTP, on loopback and nowhere else.
        response.set_cookie(name, value, max_age=seconds, path=self._config.cookie_path, httponly=True, samesite="lax")


def _bearer_refusal(status: int, error: str, detail: str) -> Response:
    challenge = f'Bearer error="{error}", error_description="{detail}"'
    return JSONResponse({"error": error, "error_description": detail}, status, {"WWW-Authenticate": challenge})


def _is_local(host: str) -> bool:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower() in _LOOPBACK_NAMES


def _with_issuer(location: str, issuer: str) -> str:
    """``iss`` in every answer to a client, errors included, against mix-up (RFC 9207)."""
    parts = urlsplit(location)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), ("iss", issuer)])
    return urlunsplit(parts._replace(query=query))


async def _body(http: HttpRequest) -> bytes:
    if http.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise BadParameters(f"the body is not {_FORM}")
    body = b""
    async for chunk in http.stream():
        body += chunk
        if len(body) > MAXIMUM_BYTES:
            raise BadParameters("the request is too long")
    return body
