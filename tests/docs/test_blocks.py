"""Every command block of the README and the docs runs, in order, in a fresh copy of the repository.

Blocks marked ``sh`` and ``python`` are run; a block that is only to be read carries another mark or none. The second of
the two commands is this very suite: inside itself it is only planned (``make -n test``).
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.tree import REPO, tracked_files

FENCE = re.compile(r"^```(?P<mark>[a-z]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
#: Documents whose blocks are for reading: they show forms, not sessions.
pytestmark = pytest.mark.slow


def documents() -> list[Path]:
    found = [REPO / "README.md", *REPO.glob("*/README.md"), *(REPO / "docs").rglob("*.md")]
    return [path for path in sorted(set(found)) if script_of(path.read_text(encoding="utf-8"))]


def script_of(text: str) -> str:
    """The blocks of one document as one shell script; empty where it has none."""
    parts = []
    for number, block in enumerate(FENCE.finditer(text)):
        if block["mark"] == "sh":
            parts.append(re.sub(r"^make test$", "make -n test", block["body"], flags=re.MULTILINE))
        elif block["mark"] == "python":
            name = f"block{number}.py"
            parts.append(f"cat > {name} <<'END_OF_BLOCK'\n{block['body']}END_OF_BLOCK\n.venv/bin/python {name}\n")
    return "\n".join(parts)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what a clone would hold, changes not yet committed included."""
    target = tmp_path / "clone"
    for name in tracked_files():
        source, place = REPO / name, target / name
        if source.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place)
    return target


@pytest.fixture
def short_home() -> Iterator[Path]:
    """A LABCOMMONS_HOME with a short name: sockets of the lab's clusters lie below it."""
    with tempfile.TemporaryDirectory(prefix="lc-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(REPO)))
def test_every_block_runs(document: Path, copy: Path, short_home: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE", "LABCOMMONS"))}
    environment["LABCOMMONS_HOME"] = str(short_home)
    script = "set -eu\ntrap '.venv/bin/labcommons down >/dev/null 2>&1 || true' EXIT\n" + script_of(
        document.read_text(encoding="utf-8")
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=1100
    )
    assert done.returncode == 0, (
        f"{document.name} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )


def test_the_script_of_a_document_holds_its_blocks_in_order() -> None:
    text = "```sh\nmake test\n```\nwords\n```json\n{}\n```\n```python\nprint(1)\n```\n"
    script = script_of(text)
    assert script.index("make -n test") < script.index("print(1)")
    assert "{}" not in script
