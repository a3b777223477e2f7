"""What an instrument gave, against what it described: data are always kept, and flagged where they are wrong.

A result in a unit other than described is a failed attempt whose data are kept. So is one with an output missing or
of another kind, or with a file whose bytes are not those that its hash names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from labcommons.core.errors import InvalidInput
from labcommons.core.values import value_from_json
from labcommons.node.drivers.contract import Action, Description, Json, Status
from labcommons.node.drivers.values import in_unit

__all__ = ["CHUNK", "judge", "output_problems", "read_file", "settle_files"]

CHUNK = 1024 * 1024


def judge(status: Status, description: Description, action: str | None) -> Status:
    """The same status, or a failed one with its data kept and flagged.

    `action`: the one that was started, None where nobody remembers: then any described action may fit.
    """
    if status.result is None or not status.terminal:
        return status
    candidates = [a for a in description.actions if action is None or a.name == action]
    outputs = status.result.get("outputs")
    found = [output_problems(a, outputs, complete=status.phase == "done") for a in candidates]
    problems: list[tuple[str, str]] = min(found, key=len) if found else []
    flags = tuple(dict.fromkeys((*status.flags, *(flag for flag, _ in problems))))
    if not flags:
        return status
    if status.phase != "done":
        return replace(status, flags=flags)
    message = "; ".join(text for _, text in problems) or f"the result is flagged: {', '.join(flags)}"
    return replace(status, phase="failed", error={"code": flags[0], "message": message}, flags=flags)


def output_problems(action: Action, outputs: Any, *, complete: bool) -> list[tuple[str, str]]:
    """(flag, sentence) for each output that is not as described; `complete`: each must be there."""
    if not isinstance(outputs, Mapping):
        return [("wrong_output", "the result has no outputs")] if complete and action.outputs else []
    problems = [
        ("wrong_output", f"the output {name!r} is not described") for name in outputs.keys() - action.outputs.keys()
    ]
    for name, spec in action.outputs.items():
        if name in outputs:
            problems.extend(_output_problem(name, outputs[name], spec))
        elif complete:
            problems.append(("wrong_output", f"the output {name!r} is missing"))
    return problems


def _output_problem(name: str, given: Any, spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    try:
        in_unit(value_from_json(given), spec, convert=False)
    except InvalidInput as error:
        # Looked up in the raw form: a unit that nobody knows is another unit, too.
        unit = _unit(given)
        flag = "wrong_unit" if unit is not None and unit != spec.get("unit") else "wrong_output"
        return [(flag, f"the output {name!r}: {error.detail}")]
    return []


def _unit(given: Any) -> Any:
    if not isinstance(given, Mapping):
        return None
    inner = given.get("array") or given.get("profile") or given
    return inner.get("unit") if isinstance(inner, Mapping) else None


def settle_files(result: Mapping[str, Any], shared: Path | None) -> tuple[Json, tuple[str, ...]]:
    """The result with each file checked, and flags for what was wrong.

    A file keeps its `base64`, or has `path`, made absolute, below the folder `shared`; `sha256` names the bytes that
    are there. Flags: `corrupt_file` (the bytes are not those of the hash given), `missing_file` (no bytes at all; the
    entry is left out).
    """
    listed = result.get("files")
    kept: list[Json] = []
    flags: list[str] = []
    for entry in listed if isinstance(listed, list) else []:
        settled = _settle(entry, shared) if isinstance(entry, Mapping) else None
        if settled is None:
            flags.append("missing_file")
            continue
        if settled["sha256"] != entry.get("sha256"):
            flags.append("corrupt_file")
        kept.append(settled)
    return {**result, "files": kept}, tuple(dict.fromkeys(flags))


def _settle(entry: Mapping[str, Any], shared: Path | None) -> Json | None:
    named = {"name": str(entry.get("name") or "file"), "media_type": str(entry.get("media_type") or "")}
    named["media_type"] = named["media_type"] or "application/octet-stream"
    if "base64" in entry:
        try:
            data = base64.b64decode(str(entry["base64"]), validate=True)
        except (binascii.Error, ValueError):
            return None
        return {**named, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "base64": entry["base64"]}
    path = _below(shared, entry.get("path"))
    if path is None:
        return None
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as stream:
            while block := stream.read(CHUNK):
                digest.update(block)
                size += len(block)
    except OSError:
        return None
    return {**named, "sha256": digest.hexdigest(), "bytes": size, "path": str(path)}


def _below(shared: Path | None, path: Any) -> Path | None:
    """The path inside the shared folder; None where it would lead out of it."""
    if shared is None or not isinstance(path, str):
        return None
    try:
        root = shared.resolve()
        full = (root / path).resolve()
    except (OSError, ValueError):
        # A name that no file can have: a zero byte, a lone surrogate.
        return None
    return full if full.is_relative_to(root) else None


def read_file(entry: Mapping[str, Any]) -> Iterable[bytes]:
    """The bytes of a settled file, in blocks of at most 1 MiB. Raises `OSError` where its path is gone."""
    if "base64" in entry:
        yield base64.b64decode(str(entry["base64"]))
        return
    with Path(str(entry["path"])).open("rb") as stream:
        while block := stream.read(CHUNK):
            yield block
