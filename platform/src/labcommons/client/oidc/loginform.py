"""Reads the one form of the embedded issuer's login page."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

__all__ = ["LoginForm", "read_form"]


@dataclass(slots=True)
class LoginForm:
    """``action``: where to send it; ``fields``: its hidden ones; ``problem``: what the page complains about."""

    action: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    problem: str = ""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found = LoginForm()
        self.has_form = False
        self._in_problem = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form":
            self.has_form = True
            self.found.action = values.get("action") or ""
        elif tag == "input" and values.get("type") == "hidden":
            self.found.fields[values.get("name") or ""] = values.get("value") or ""
        elif values.get("role") == "alert":
            self._in_problem = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "p":
            self._in_problem = False

    def handle_data(self, data: str) -> None:
        if self._in_problem:
            self.found.problem += data


def read_form(page: str) -> LoginForm | None:
    """The form of the page, or None if it has none."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.found if reader.has_form else None
