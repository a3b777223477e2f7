"""The published schemas are the code's own, and the documents of the design's examples fit them."""

import json

import jsonschema
import pytest

from labcommons.federation.schemas import PUBLISHED, main, render
from support.tree import REPO

FOLDER = REPO / "docs" / "schemas"


def test_the_docs_hold_what_the_code_says() -> None:
    published = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert published == render(), "run: .venv/bin/python -m labcommons.federation.schemas docs/schemas"


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_each_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(render()[f"{name}.schema.json"]))


def test_a_planted_change_is_seen(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("schemas")
    main(str(folder))
    (folder / "grant.schema.json").write_text("{}")
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")} != render()
