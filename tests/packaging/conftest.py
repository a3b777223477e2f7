"""Built wheels and clean environments, once per session; uv's cache and hard links make them cheap."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.tree import REPO

UV = str(Path(sys.executable).with_name("uv"))
MakeEnv = Callable[[str, list[str]], "Env"]


def run(*command: str, cwd: Path = REPO, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; a failure shows all that it said."""
    # PYTHONPATH and coverage's settings would let this checkout leak into a clean environment.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COVERAGE", "COV_", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=inherited | environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@dataclass(frozen=True)
class Wheel:
    """A built wheel and the names of the files in it."""

    path: Path

    def files(self) -> set[str]:
        """Return all that it installs but its own metadata."""
        with zipfile.ZipFile(self.path) as archive:
            return {name for name in archive.namelist() if ".dist-info/" not in name}

    def metadata_files(self) -> set[str]:
        """Return the file names in its dist-info folder, without the folder."""
        with zipfile.ZipFile(self.path) as archive:
            return {name.split("/", 1)[1] for name in archive.namelist() if ".dist-info/" in name}


@dataclass(frozen=True)
class Env:
    """A clean virtual environment."""

    folder: Path

    def python(self, code: str) -> str:
        """Run code in it, away from this checkout; return what it printed."""
        return run(str(self.folder / "bin/python"), "-c", code, cwd=self.folder).stdout.strip()

    def command(self, *command: str) -> str:
        """Run one of its console scripts; return what it printed."""
        return run(str(self.folder / "bin" / command[0]), *command[1:], cwd=self.folder).stdout

    def installed(self) -> set[str]:
        """Return the normalised names of the installed distributions."""
        listing = self.python(
            "from importlib.metadata import distributions as d; print(*(x.metadata['Name'].lower() for x in d()))"
        )
        return {name.replace("_", "-") for name in listing.split()}


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Wheel]:
    """Build both distributions the way a release does: source archive first, the wheel from that."""
    out = tmp_path_factory.mktemp("wheels")
    for project in (REPO, REPO / "nodes"):
        # The build backend is in the test environment, from the lock: nothing is fetched.
        run(UV, "build", "-q", "--no-build-isolation", "--python", sys.executable, "-o", str(out), str(project))
    found = {path.name.split("-")[0].replace("_", "-"): Wheel(path) for path in out.glob("*.whl")}
    assert set(found) == {"labcommons", "labcommons-node"}
    return found


@pytest.fixture(scope="session")
def make_env(tmp_path_factory: pytest.TempPathFactory) -> MakeEnv:
    """Return a maker of clean environments: name and requirements, at the versions of the lock."""

    def make(name: str, requirements: list[str]) -> Env:
        folder = tmp_path_factory.mktemp("env") / name
        run(UV, "venv", "-q", "--python", sys.executable, str(folder))
        python = str(folder / "bin/python")
        run(UV, "pip", "install", "-q", "--python", python, "-c", str(REPO / "requirements.lock"), *requirements)
        return Env(folder)

    return make


@pytest.fixture(scope="session")
def node_env(wheels: dict[str, Wheel], make_env: MakeEnv) -> Env:
    """What a lab has after installing the node."""
    return make_env("node", [str(wheels["labcommons-node"].path)])


@pytest.fixture(scope="session")
def base_env(wheels: dict[str, Wheel], make_env: MakeEnv) -> Env:
    """What a researcher has after installing labcommons: the client."""
    return make_env("base", [str(wheel.path) for wheel in wheels.values()])


@pytest.fixture(scope="session")
def facility_env(wheels: dict[str, Wheel], make_env: MakeEnv) -> Env:
    """What a facility has: the extra `facility`."""
    both = f"{wheels['labcommons'].path}[facility]"
    return make_env("facility", [both, str(wheels["labcommons-node"].path)])
