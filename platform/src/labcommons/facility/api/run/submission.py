"""The body of a submit and of a compile."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

EXAMPLE: dict[str, Any] = {
    "project": "prj_01J8Z3V5Q2M4T6W8Y0A1B3C5D7",
    "protocol": "compression-toughness",
    "study": "First barrels",
    "experiments": [
        {
            "label": "reference",
            "arguments": {
                "n": {"int": 9},
                "theta": {"value": "40", "unit": "deg"},
                "r": {"value": "2.1", "unit": "mm"},
                "t": {"value": "1.05", "unit": "mm"},
            },
        }
    ],
}

Text = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]


class Item(BaseModel):
    """One experiment. `arguments`: a `Value` for each parameter; `labs`: only these; `types`: instrument types.

    `priority` orders the project's own work only.
    """

    model_config = ConfigDict(extra="forbid")

    arguments: dict[str, JsonValue] = Field(max_length=200)
    labs: list[str] = Field(default_factory=list, max_length=100)
    types: list[str] | dict[str, str] = Field(default_factory=list, max_length=100)
    priority: int = Field(default=0, ge=-1_000, le=1_000)
    label: Text | None = None


class Submission(BaseModel):
    """1 to 1,000 experiments of one protocol, taken whole or refused whole."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    project: str
    protocol: str = Field(default="", description="Hash, or name (its newest version)")
    study: Text = "study"
    experiments: list[Item] = Field(min_length=1, max_length=1_000)

    def plain(self) -> dict[str, Any]:
        """The body as plain JSON, defaults filled in."""
        return self.model_dump(mode="json")
