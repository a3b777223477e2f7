"""The Makefile and CI's script: the targets that people are told of, and that setting up twice costs nothing."""

import os
import subprocess

import pytest

from support.tree import REPO

TARGETS = ["demo", "up", "down", "test", "test-quick", "check", "bench", "nightly", "clean"]


def make(*arguments: str, **environment: str) -> str:
    # Without the settings of a `make` around us.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", *arguments]
    done = subprocess.run(command, cwd=REPO, env=inherited | environment, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.mark.parametrize("target", TARGETS)
def test_help_is_the_default_and_lists(target: str) -> None:
    assert f"make {target} " in make()


def test_the_demo_sees_its_switches() -> None:
    probe = "--eval=probe: ; @echo seed=$$SEED kill=$$KILL dumb=$$DUMB"
    assert make(probe, "probe", "SEED=7", "DUMB=1").strip() == "seed=7 kill= dumb=1"
    assert make(probe, "probe", KILL="1").strip() == "seed= kill=1 dumb="


def test_every_gated_module_exists() -> None:
    modules = make("--eval=probe: ; @echo $(FULLY_COVERED)", "probe").split()
    assert {module.rsplit("/", 1)[1] for module in modules} == {"attempts.py", "steps.py", "ledger.py", "compile.py"}
    assert all((REPO / module).is_file() for module in modules)


def test_ci_runs_the_static_half_and_every_test() -> None:
    assert "make check test" in (REPO / ".ci/run").read_text()
    assert os.access(REPO / ".ci/run", os.X_OK)
    plan = make("-n", "check", "test")
    for part in ("ruff check", "ruff format --check", "mypy", "lint-imports", "--part=quick", "--part=rest", "combine"):
        assert part in plan


def test_setting_up_again_changes_nothing() -> None:
    make("install")
    stamp = REPO / ".venv/.installed"
    before = stamp.stat().st_mtime_ns
    make("install")
    assert stamp.stat().st_mtime_ns == before
