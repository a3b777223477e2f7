"""Bytes by content, for those who may see a record that names them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from labcommons.facility.api.auth import Action, Call
from labcommons.facility.api.forms import Sha256
from labcommons.facility.api.problems import documented
from labcommons.facility.ports import RecordObjectRow, UnitOfWork
from labcommons.facility.services.run.access import missing
from labcommons.scheduler.authority import Resource

router = APIRouter(tags=["objects"])

_CHUNK = 1 << 18
#: Types that a browser shows without running anything; all else is bytes.
_HARMLESS = re.compile(
    r"(text/(plain|csv)|application/(json|x-hdf5|octet-stream|vnd\.apache\.parquet)|image/(png|jpeg))"
)


@router.get(
    "/objects/{sha256}",
    response_class=StreamingResponse,
    summary="The bytes",
    responses={
        **documented(401, 403, 404, 422),
        200: {
            "description": "The bytes, as an attachment",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
    },
)
def download(sha256: Sha256, call: Annotated[Call, Depends(Action("object.read"))]) -> StreamingResponse:
    """Bytes that a record names which I may see. Always an attachment: what labs return is never shown as a page."""
    with call.read() as uow:
        named = _visible(uow, call, sha256)
        source = uow.objects.open(sha256)
    media_type = named.media_type if _HARMLESS.fullmatch(named.media_type) else "application/octet-stream"
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(named.name, safe='')}",
        "Content-Length": str(named.bytes),
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "ETag": f'"{sha256}"',
    }
    return StreamingResponse(_chunks(source), media_type=media_type, headers=headers)


def _visible(uow: UnitOfWork, call: Call, sha256: str) -> RecordObjectRow:
    """The first naming of the bytes by a record that the caller may see. Raises `NotFound`."""
    for named in uow.run.record_objects.find(sha256=sha256):
        record = uow.run.records.get(named.record)
        if record is not None and call.may(Resource("object", project=record.project, lab=record.lab)):
            return named
    raise missing()


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    with source:
        while chunk := source.read(_CHUNK):
            yield chunk
