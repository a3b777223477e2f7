"""Every call of the API as a value: what to send, not how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

__all__ = ["Request", "cancel", "compile_items", "get", "listing", "store_protocol", "submit"]


@dataclass(frozen=True)
class Request:
    """One HTTP call. ``key``: its ``Idempotency-Key``; a call with a key, or a GET, may be sent again."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    key: str | None = None

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice is the same as sending it once."""
        return self.method == "GET" or self.key is not None


def get(*parts: str, **params: object) -> Request:
    """Read one thing: ``get("experiments", id)`` is ``GET /v1/experiments/{id}``."""
    path = "/v1/" + "/".join(quote(part, safe=":") for part in parts)
    return Request("GET", path, {name: str(value) for name, value in params.items() if value is not None})


def listing(*parts: str, after: str | None, filters: Mapping[str, object]) -> Request:
    """One page of a list, as long as the facility gives them."""
    return get(*parts, **{**filters, "after": after, "limit": 200})


def submit(project: str, protocol: str, study: str, experiments: Sequence[Mapping[str, Any]], *, key: str) -> Request:
    """Submit experiments as one study; ``experiments`` in the API's form."""
    body = {"project": project, "protocol": protocol, "study": study, "experiments": list(experiments)}
    return Request("POST", "/v1/experiments", body=body, key=key)


def compile_items(project: str, protocol: str, study: str, experiments: Sequence[Mapping[str, Any]]) -> Request:
    """Ask what a submission would do and cost; nothing is stored."""
    body = {"project": project, "protocol": protocol, "study": study, "experiments": list(experiments)}
    return Request("POST", "/v1/protocols/compile", body=body)


def store_protocol(document: Mapping[str, Any], *, key: str) -> Request:
    """Hand a protocol document to the facility."""
    return Request("POST", "/v1/protocols", body=dict(document), key=key)


def cancel(experiment: str, *, key: str) -> Request:
    """Wish that an experiment ends."""
    return Request("POST", f"/v1/experiments/{quote(experiment, safe='')}/cancel", body={}, key=key)
