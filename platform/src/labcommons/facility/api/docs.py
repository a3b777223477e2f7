"""The API described: `/openapi.json` for programs, `/docs` for people. No script, nothing from another server."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse

from labcommons.facility.api.problems import Problem
from labcommons.facility.api.wiring import Wiring

router = APIRouter(include_in_schema=False)

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "h2{margin-top:2rem}code{font-family:ui-monospace,monospace}dt{margin-top:.8rem}dd{margin-left:1.5rem}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


@router.get("/docs", response_class=HTMLResponse)
async def page(request: Request) -> HTMLResponse:
    """Every operation, by noun, with what it takes and answers."""
    return HTMLResponse(_page(request.app.openapi()), headers={"Content-Security-Policy": _POLICY})


def _page(document: dict[str, Any]) -> str:
    nouns: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["other"])[0]
            takes = ", ".join(one["name"] for one in operation.get("parameters", []))
            statuses = ", ".join(sorted(operation["responses"]))
            nouns.setdefault(tag, []).append(
                f"<dt><code>{method.upper()} {escape(path)}</code> {escape(operation.get('summary', ''))}</dt>"
                f"<dd>{escape(operation.get('description', ''))}<br>"
                f"<small>{'takes ' + escape(takes) + '; ' if takes else ''}answers {statuses}</small></dd>"
            )
    body = "".join(f"<h2>{escape(tag)}</h2><dl>{''.join(items)}</dl>" for tag, items in sorted(nouns.items()))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>labcommons API</title><style>{_STYLE}</style><h1>labcommons API {escape(document['info']['version'])}"
        f"</h1><p>{escape(document['info']['summary'])}. Machine-readable: <a href=/openapi.json>/openapi.json</a>.</p>"
        f"{body}</html>"
    )


def describe(app: FastAPI, wiring: Wiring) -> None:
    """Make the description say how to log in, and keep it once it is made."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                openapi_version="3.1.0",
                summary=app.summary,
                routes=app.routes,
                license_info=app.license_info,
            )
            app.openapi_schema = _secured(made, wiring.settings.issuer)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # the way that FastAPI documents


def _secured(document: dict[str, Any], issuer: str) -> dict[str, Any]:
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["oidc"] = {"type": "openIdConnect", "openIdConnectUrl": f"{issuer}/.well-known/openid-configuration"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["security"] = [{"oidc": []}] if path.startswith(("/v1/", "/ark:")) else []
            # What the framework adds by itself is in its own form, and never sent here.
            _drop_framework_errors(operation["responses"])
    schemas = document["components"].setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    return document


def _drop_framework_errors(responses: dict[str, Any]) -> None:
    content = responses.get("422", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    if str(schema.get("$ref", "")).endswith("/HTTPValidationError"):
        del responses["422"]
