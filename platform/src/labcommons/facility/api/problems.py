"""Every refusal is a problem document (RFC 9457): what is wrong, where, and what to do now.

`type` is a stable word from the exception tree, `field` a JSON pointer into the body (or the name of a path or query
parameter), `remedy` an instruction, `trace` the key under which our log tells the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from labcommons.core.errors import InvalidInput, LabCommonsError
from labcommons.protocols.problems import from_finding

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)

#: What a status raised by the framework itself means here: type, title, remedy.
_FRAMEWORK: Mapping[int, tuple[str, str, str]] = {
    400: ("invalid_input", "The request cannot be taken as it is written", "send a body that is valid JSON in UTF-8"),
    404: ("not_found", "There is no such thing here", "see /docs for the addresses that exist"),
    405: ("method_not_allowed", "This address does not take that method", "use a method that the Allow header names"),
    413: ("too_large", "The message is too large", "send less in one call; split a long list over several calls"),
    415: ("unsupported_media_type", "The body has another media type than is read here", "send application/json"),
}


class Problem(BaseModel):
    """A problem document. `errors` holds further findings of the same request, `reasons` those of the compiler."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Stable word for this kind of problem", examples=["out_of_range"])
    title: str = Field(description="The kind of problem, for people")
    status: int = Field(description="HTTP status", examples=[422])
    detail: str = Field(description="This very case, for people")
    field: str = Field(
        default="", description="JSON pointer into the body, or the name of a parameter; empty: the whole"
    )
    remedy: str = Field(default="", description="What to do now")
    trace: str = Field(default="", description="Key of this request in the facility's log")


def trace_of(request: Request) -> str:
    """The trace of this request, as `middleware.Guard` drew it; empty outside of it."""
    return str(getattr(request.state, "trace", ""))


def problem_response(status: int, members: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """An answer in the problem media type."""
    return JSONResponse(dict(members), status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def problem(error: LabCommonsError, trace: str) -> dict[str, Any]:
    """The document of an error of ours; `extra` gives further members, which never replace the standard ones."""
    standard = {
        "type": error.word,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "field": error.field,
        "remedy": error.remedy,
        "trace": trace,
    }
    return {**error.extra, **standard}


def _headers(error: LabCommonsError) -> dict[str, str]:
    if error.status == HTTPStatus.UNAUTHORIZED:
        # RFC 6750: no code when there was no token at all.
        code = "" if error.word == "token_missing" else f', error="invalid_token", error_description="{error.word}"'
        return {"WWW-Authenticate": f'Bearer realm="labcommons"{code}'}
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": "2"}
    return {}


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, LabCommonsError)
    trace = trace_of(request)
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and error.status != HTTPStatus.SERVICE_UNAVAILABLE:
        _log.error("trace %s: %s", trace, error, exc_info=error)
        return internal(trace)
    return problem_response(error.status, problem(error, trace), _headers(error))


def internal(trace: str) -> Response:
    """The answer to a defect of ours: a trace to quote, and nothing of what happened inside."""
    return problem_response(
        500,
        {
            "type": "internal",
            "title": "Something broke on our side",
            "status": 500,
            "detail": "The request met a defect of the facility; nothing of it was stored.",
            "field": "",
            "remedy": f"tell the facility's staff the trace {trace}; the same request may be repeated",
            "trace": trace,
        },
    )


_FIRST = {"unknown_field": 0, "missing_field": 1}
_PLACES = frozenset({"body", "query", "path", "header", "cookie"})


def _finding(error: Mapping[str, Any]) -> InvalidInput:
    """One of the framework's findings in the commons' words, its pointer relative to what the caller sent."""
    location = tuple(error["loc"])
    # Where a text stops being JSON is an offset, not a member.
    plain = location[1:] if location and location[0] in _PLACES else location
    return from_finding({**error, "loc": () if error["type"] == "json_invalid" else plain})


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if request.url.path.startswith("/v1/node/"):
        _log.warning("trace %s: a message of a node cannot be taken: %s", trace_of(request), error.errors()[0]["msg"])
    findings = [_finding(one) for one in error.errors()]
    # A misspelt or missing name is the cause of what else may be wrong.
    findings.sort(key=lambda found: _FIRST.get(found.word, len(_FIRST)))
    members = problem(findings[0], trace_of(request))
    if len(findings) > 1:
        members["errors"] = [
            {"type": one.word, "field": one.field, "detail": one.detail, "remedy": one.remedy} for one in findings[:50]
        ]
    return problem_response(findings[0].status, members)


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    default = ("http_error", HTTPStatus(error.status_code).phrase, "see /docs for what this address takes")
    word, title, remedy = _FRAMEWORK.get(error.status_code, default)
    members = {
        "type": word,
        "title": title,
        "status": error.status_code,
        "detail": f"{request.method} {request.url.path}: {error.detail}",
        "field": "",
        "remedy": remedy,
        "trace": trace_of(request),
    }
    return problem_response(error.status_code, members, error.headers)


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    app.add_exception_handler(LabCommonsError, _ours)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _framework)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: the problem documents that it may answer with."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }
