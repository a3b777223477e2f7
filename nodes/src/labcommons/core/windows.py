"""Hours of a lab: rules such as ``Mon-Fri 08:00-20:00`` in the lab's own IANA zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from labcommons.core.errors import InvalidInput

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["Hours", "Rule", "check_zone", "parse_hours"]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_RULE = re.compile(r"(?:(?P<days>[A-Za-z,\- ]+?)\s+)?(?P<start>\d{2}:\d{2})\s*-\s*(?P<end>\d{2}:\d{2})", re.ASCII)
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Rule:
    """Days of the week (0 is Monday) and minutes of the day; an end at or before the start is on the next day."""

    days: frozenset[int]
    start: int
    end: int

    def contains(self, weekday: int, minute: int) -> bool:
        """Whether the rule covers this minute of this day of the week."""
        if self.start < self.end:
            return weekday in self.days and self.start <= minute < self.end
        if weekday in self.days and minute >= self.start:
            return True
        return (weekday - 1) % 7 in self.days and minute < self.end


@dataclass(frozen=True, slots=True)
class Hours:
    """The union of its rules; without rules, always."""

    rules: tuple[Rule, ...]

    def contains(self, at_utc: datetime, zone: str) -> bool:
        """Whether the moment (aware) falls into the hours, read on the wall clock of ``zone`` (IANA name)."""
        if not self.rules:
            return True
        local = at_utc.astimezone(check_zone(zone))
        minute = local.hour * 60 + local.minute
        return any(rule.contains(local.weekday(), minute) for rule in self.rules)

    def next_open(self, at_utc: datetime, zone: str) -> datetime:
        """The first minute at or after ``at_utc`` (aware) that lies in the hours."""
        moment = at_utc
        # Ends within a week, or two where the hour falls into the gap of a clock change.
        while not self.contains(moment, zone):
            moment = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        return moment


def parse_hours(text: object, field: str = "") -> Hours:
    """``Mon-Fri 08:00-20:00``, ``Sat,Sun 22:00-06:00``, ``08:00-20:00`` (daily), joined by ``;``, or ``always``.

    ``24:00`` may end a rule. Raises ``InvalidInput`` (``bad_hours``).
    """
    if not isinstance(text, str) or not 0 < len(text) <= 500:
        raise _bad(text, field)
    if text.strip().lower() == "always":
        return Hours(())
    rules = []
    for part in text.split(";"):
        found = _RULE.fullmatch(part.strip())
        if found is None:
            raise _bad(part, field)
        start, end = _minute(found["start"], field), _minute(found["end"], field)
        if start in (_DAY_MINUTES, end):
            raise _bad(part, field)
        rules.append(Rule(_days(found["days"], field), start, end))
    return Hours(tuple(rules))


def check_zone(name: str, field: str = "") -> ZoneInfo:
    """The zone of an IANA name. Raises ``InvalidInput`` (``bad_zone``)."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(
            f"{name[:60]!r} is not an IANA time zone",
            code="bad_zone",
            field=field,
            remedy='give a name such as "Europe/Lisbon" or "UTC"',
        ) from None


def _days(text: str | None, field: str) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.replace(" ", "").lower().split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS or part.endswith("-"):
            raise _bad(text, field)
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        days.update((begin + n) % 7 for n in range((end - begin) % 7 + 1))
    return frozenset(days)


def _minute(text: str, field: str) -> int:
    hour, minute = int(text[:2]), int(text[3:])
    total = hour * 60 + minute
    if minute > 59 or total > _DAY_MINUTES:
        raise _bad(text, field)
    return total


def _bad(text: object, field: str) -> InvalidInput:
    return InvalidInput(
        f"{str(text)[:60]!r} names no hours",
        code="bad_hours",
        field=field,
        remedy='write "Mon-Fri 08:00-20:00", several joined by ";", or "always"',
    )
