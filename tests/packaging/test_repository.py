"""Promises about the tree itself: namespace, locks, addresses, sizes."""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from support.tree import REPO, ROOTS, tracked_files

FILE_LINES, FUNCTION_LINES, FOLDER_FILES = 500, 40, 15
PORTIONS = {
    "nodes": {"core", "protocols", "federation", "node"},
    "scheduler": {"scheduler"},
    "platform": {"client", "facility", "portal", "campaigns"},
    "courses": {"courses"},
}
LOCKS = [path for path in tracked_files() if re.fullmatch(r"requirements.*\.(lock|txt)", path.name)]


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked_files():
        try:
            yield path, (REPO / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def sources() -> list[Path]:
    # A migration, once released, is a record and stays as it was written.
    found = [path for root in (*ROOTS, REPO / "tests", REPO / "benchmarks") for path in sorted(root.rglob("*.py"))]
    return [path for path in found if "migrations" not in path.parts]


def locked(path: Path) -> dict[str, set[str]]:
    """Return name -> versions of a lock (a universal lock may pin two, by Python version)."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", (REPO / path).read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def test_no_init_file_breaks_the_namespace() -> None:
    inits = {str(path.parent) for path in tracked_files() if path.name == "__init__.py"}
    forbidden = {str(root.relative_to(REPO) / "labcommons") for root in ROOTS} | {
        str(r.relative_to(REPO)) for r in ROOTS
    }
    top = {"."} | {path.parts[0] for path in tracked_files() if len(path.parts) > 1}
    assert not inits & (forbidden | top)
    assert not [name for name in inits if name.split("/")[0] in {"tests", "benchmarks", "helm", "docs"}]


@pytest.mark.parametrize("part", PORTIONS)
def test_each_root_holds_its_portions_and_they_are_packages(part: str) -> None:
    folder = REPO / part / "src/labcommons"
    found = {path.name for path in folder.iterdir() if path.name != "__pycache__"}
    assert found == PORTIONS[part]
    assert "platform" not in found
    for package in folder.rglob("*/"):
        if list(package.glob("*.py")) and "migrations" not in package.parts:
            assert (package / "__init__.py").is_file(), package


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_ray_and_jupyter_never_share_a_lock(lock: Path) -> None:
    names = set(locked(lock))
    notebook = {name for name in names if name.startswith(("jupyter", "notebook", "ipykernel", "nbclient"))}
    assert not ("ray" in names and notebook)
    # What Jupyter's jsonschema[format-nongpl] brings and every Ray process would pay for.
    assert not ("ray" in names and names & {"rfc3987-syntax", "fqdn", "isoduration"})
    assert "torch" not in names


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_a_lock_pins_everything_by_hash_and_names_no_address(lock: Path) -> None:
    text = (REPO / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^--?(index|extra-index|find-links|i\b|f\b)", text, re.MULTILINE)
    blocks = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert len(blocks) > 10
    assert not [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block]


def test_the_lock_agrees_with_both_pyprojects() -> None:
    versions = locked(Path("requirements.lock"))
    # The notebook side has a lock of its own; keycloak and plot are for those who want them.
    other = {"courses", "keycloak", "plot"}
    wanted: list[str] = []
    for path in ("pyproject.toml", "nodes/pyproject.toml"):
        project = tomllib.loads((REPO / path).read_text())
        wanted += project["project"]["dependencies"]
        for extra, requirements in project["project"]["optional-dependencies"].items():
            wanted += [] if extra in other else requirements
        wanted += project.get("dependency-groups", {}).get("dev", [])
    assert len(wanted) > 30
    for text in wanted:
        requirement = Requirement(text)
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name == "labcommons-node":
            continue
        assert name in versions, f"{text}: not in requirements.lock; see CONTRIBUTING.md for the command"
        assert all(requirement.specifier.contains(version) for version in versions[name]), text


def test_both_distributions_have_one_version() -> None:
    root, node = (tomllib.loads((REPO / p).read_text())["project"] for p in ("pyproject.toml", "nodes/pyproject.toml"))
    assert root["version"] == node["version"]
    assert f"labcommons-node=={node['version']}" in root["dependencies"]


def test_no_registry_address_and_no_machine_path_in_any_tracked_file() -> None:
    registry = re.compile(
        r"https?://\S*(pypi|pythonhosted|npmjs|crates|maven|proxy\.golang|(deb|ftp|security)\.debian)", re.IGNORECASE
    )
    machine = re.compile(r"(?<![\w.}])/(home|root|Users|mnt)/")
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if registry.search(line) or machine.search(line)
    ]
    assert not found
    assert not [path for path in tracked_files() if path.name == "uv.lock"]


def test_no_source_file_is_too_long() -> None:
    lengths = {str(path.relative_to(REPO)): len(path.read_text().splitlines()) for path in sources()}
    assert not {name: count for name, count in lengths.items() if count > FILE_LINES}


def test_no_folder_holds_too_many_files() -> None:
    # The package's own __init__.py and py.typed are no modules.
    counted = [path for path in tracked_files() if path.suffix == ".py" and path.name != "__init__.py"]
    folders = Counter(str(path.parent) for path in counted if "versions" not in path.parts)
    assert not {name: count for name, count in folders.items() if count > FOLDER_FILES}


def test_no_function_is_too_long() -> None:
    long: dict[str, int] = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                # The docstring does not count: what it says is for the reader.
                words = node.body[0] if ast.get_docstring(node) else None
                spoken = (words.end_lineno or 0) - words.lineno + 1 if words is not None else 0
                lines = (node.end_lineno or 0) - node.lineno + 1 - spoken
                if lines > FUNCTION_LINES:
                    long[f"{path.relative_to(REPO)}:{node.lineno} {node.name}"] = lines
    assert not long
