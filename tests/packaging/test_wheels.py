"""The built wheels, not the source tree: what they hold, and that they install and run where nothing else is."""

import re

import pytest

from support.tree import REPO, ROOTS, tracked_files

from .conftest import Env, Wheel

SERVER_SIDE = {"fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "authlib"}
HEAVY = {"ray", "pandas", "numpy", "matplotlib", "ortools"}


def jupyter(names: set[str]) -> set[str]:
    return {name for name in names if re.match(r"(jupyter|notebook|ipykernel|ipython)", name)}


def test_the_wheels_share_no_file(wheels: dict[str, Wheel]) -> None:
    one, other = (wheel.files() for wheel in wheels.values())
    assert one
    assert other
    assert not one & other


def test_every_file_of_the_source_roots_is_in_a_wheel_and_nothing_else(wheels: dict[str, Wheel]) -> None:
    roots = [root.relative_to(REPO) for root in ROOTS]
    expected = {str(path.relative_to(root)) for path in tracked_files() for root in roots if path.is_relative_to(root)}
    built = set().union(*(wheel.files() for wheel in wheels.values()))
    assert built == expected


@pytest.mark.parametrize("name", ["labcommons", "labcommons-node"])
def test_a_wheel_carries_its_licence_and_type_marks(wheels: dict[str, Wheel], name: str) -> None:
    assert "licenses/LICENSE" in wheels[name].metadata_files()
    portions = {file.split("/")[1] for file in wheels[name].files()}
    assert {f"labcommons/{portion}/py.typed" for portion in portions} <= wheels[name].files()


def test_both_licence_texts_are_the_same() -> None:
    text = (REPO / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert (REPO / "nodes/LICENSE").read_text() == text


def test_a_node_runs_alone_and_brings_no_server(node_env: Env) -> None:
    assert "Usage" in node_env.command("labcommons-node", "--help")
    installed = node_env.installed()
    assert "labcommons-node" in installed
    assert "labcommons" not in installed
    assert not installed & (SERVER_SIDE | HEAVY)
    assert not jupyter(installed)


def test_every_driver_entry_point_of_a_node_loads(node_env: Env) -> None:
    code = (
        "from importlib.metadata import entry_points as e; "
        "print(*sorted(x.load().__name__ for x in e(group='labcommons.drivers')))"
    )
    assert node_env.python(code).split() == ["LineDriver", "SimulatedDriver"]


def test_the_base_install_is_the_client_and_light(base_env: Env) -> None:
    assert "Usage" in base_env.command("labcommons", "--help")
    assert base_env.python("from labcommons.client import Facility; print(Facility.__name__)") == "Facility"
    installed = base_env.installed()
    assert not installed & (SERVER_SIDE | HEAVY)
    assert not jupyter(installed)


def test_without_the_facility_extra_its_commands_name_the_extra(base_env: Env) -> None:
    code = (
        "import subprocess, sys; "
        "done = subprocess.run(['bin/labcommons', 'up'], capture_output=True, text=True); "
        "print(done.returncode, done.stdout, done.stderr)"
    )
    told = base_env.python(code)
    assert not told.startswith("0 ")
    assert "labcommons[facility]" in told
    assert "Traceback" not in told


def test_a_facility_install_has_its_commands_and_its_migrations(facility_env: Env) -> None:
    for command in ("up", "down", "admin"):
        assert "Usage" in facility_env.command("labcommons", command, "--help")
    installed = facility_env.installed()
    assert installed >= SERVER_SIDE
    assert not jupyter(installed)
    assert "ray" not in installed
