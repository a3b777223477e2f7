"""What an instrument gave becomes a RESULT: bytes kept, garbage named, large things in objects."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from labcommons.federation.wire import ENTRY_BYTES
from labcommons.node.agent.results import judge_result, keep
from labcommons.node.drivers.contract import Phase, Status
from labcommons.node.link import ObjectFolder
from labcommons.protocols.canonical import canonical

FORCE = {"value": "12.50", "unit": "N", "u": "0.02"}
CURVE = b"x,y\n1,2\n"


def status(phase: Phase = "done", **result: Any) -> Status:
    return Status(phase, result={"outputs": {"force": FORCE}, "calibration": "cal-1", **result})


def _file(content: bytes = CURVE) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {
        "name": "curve.csv",
        "media_type": "text/csv",
        "sha256": sha256,
        "base64": base64.b64encode(content).decode(),
    }


def test_a_good_one(tmp_path: Path) -> None:
    objects = ObjectFolder(tmp_path)
    detail = keep(judge_result(status(files=[_file()]), ended_by="", used_ms=77), objects)
    assert (detail.outcome, detail.used_ms, detail.calibration, detail.flags) == ("done", 77, "cal-1", [])
    assert detail.outputs == {"force": FORCE}
    (ref,) = detail.objects
    assert (ref.name, ref.bytes) == ("curve.csv", len(CURVE))
    assert objects.path(ref.sha256).read_bytes() == CURVE
    assert objects.whole(ref.sha256)


@pytest.mark.parametrize(
    ("given", "ended_by", "outcome", "code"),
    [
        (Status("failed", error={"code": "hardware", "message": "m"}), "", "failed", "hardware"),
        (Status("failed"), "", "failed", "hardware"),
        (Status("stopped"), "person", "stopped", None),
        (Status("stopped"), "local", "stopped", None),
        (Status("stopped"), "", "failed", "aborted"),
        (Status("stopped"), "timeout", "failed", "timeout"),
        (Status("failed", error={"code": "hardware"}), "timeout", "failed", "timeout"),
        (Status("stopped"), "partition", "failed", "lost"),
        (Status("done"), "", "failed", "lost"),
        (status(), "timeout", "done", None),
    ],
)
def test_outcomes(given: Status, ended_by: str, outcome: str, code: str | None) -> None:
    detail = judge_result(given, ended_by=ended_by, used_ms=None).detail
    assert detail.outcome == outcome
    assert (detail.error.code if detail.error else None) == code


@pytest.mark.parametrize(
    "outputs", [{"force": 12.5}, {"force": {"value": "12", "unit": "wurst"}}, [1], "text", {"force": None}]
)
def test_garbage_fails_and_is_kept_as_it_came(tmp_path: Path, outputs: Any) -> None:
    detail = keep(judge_result(status(outputs=outputs), ended_by="", used_ms=1), ObjectFolder(tmp_path))
    assert detail.outcome == "failed"
    assert detail.error is not None
    assert detail.error.code == "garbage"
    assert "garbage" in detail.flags
    assert [ref.name for ref in detail.objects] == ["outputs-as-received.json"]


BAD = "\ud800"


@pytest.mark.parametrize(
    "given",
    [
        status(outputs={"note": BAD}),
        status(outputs={BAD: FORCE}),
        status(outputs={"n": {"int": 10**20}}),
        status(files=5),
        status(files=[{**_file(), "name": BAD, "media_type": BAD}]),
        status(files=[{**_file(), "name": ["x"], "base64": 7}, {"name": "no bytes"}, "text"]),
        status(calibration=BAD * 3000),
        Status("failed", error={"code": BAD, "message": BAD}),
        Status("failed", error={"code": ["x"], "message": {"y": 1}}, result={"outputs": {"force": FORCE}}),
        Status("done", result={"outputs": {}}, flags=(BAD, "")),
    ],
)
def test_whatever_an_instrument_says_becomes_an_entry(tmp_path: Path, given: Status) -> None:
    detail = keep(judge_result(given, ended_by="", used_ms=3), ObjectFolder(tmp_path))
    assert len(canonical(detail.model_dump(mode="json"))) < ENTRY_BYTES
    assert detail.used_ms == 3


def test_files_that_are_none_are_a_flag(tmp_path: Path) -> None:
    for files in (5, "text", [5], [{"name": "x"}], [{"name": "x", "base64": "abc"}]):
        detail = keep(judge_result(status(files=files), ended_by="", used_ms=1), ObjectFolder(tmp_path))
        assert (detail.outcome, detail.flags, detail.objects) == ("done", ["missing_file"], [])


def test_large_outputs_become_an_object(tmp_path: Path) -> None:
    trace = {"array": {"unit": "V", "values": [f"{n}.000001" for n in range(30_000)]}}
    detail = keep(judge_result(status(outputs={"trace": trace}), ended_by="", used_ms=1), ObjectFolder(tmp_path))
    assert detail.outputs == {}
    assert "outputs_in_object" in detail.flags
    assert [ref.name for ref in detail.objects] == ["outputs.json"]
    assert len(canonical(detail.model_dump(mode="json"))) < ENTRY_BYTES


def test_a_file_that_is_gone_is_a_flag(tmp_path: Path) -> None:
    gone = {"name": "big.bin", "media_type": "x/y", "sha256": "0" * 64, "path": str(tmp_path / "gone")}
    detail = keep(
        judge_result(status(files=[gone, _file()]), ended_by="", used_ms=1), ObjectFolder(tmp_path / "objects")
    )
    assert detail.outcome == "done"
    assert "missing_file" in detail.flags
    assert [ref.name for ref in detail.objects] == ["curve.csv"]


def test_a_folder_without_room_is_no_result_yet(tmp_path: Path) -> None:
    objects = ObjectFolder(tmp_path / "objects")
    (tmp_path / "objects").rmdir()
    with pytest.raises(OSError, match="No such file"):
        keep(judge_result(status(files=[_file()]), ended_by="", used_ms=1), objects)


def test_a_damaged_object_is_not_whole(tmp_path: Path) -> None:
    objects = ObjectFolder(tmp_path)
    sha256, _ = objects.put([b"a", b"b"])
    assert objects.whole(sha256)
    objects.path(sha256).write_bytes(b"ax")
    assert not objects.whole(sha256)
    assert not objects.whole("f" * 64)


def test_many_files_with_long_names_fit_an_entry_and_keep_their_names(tmp_path: Path) -> None:
    objects = ObjectFolder(tmp_path)
    files = [{**_file(bytes([n])), "name": f"{n}-" + "\x01" * 300, "media_type": "\x02" * 300} for n in range(250)]
    detail = keep(judge_result(status(files=files), ended_by="", used_ms=1), objects)
    assert len(canonical(detail.model_dump(mode="json"))) < ENTRY_BYTES
    assert (detail.outcome, detail.outputs, detail.flags) == ("done", {"force": FORCE}, ["names_in_object"])
    index, *others = detail.objects
    names = json.loads(objects.path(index.sha256).read_bytes())
    assert [ref.sha256 for ref in others] == [one["sha256"] for one in names]
    assert names[7]["name"].startswith("7-")
    more = keep(judge_result(status(files=[_file()] * 251), ended_by="", used_ms=1), objects)
    assert "files_left_out" in more.flags
