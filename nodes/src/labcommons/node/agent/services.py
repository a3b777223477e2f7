"""What a bench needs of its session, and the time limits that both keep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from labcommons.federation.wire import ObjectRef
from labcommons.node.drivers.contract import Description
from labcommons.node.journal import JournalWriter
from labcommons.node.lines import Lines
from labcommons.node.link import ObjectFolder

__all__ = ["Limits", "Services"]


@dataclass(frozen=True)
class Limits:
    """Seconds of wall time.

    ``lease``: silence of the facility after which ``on_partition: safe_point`` ends a run; ``patience``: how long an
    instrument in doubt is asked before its attempt is UNKNOWN; ``grace``: from one way of stopping to the next;
    ``ready``: how long a start that was refused as busy is tried again; ``look``: between two looks at an idle
    instrument; ``slice``: between two looks at a running one (its end is seen at once all the same).
    """

    lease: float = 60.0
    patience: float = 30.0
    grace: float = 30.0
    ready: float = 600.0
    look: float = 5.0
    slice: float = 1.0


@dataclass
class Services:
    """What a bench needs of its session."""

    books: JournalWriter
    objects: ObjectFolder
    lines: Lines
    limits: Limits
    time_scale: float
    acknowledged: Callable[[int], Awaitable[None]]
    silent_s: Callable[[], float]
    kick: Callable[[], None]
    local: Callable[[], str]
    result_kept: Callable[[str, list[ObjectRef]], None]
    described: Callable[[str, Description], Mapping[str, Any]]
    check_runtime: Callable[[], Awaitable[None]]
