"""The settings tree: the environment, what is refused, what stands beside each field."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import BaseModel, ValidationError

from labcommons.core.errors import Unavailable
from labcommons.facility import cli, local
from labcommons.facility import settings as module
from labcommons.facility.settings import ServerSettings, Settings


def test_the_environment_reaches_every_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCOMMONS_HOME", "/somewhere")
    monkeypatch.setenv("LABCOMMONS_SERVER__PORT", "8080")
    monkeypatch.setenv("LABCOMMONS_DELIVERY__LEASE_MS", "30000")
    monkeypatch.setenv("LABCOMMONS_URL", "http://127.0.0.1:1")  # the client's, not ours
    found = Settings()
    assert (found.home, found.server.port, found.delivery.lease_ms) == (Path("/somewhere"), 8080, 30_000)
    assert found.url == "http://127.0.0.1:8080"
    assert found.issuer == "http://127.0.0.1:8080/oidc"
    assert found.database_url == "sqlite:////somewhere/facility/facility.sqlite"


def test_a_misspelt_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCOMMONS_SERVER__PROT", "8080")
    with pytest.raises(ValidationError, match="prot"):
        Settings()


@pytest.mark.parametrize("url", [None, "http://commons.example"])
def test_plain_http_is_refused_off_loopback(url: str | None) -> None:
    with pytest.raises(ValidationError, match="plain HTTP is refused off loopback"):
        Settings(server=ServerSettings(host="0.0.0.0", public_url=url))


def test_the_embedded_issuer_is_refused_off_loopback() -> None:
    with pytest.raises(ValidationError, match="serves on loopback only"):
        Settings(server=ServerSettings(host="0.0.0.0", public_url="https://commons.example"))


def test_every_setting_has_its_paragraph() -> None:
    tree = ast.parse(inspect.getsource(module))
    missing = []
    for found in tree.body:
        if not isinstance(found, ast.ClassDef) or not issubclass(getattr(module, found.name), BaseModel):
            continue
        for place, statement in enumerate(found.body):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            if ast.unparse(statement.annotation).endswith("Settings"):
                continue  # a branch, described by its class
            after = found.body[place + 1] if place + 1 < len(found.body) else None
            if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)):
                missing.append(f"{found.name}.{statement.target.id}")
    assert not missing


@pytest.mark.parametrize(
    ("installed", "setting", "option", "chosen"),
    [
        (True, None, None, "ray"),
        (False, None, None, "inprocess"),
        (True, "inprocess", None, "inprocess"),
        (True, "inprocess", "ray", "ray"),
    ],
)
def test_up_takes_ray_where_it_is_installed_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, installed: bool, setting: str | None, option: str | None, chosen: str
) -> None:
    asked: dict[str, Any] = {}

    def start(home: Path, **options: Any) -> None:
        asked.update(options)
        raise Unavailable("not today", remedy="come back tomorrow")

    monkeypatch.setattr(local, "start", start)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    if setting is not None:
        monkeypatch.setenv("LABCOMMONS_DEMO__RUNTIME", setting)
    answer = CliRunner().invoke(cli.up, [] if option is None else ["--runtime", option])
    assert answer.exit_code == 3, answer.output
    assert asked["runtime"] == chosen
