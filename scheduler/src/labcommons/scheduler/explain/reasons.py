"""Why a step waits: the codes, the form of an answer, and the sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

__all__ = ["Code", "Condition", "Reason", "text"]


class Code(StrEnum):
    """The words that ``why`` answers with. ``share``, ``batch`` and ``approval`` need parts that do not exist yet."""

    AFTER = "after"
    AHEAD = "ahead"
    BUSY = "busy"
    DOWN = "down"
    LOCAL = "local"
    NO_TOKEN = "no_token"
    NOT_ALLOWED = "not_allowed"
    NOT_LENT = "not_lent"
    CALENDAR = "calendar"
    SHARE = "share"
    BATCH = "batch"
    APPROVAL = "approval"
    BALANCE = "balance"
    QUARANTINED = "quarantined"
    BARRIER = "barrier"
    NEEDS_PERSON = "needs_person"
    CANCELLING = "cancelling"


@dataclass(frozen=True)
class Condition:
    """Something that must become so. ``of``: the id of a step, instrument or attempt, or ``facility``.

    ``what`` (and what it must ``be``):

    - a step: ``state`` DONE; ``ahead`` {on: instrument, at_most: n} READY steps in front of it there; ``held`` true;
      ``cancel_wished`` false; ``struck_by`` {without: instrument}; ``candidates`` one
    - an attempt: ``unknown`` false
    - an instrument: ``online``, ``lent``, ``token`` true; ``quarantined``, ``locked`` false; ``state`` idle;
      ``allowed`` and ``open`` {protocol, project}
    - the facility: ``barrier`` false
    """

    of: str
    what: str
    be: Any


@dataclass(frozen=True)
class Reason:
    """Why a step waits. Once every condition holds, the step can be granted. ``until``: when that is expected."""

    step: str
    code: Code
    text: str
    conditions: tuple[Condition, ...]
    until: datetime | None = None

    @property
    def constraint(self) -> dict[str, Any]:
        """The conditions as plain JSON: ``{"all": [{"of", "what", "be"}]}``."""
        return {"all": [{"of": c.of, "what": c.what, "be": c.be} for c in self.conditions]}


def text(
    code: Code, *, name: str = "", detail: str = "", ahead: int = 0, own: int = 0, names: Sequence[str] = ()
) -> str:
    """The sentence for a code. ``name``: of the instrument; ``own``: how many of those ``ahead`` are the project's."""
    if code is Code.AHEAD:
        return _ahead(ahead, own, name)
    listed = ", ".join(names)
    sentences = {
        Code.AFTER: f"waits for {listed} to be done",
        Code.BUSY: f"{name} is busy with a run",
        Code.DOWN: f"{name} is down: {detail}",
        Code.LOCAL: f"{name} is in LOCAL mode: its lab works with it by hand",
        Code.NO_TOKEN: f"{name} has not said yet that it can take one more",
        Code.NOT_ALLOWED: f"{name} may not or cannot take it: {detail}",
        Code.NOT_LENT: f"{name} is not lent to the federation now",
        Code.CALENDAR: f"{name} takes this protocol only in its lab's hours",
        Code.BALANCE: "no time is held for it: the allocation does not cover it now",
        Code.QUARANTINED: f"{name} is kept out of use until a person has looked: {detail}",
        Code.BARRIER: "the platform is reconciling with its labs after a restore",
        Code.NEEDS_PERSON: f"{listed} may have run: a person must decide",
        Code.CANCELLING: "it is being cancelled",
    }
    return sentences[code]


def _ahead(ahead: int, own: int, name: str) -> str:
    steps = "1 step" if ahead == 1 else f"{ahead} steps"
    if own == ahead:
        return f"behind {ahead} of your own on {name}"
    return f"behind {steps} on {name}" if not own else f"behind {steps} on {name}, {own} of them your own"
