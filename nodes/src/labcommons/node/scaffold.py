"""A working driver to start from, written by `labcommons-node new-driver`."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

__all__ = ["write_driver"]

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def write_driver(name: str, into: Path) -> tuple[Path, list[str]]:
    """Write a package of its own for the driver `name`; return its folder and the files in it.

    Raises `ValueError` for a name that is none, `FileExistsError` where the folder is there already.
    """
    if not _NAME.fullmatch(name) or len(name) > 40:
        raise ValueError(f"{name!r} is no name for a driver: write lower-case letters, digits and _, such as balance")
    root = into / f"labcommons-{name.replace('_', '-')}"
    if root.exists():
        raise FileExistsError(f"{root} is there already; choose another name, or another folder with --into")
    words = {
        "@NAME@": name,
        "@PACKAGE@": f"labcommons_{name}",
        "@CLASS@": "".join(part.capitalize() for part in name.split("_")),
    }
    templates = files("labcommons.node").joinpath("templates")
    written = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
        f"src/labcommons_{name}/__init__.py": "init.py.txt",
        f"src/labcommons_{name}/driver.py": "driver.py.txt",
        "tests/test_driver.py": "test_driver.py.txt",
    }
    for target, template in written.items():
        text = templates.joinpath(template).read_text("utf-8")
        for word, meaning in words.items():
            text = text.replace(word, meaning)
        path = root / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root, list(written)
