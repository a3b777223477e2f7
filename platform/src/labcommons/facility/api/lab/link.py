"""The link, dialled out by labs' nodes: two lanes over one set of cursors, and bytes on connections of their own."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/node", tags=["node"])
