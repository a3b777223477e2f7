"""From what an instrument gave to a RESULT entry: bytes become objects, garbage a failure with its data kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from labcommons.core.errors import InvalidInput
from labcommons.core.values import value_from_json, value_to_json
from labcommons.federation.wire import ENTRY_BYTES, ObjectRef, ResultDetail, WireError
from labcommons.node.drivers.contract import Status
from labcommons.node.drivers.results import read_file
from labcommons.node.link import ObjectFolder
from labcommons.protocols.canonical import canonical

__all__ = ["ENDINGS", "Attachment", "Judged", "judge_result", "keep", "least"]

#: Room in an entry for what is not outputs: objects, error, flags, the entry's own fields.
_OUTPUT_BYTES = ENTRY_BYTES - 96 * 1024
#: Room in an entry for a result; the rest is the entry's own fields.
_DETAIL_BYTES = ENTRY_BYTES - 8 * 1024
_MAX_FILES = 250
_BYTES = "application/octet-stream"

#: Why this node ended a run -> the error of its RESULT.
ENDINGS: Mapping[str, WireError] = {
    "timeout": WireError(code="timeout", message="it did not end within timeout_ms and was stopped at its safe point"),
    "partition": WireError(code="lost", message="the facility was silent past the lease; ended at the safe point"),
}

#: It was stopped, and not by us: a hand on the panel, or ``on_disconnect: abort``. Nobody's wish, nobody's cancel.
_ABORTED = WireError(code="aborted", message="the instrument ended it, and no stop had been sent to it")


@dataclass(frozen=True)
class Attachment:
    """Bytes that belong to a result, before they are kept."""

    name: str
    media_type: str
    blocks: Iterable[bytes]


@dataclass(frozen=True)
class Judged:
    """A result whose ``detail`` lacks its objects yet."""

    detail: ResultDetail
    attachments: tuple[Attachment, ...]


def judge_result(status: Status, *, ended_by: str, used_ms: int | None) -> Judged:
    """What a terminal ``status`` is worth. ``ended_by``: a key of ``ENDINGS``, or empty; ``used_ms``: wall time."""
    try:
        return _judged(status, ended_by, used_ms)
    except Exception as error:
        # Whatever an instrument says, its run ended and is told: an agent that falls over it would do so at each start.
        text = f"the result has no form that can be read: {type(error).__name__}"
        detail = ResultDetail(
            outcome="failed", error=WireError(code="garbage", message=text), used_ms=used_ms, flags=["garbage"]
        )
        return Judged(detail, (_json("result-as-received.json", status.result),))


def _judged(status: Status, ended_by: str, used_ms: int | None) -> Judged:
    result = status.result if isinstance(status.result, Mapping) else {}
    flags = [_text(flag, 64) for flag in status.flags if flag][:16]
    outputs, bad = _outputs(result.get("outputs"))
    files = result.get("files") or []
    listed = [entry for entry in files if isinstance(entry, Mapping)] if isinstance(files, list) else []
    if not isinstance(files, list) or len(listed) < len(files):
        flags.append("missing_file")
    if len(listed) > _MAX_FILES:
        flags.append("files_left_out")
    attachments = [_attached(entry) for entry in listed][:_MAX_FILES]
    error = _error(status)
    outcome: Literal["done", "failed", "stopped"] = "done"
    if status.phase in ("failed", "stopped"):
        outcome = "failed" if status.phase == "failed" or ended_by in ENDINGS else "stopped"
        error = ENDINGS.get(ended_by, error)
        if status.phase == "stopped" and not ended_by:
            outcome, error = "failed", _ABORTED
    elif bad:
        outcome, error = "failed", WireError(code="garbage", message=_text(bad, 2000))
    elif status.result is None:
        outcome = "failed"
        error = WireError(code="lost", message="it ran to its end, and its result is no longer to be had")
    if bad:
        flags.append("garbage")
        attachments.append(_json("outputs-as-received.json", result.get("outputs")))
    if len(canonical(outputs)) > _OUTPUT_BYTES:
        flags.append("outputs_in_object")
        attachments.append(_json("outputs.json", outputs))
        outputs = {}
    calibration = result.get("calibration")
    detail = ResultDetail(
        outcome=outcome,
        outputs=outputs,
        error=error,
        used_ms=used_ms,
        calibration=_text(calibration, 1000) if isinstance(calibration, str) else None,
        flags=flags,
    )
    return Judged(detail, tuple(attachments))


def keep(judged: Judged, objects: ObjectFolder) -> ResultDetail:
    """Sync the attachments, and name them in the detail. Blocks. Raises ``OSError`` where the disk does not take them.

    A file that the instrument named and took away again is a flag, not a failure to report.
    """
    refs, flags = [], list(judged.detail.flags)
    for attachment in judged.attachments:
        try:
            sha256, size = objects.put(_read(attachment.blocks))
        except _Gone:
            flags.append("missing_file")
            continue
        refs.append(
            ObjectRef(
                name=_text(attachment.name, 200) or "file",
                media_type=_text(attachment.media_type, 200) or "application/octet-stream",
                bytes=size,
                sha256=sha256,
            )
        )
    detail = judged.detail.model_copy(update={"objects": refs, "flags": list(dict.fromkeys(flags))[:32]})
    if len(canonical(detail.model_dump(mode="json"))) <= _DETAIL_BYTES:
        return detail
    # Long names of many files: what they are called goes into an object, in their order; the bytes keep their places.
    names = [{"name": ref.name, "media_type": ref.media_type, "sha256": ref.sha256} for ref in refs]
    sha256, size = objects.put(_json("", names).blocks)
    short = [ref.model_copy(update={"name": f"file-{n}", "media_type": _BYTES}) for n, ref in enumerate(refs, 1)]
    index = ObjectRef(name="names-of-files.json", media_type="application/json", bytes=size, sha256=sha256)
    return detail.model_copy(update={"objects": [index, *short], "flags": [*detail.flags, "names_in_object"][-32:]})


def least(body: Mapping[str, Any]) -> dict[str, Any]:
    """What of a RESULT goes into any journal: how it ended, its objects without their own names."""
    error = WireError(code="garbage", message="the result had no form that the journal takes")
    objects = [{**ref, "name": f"file-{n}", "media_type": _BYTES} for n, ref in enumerate(body["objects"], 1)]
    detail = ResultDetail(outcome="failed", error=error, used_ms=body["used_ms"], flags=["garbage"])
    return {**detail.model_dump(mode="json"), "objects": objects}


class _Gone(Exception):
    """The bytes cannot be read any more; to be told from a disk that takes none."""


def _read(blocks: Iterable[bytes]) -> Iterable[bytes]:
    try:
        yield from blocks
    except (OSError, ValueError, KeyError, TypeError) as error:
        # Not only a file that is gone: an entry without bytes, or with bytes that are no base64.
        raise _Gone(str(error)) from error


def _outputs(given: Any) -> tuple[dict[str, Any], str]:
    """The outputs that are ``Value``s, and what is wrong with the others."""
    if given is None:
        return {}, ""
    if not isinstance(given, Mapping):
        return {}, "the outputs are no object"
    good, bad = {}, []
    for name, value in given.items():
        try:
            kept = value_to_json(value_from_json(value, f"/outputs/{name}"))
            # A value can be one and yet have no canonical form: an integer past 53 bits, a lone surrogate.
            canonical({name: kept})
        except InvalidInput as error:
            bad.append(f"{name}: {error.detail}")
        else:
            good[name] = kept
    return good, "; ".join(bad)


def _error(status: Status) -> WireError | None:
    if status.error is None:
        return None if status.phase != "failed" else WireError(code="hardware", message="it failed and did not say why")
    return WireError(
        code=_text(str(status.error.get("code") or ""), 64) or "hardware",
        message=_text(str(status.error.get("message") or ""), 2000),
    )


def _attached(entry: Mapping[str, Any]) -> Attachment:
    media_type = str(entry.get("media_type") or "application/octet-stream")
    return Attachment(str(entry.get("name") or "file"), media_type, read_file(entry))


def _text(text: str, limit: int) -> str:
    """At most ``limit`` bytes of ``text`` as a journal can keep it: lone surrogates become question marks."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def _json(name: str, value: Any) -> Attachment:
    return Attachment(name, "application/json", [json.dumps(value, sort_keys=True, default=str).encode()])
