"""The API described, and the little pages that need no token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from integration.api.house import House
from integration.api.house import house as build


@pytest.fixture(scope="module")
def described(model_home: Path) -> dict[str, Any]:
    with build(model_home) as house:
        return dict(house.app.openapi())


async def test_it_is_served_to_everybody(house: House, described: dict[str, Any]) -> None:
    answer = await house.client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == described


async def test_it_is_openapi_31_and_says_how_to_log_in(described: dict[str, Any]) -> None:
    assert described["openapi"].startswith("3.1")
    scheme = described["components"]["securitySchemes"]["oidc"]
    assert scheme["openIdConnectUrl"].endswith("/oidc/.well-known/openid-configuration")
    assert described["paths"]["/v1/me"]["get"]["security"] == [{"oidc": []}]
    assert described["paths"]["/healthz"]["get"]["security"] == []


async def test_every_operation_of_v1_names_its_refusals(described: dict[str, Any]) -> None:
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], f"{method} {path}"
            if not path.startswith("/v1/"):
                continue
            assert {"401", "403"} <= operation["responses"].keys(), f"{method} {path}"
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"], f"{method} {path} {status}"
    assert "HTTPValidationError" not in described["components"]["schemas"]


async def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    def walk(part: Any) -> None:
        if isinstance(part, dict):
            if "$ref" in part:
                assert part["$ref"].rpartition("/")[2] in described["components"]["schemas"], part["$ref"]
            for one in part.values():
                walk(one)
        elif isinstance(part, list):
            for one in part:
                walk(one)

    walk(described["paths"])


async def test_examples_of_bodies_are_what_their_schemas_say(described: dict[str, Any]) -> None:
    seen = 0
    for path, operations in described["paths"].items():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None or path.startswith("/v1/node/"):
                continue
            schema = {**content["schema"], "components": described["components"]}
            name = content["schema"].get("$ref", "").rpartition("/")[2]
            examples = content["schema"].get("examples") or described["components"]["schemas"].get(name, {}).get(
                "examples"
            )
            assert examples, f"{path} shows no body"
            for example in examples:
                Draft202012Validator(schema).validate(example)
                seen += 1
    assert seen >= 5


async def test_a_page_for_people(house: House) -> None:
    answer = await house.client.get("/docs")
    assert answer.status_code == 200
    assert "POST /v1/experiments" in answer.text
    assert "<script" not in answer.text
    assert "http" not in answer.text.replace("http-equiv", ""), "nothing is fetched from anywhere"


async def test_alive_ready_version(house: House) -> None:
    assert (await house.client.get("/healthz")).json() == {"status": "ok"}
    assert (await house.client.get("/readyz")).json() == {"ready": True, "missing": []}
    version = (await house.client.get("/version")).json()
    assert version["wire"] == [1]


async def test_not_ready_names_what_is_missing(house: House) -> None:
    folder = house.facility.settings.objects_folder
    folder.rename(folder.with_name("elsewhere"))
    answer = await house.client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "missing": ["objects"]})
    folder.with_name("elsewhere").rename(folder)
    assert (await house.client.get("/readyz")).status_code == 200
