"""The issuer's few pages: log in, go on, log out, and what went wrong. Server-rendered, no script, nothing loaded."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

__all__ = ["Form", "page"]

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Form:
    """What a page lets a person do: ``deed`` by its main button, ``others`` as (deed, text) by further ones."""

    action: str
    token: str
    deed: str
    button: str
    others: Sequence[tuple[str, str]] = ()
    password: bool = False
    username: str = ""


def page(
    title: str,
    *,
    lines: Sequence[str] = (),
    problem: str = "",
    form: Form | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    redirect_uri: str | None = None,
) -> HTMLResponse:
    """A page; ``redirect_uri`` is where its form's answer may lead (browsers check the policy there too)."""
    nonce = secrets.token_urlsafe(16)
    text = _TEMPLATES.get_template("page.html").render(
        title=title, lines=lines, problem=problem, form=form, nonce=nonce
    )
    targets = "'self'"
    if redirect_uri is not None:
        parts = urlsplit(redirect_uri)
        targets += f" {parts.scheme}://{parts.netloc}"
    policy = f"default-src 'none'; style-src 'nonce-{nonce}'; form-action {targets}; base-uri 'none'"
    return HTMLResponse(
        text,
        status_code=status,
        headers={
            "Content-Security-Policy": f"{policy}; frame-ancestors 'none'",
            "X-Frame-Options": "DENY",
            **(headers or {}),
        },
    )
