"""The waiting transport: sends request descriptions with httpx, renews tokens, repeats what may be repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from labcommons.client.addresses import is_loopback
from labcommons.client.errors import FacilityRefused, FacilityUnreachable, NotLoggedIn
from labcommons.client.requests import Request

__all__ = ["PAUSES_S", "Transport", "read_answer"]

#: Pauses before the repeats of a call that got no answer: a facility's restart fits in between.
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)
_TRY_AGAIN = frozenset({502, 503, 504})


def read_answer(response: httpx.Response) -> Any:
    """The JSON of a good answer. Raises ``FacilityRefused`` with the problem document of a bad one."""
    if response.is_success:
        return response.json() if response.content else None
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "type" not in problem:
        problem = {
            "type": "not_a_facility",
            "title": f"HTTP {response.status_code}",
            "detail": f"{response.request.url} answered {response.status_code} without a problem document",
            "remedy": "check that the address is a facility's, and what stands in front of it",
        }
    problem.setdefault("status", response.status_code)
    raise FacilityRefused(problem)


class Transport:
    """Sends requests to one facility.

    ``token()`` gives the bearer token to use now, ``renew()`` a new one after the facility refused the last as
    expired; either may return ``None``, and then the call goes out without, or fails as ``NotLoggedIn``.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str | None],
        renew: Callable[[], str | None],
        *,
        http: httpx.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url
        self._token = token
        self._renew = renew
        self._http = http or httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(30.0, connect=5.0),
            # No proxy from the environment on loopback: it would be asked for its own 127.0.0.1.
            trust_env=not is_loopback(url),
        )
        self._sleep = sleep

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, request: Request) -> Any:
        """The answer's JSON. Raises ``FacilityRefused``, ``FacilityUnreachable``, ``NotLoggedIn``."""
        return read_answer(self._answered(request, self._token(), may_renew=True))

    def download(self, path: str) -> bytes:
        """The bytes at ``path``."""
        response = self._answered(Request("GET", path), self._token(), may_renew=True)
        if not response.is_success:
            read_answer(response)
        return response.content

    def stream(self, path: str, last_id: str | None = None) -> Iterator[tuple[str, str, str]]:
        """Server-sent events of ``path`` from after ``last_id``, as ``(id, event, data)``, until the stream ends."""
        import httpx_sse

        headers = self._headers(self._token())
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        timeout = httpx.Timeout(60.0, connect=5.0)
        try:
            with httpx_sse.connect_sse(self._http, "GET", path, headers=headers, timeout=timeout) as source:
                if not source.response.is_success:
                    source.response.read()
                    read_answer(source.response)
                for event in source.iter_sse():
                    yield event.id, event.event, event.data
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _answered(self, request: Request, token: str | None, *, may_renew: bool) -> httpx.Response:
        response = self._with_patience(request, token)
        if response.status_code != 401:
            return response
        fresh = self._renew() if may_renew else None
        if fresh is None:
            raise self._not_logged_in(response)
        return self._answered(request, fresh, may_renew=False)

    def _with_patience(self, request: Request, token: str | None) -> httpx.Response:
        pauses = PAUSES_S if request.repeatable else ()
        for pause in pauses:
            try:
                response = self._once(request, token)
            except FacilityUnreachable:
                self._sleep(pause)
                continue
            if response.status_code not in _TRY_AGAIN:
                return response
            self._sleep(pause)
        return self._once(request, token)

    def _once(self, request: Request, token: str | None) -> httpx.Response:
        headers = self._headers(token)
        if request.key is not None:
            headers["Idempotency-Key"] = request.key
        try:
            return self._http.request(
                request.method,
                request.path,
                params=dict(request.params),
                json=request.body if request.method != "GET" else None,
                headers=headers,
            )
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _headers(self, token: str | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _unreachable(self, error: Exception) -> FacilityUnreachable:
        return FacilityUnreachable(
            f"{self.url} does not answer ({error})",
            remedy="start it with `labcommons up`, or set LABCOMMONS_URL (or --api-url) to where it is",
        )

    def _not_logged_in(self, response: httpx.Response) -> NotLoggedIn:
        try:
            detail = str(response.json().get("detail"))
        except (ValueError, AttributeError):
            detail = "the facility does not know you"
        return NotLoggedIn(detail, remedy="run `labcommons login`, or set LABCOMMONS_TOKEN")
