"""JSON Schemas of what crosses, for those who write the other side.

``python -m labcommons.federation.schemas FOLDER`` writes one file a message; the docs keep a copy that a test compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from labcommons.federation.versions import WIRE
from labcommons.federation.wire import (
    Answer,
    Entry,
    Grant,
    NextCall,
    ReportCall,
    ResultDetail,
    SessionDetail,
    Stop,
)
from labcommons.protocols.capabilities import Capability
from labcommons.protocols.documents import Protocol
from labcommons.protocols.manifests import Manifest

__all__ = ["PUBLISHED", "main", "render"]

#: File name (without ending) -> the model it describes.
PUBLISHED: dict[str, type[BaseModel]] = {
    "answer": Answer,
    "capability": Capability,
    "entry": Entry,
    "grant": Grant,
    "manifest": Manifest,
    "next-call": NextCall,
    "protocol": Protocol,
    "report-call": ReportCall,
    "result-detail": ResultDetail,
    "session-detail": SessionDetail,
    "stop": Stop,
}


def render() -> dict[str, str]:
    """File name -> the schema's text, in a fixed order, so that a change shows as a difference."""
    files = {}
    for name, model in PUBLISHED.items():
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "x-wire-version": WIRE,
            **model.model_json_schema(),
        }
        files[f"{name}.schema.json"] = json.dumps(schema, indent=2, sort_keys=True) + "\n"
    return files


def main(folder: str) -> None:
    """Write all schemas into ``folder``."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in render().items():
        (target / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
