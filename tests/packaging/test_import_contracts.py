"""lint-imports keeps what it promises: imports planted in a copy of the sources are each named as broken."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from support.tree import REPO, ROOTS

PLANTS = {
    # importing module -> what it must not import
    "core.planted_pydantic": "pydantic",
    "core.planted_time": "time",
    "core.planted_protocols": "labcommons.protocols",
    "protocols.planted_federation": "labcommons.federation",
    "protocols.planted_pint": "pint",
    "federation.planted_fastapi": "fastapi",
    "federation.planted_scheduler": "labcommons.scheduler",
    "node.planted_facility": "labcommons.facility",
    "node.planted_ray": "ray",
    "facility.workers.planted_ray": "ray",
    "node.planted_sqlalchemy": "sqlalchemy",
    "scheduler.planted_random": "random",
    "scheduler.planted_os": "os",
    "scheduler.planted_facility": "labcommons.facility",
    "client.planted_facility": "labcommons.facility",
    "client.planted_ray": "ray",
    "portal.planted_facility": "labcommons.facility",
    "courses.planted_node": "labcommons.node",
    "campaigns.planted_client": "labcommons.client",
    "facility.planted_no_layer": "json",
    "facility.services.planted_sqlalchemy": "sqlalchemy",
    "facility.services.planted_api": "labcommons.facility.api",
    "facility.services.planted_httpx": "httpx",
    "facility.storage.planted_workers": "labcommons.facility.workers",
}
"""Each breaks a rule of who may import whom; `planted_no_layer` is a module of the facility that no layer names."""


def lint(copy: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; sys.path += sys.argv[1:]; from importlinter.cli import lint_imports; "
        f"sys.exit(lint_imports(config_filename={str(REPO / 'pyproject.toml')!r}, cache_dir=None))"
    )
    # Without `site` (-S): the editable install's .pth files would add the real sources beside the copy.
    paths = [*(str(copy / root.relative_to(REPO)) for root in ROOTS), sysconfig.get_path("purelib")]
    command = [sys.executable, "-S", "-c", code, *paths]
    # Wide, so that no import is reported over two lines.
    environment = os.environ | {"COLUMNS": "300"}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=environment)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    for root in ROOTS:
        shutil.copytree(root, folder / root.relative_to(REPO), ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def place(copy: Path, module: str) -> Path:
    portion = module.partition(".")[0]
    (root,) = (root for root in ROOTS if (root / "labcommons" / portion).is_dir())
    return (copy / root.relative_to(REPO) / "labcommons" / module.replace(".", "/")).with_suffix(".py")


@pytest.fixture(scope="module")
def report(copy: Path) -> str:
    for module, target in PLANTS.items():
        place(copy, module).write_text(f'"""Planted."""\n\nimport {target}\n')
    done = lint(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_the_sources_as_they_are_keep_every_contract(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("module", PLANTS)
def test_planted_import_is_caught(report: str, module: str) -> None:
    if module.endswith("planted_no_layer"):
        assert f"labcommons.{module}" in report or module.rpartition(".")[2] in report
    else:
        assert f"labcommons.{module} -> {PLANTS[module]} (l.3)" in report
