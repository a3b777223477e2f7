"""What every test gets: Ray's environment, the leak guard, how many examples, and the split into quick and rest."""

import os
import secrets
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Ray reads these at its first import, in this process and in all that it starts: hence here, at module level.
os.environ.pop("RAY_ADDRESS", None)  # else a test could find somebody's cluster
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

pytest_plugins = ("pytester", "support.leaks")

TESTS = Path(__file__).parent
QUICK = frozenset({"unit", "model", "contract"})
"""Folders whose tests are quick unless marked `slow`."""

settings.register_profile(
    "labcommons",
    max_examples=int(os.environ.get("LABCOMMONS_EXAMPLES", "100")),
    # Machines are shared and noisy: a slow example is no failure. In CI the same examples every time.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("labcommons")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--part",
        choices=("all", "quick", "rest"),
        default="all",
        help="quick: unit, model and contract tests not marked slow; rest: all others",
    )


def _folder(path: Path) -> str:
    return path.relative_to(TESTS).parts[0] if path.is_relative_to(TESTS) and path != TESTS else ""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """For `--part=quick`, do not even import the folders that hold nothing quick."""
    if config.getoption("--part") == "quick" and collection_path.parent == TESTS and collection_path.is_dir():
        return _folder(collection_path) not in QUICK or None
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the items of the part asked for."""
    part = config.getoption("--part")
    if part == "all":
        return
    wanted: list[pytest.Item] = []
    other: list[pytest.Item] = []
    for item in items:
        quick = _folder(item.path) in QUICK and item.get_closest_marker("slow") is None
        (wanted if quick == (part == "quick") else other).append(item)
    config.hook.pytest_deselected(items=other)
    items[:] = wanted
