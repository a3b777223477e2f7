"""The end-session endpoint: log-out that a client starts (RP-initiated), or a person by hand. Blocking."""

from __future__ import annotations

from authlib.oauth2.rfc6749.errors import OAuth2Error
from starlette.responses import Response

from labcommons.facility.identity.issuer.config import IssuerConfig
from labcommons.facility.identity.issuer.request import Reply, Request
from labcommons.facility.identity.issuer.server import Server
from labcommons.facility.identity.issuer.web.login import FormKeeper, Visit
from labcommons.facility.identity.issuer.web.pages import Form, page

__all__ = ["LogoutPage"]

PATH = "/authorize/end_session"


class LogoutPage:
    """Lies below ``/authorize``, the only path to which the login's cookie travels."""

    def __init__(self, config: IssuerConfig, server: Server, forms: FormKeeper) -> None:
        self._config = config
        self._server = server
        self._forms = forms

    def visit(self, visit: Visit) -> Response | Reply:
        """A valid ID token logs out at once; without one a person must press the button, else a link could."""
        form = visit.form or {}
        parameters = {**visit.parameters, **{name: value for name, value in form.items() if name != "form_token"}}
        request = Request("GET", f"{self._config.url}{PATH}", parameters)
        try:
            wish = self._server.validate_endpoint_request("end_session", request)
        except OAuth2Error as error:
            return page("You are not logged out", problem=error.description or error.error, status=400)
        if wish.needs_confirmation and not (visit.form is not None and self._forms.fits(visit)):
            return self._confirm(visit)
        if visit.login is not None:
            self._server.sessions.close_login(visit.login)
        reply: Reply | None = self._server.create_endpoint_response("end_session", wish)
        return reply or page("You are logged out", lines=["You can close this page."])

    def _confirm(self, visit: Visit) -> Response:
        action = f"{self._config.url}{PATH}?{visit.query}"
        form = Form(action, self._forms.token(visit), "logout", "Log out")
        return page("Log out", lines=["This ends your login and every program's session that came from it."], form=form)
