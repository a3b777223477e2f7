"""`import labcommons.client` stays light even where everything is installed."""

import subprocess
import sys

import pytest

CODE = "import sys; import labcommons.client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    done = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_the_client_is_really_there(loaded: set[str]) -> None:
    assert {"labcommons", "httpx"} <= loaded


@pytest.mark.parametrize(
    "heavy",
    ["ray", "pandas", "numpy", "sqlalchemy", "fastapi", "uvicorn", "authlib", "matplotlib", "pint", "celpy", "IPython"],
)
def test_importing_the_client_does_not_load(loaded: set[str], heavy: str) -> None:
    assert heavy not in loaded
