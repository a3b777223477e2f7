"""Waiting for work: woken by the facility's event stream, shown on stderr, never in the way of the work itself."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from labcommons.client.errors import FacilityUnreachable
from labcommons.client.results import AT_REST
from labcommons.client.tables import when_text

if TYPE_CHECKING:
    from labcommons.client.facility import Facility
    from labcommons.client.results import Experiment

__all__ = ["Events", "progress_line", "wait_for"]

#: Without a word from the stream we look by ourselves after this long: a lost stream must not mean a lost result.
QUIET_S = 5.0


class Events:
    """The caller's event stream in a thread of its own; ``wait`` returns the experiments that something happened to.

    The stream is opened again when it ends, from the last event seen on, so a restart of the facility loses nothing.
    """

    def __init__(self, lab: Facility, *, pause_s: float = 0.5) -> None:
        self._lab = lab
        self._pause_s = pause_s
        self._touched: set[str] = set()
        self._news = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="labcommons-events", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> set[str]:
        """Experiments named by events since the last call; empty after ``seconds`` of silence."""
        with self._news:
            if not self._touched:
                self._news.wait(seconds)
            touched, self._touched = self._touched, set()
            return touched

    def close(self) -> None:
        """Stop reading. The thread is a daemon: it ends with its stream, or with the process."""
        self._ended = True

    def _read(self) -> None:
        last: str | None = None
        while not self._ended:
            try:
                for number, _, data in self._lab.transport.stream("/v1/events", last):
                    last = number or last
                    self._note(data)
                    if self._ended:
                        return
            except FacilityUnreachable:
                pass
            except Exception:
                # Whatever it is, the waiting side looks by itself and will meet the same error with words for it.
                return
            time.sleep(self._pause_s)

    def _note(self, data: str) -> None:
        try:
            experiment = json.loads(data).get("experiment")
        except (ValueError, AttributeError):
            return
        if experiment:
            with self._news:
                self._touched.add(experiment)
                self._news.notify_all()


def progress_line(experiments: Sequence[Experiment]) -> str:
    """One line about many experiments: counts by state, the first one's place and ETA."""
    counts = Counter(one.state for one in experiments)
    ended = sum(number for state, number in counts.items() if state in AT_REST)
    words = [f"{ended} of {len(experiments)} ended"]
    words += [f"{number} {state}" for state, number in sorted(counts.items())]
    waiting = [one.data for one in experiments if one.state == "waiting" and one.data.get("place") is not None]
    if waiting:
        first = min(waiting, key=lambda data: int(data["place"]))
        words.append(f"next at place {first['place']}")
    etas = [one.data["eta"]["p50_at"] for one in experiments if one.state not in AT_REST and one.data.get("eta")]
    if etas:
        words.append(f"last expected {when_text(max(etas))}")
    return ", ".join(words)


def wait_for(
    lab: Facility,
    experiments: Sequence[Experiment],
    timeout_s: float | None,
    *,
    progress: bool = True,
    study: str | None = None,
    monotonic: Callable[[], float] = time.monotonic,  # noqa: TID251 - the client has no decisions, only patience
    out: TextIO | None = None,
) -> None:
    """Wait until each experiment ended or needs a person; refreshes the objects in place.

    Raises ``TimeoutError`` after ``timeout_s`` seconds. Ctrl-C ends the waiting, never the work.
    """
    screen = _Screen(out or sys.stderr) if progress else None
    deadline = None if timeout_s is None else monotonic() + timeout_s
    by_id = {one.id: one for one in experiments}
    events = Events(lab)
    try:
        while True:
            if screen:
                screen.show(progress_line(list(by_id.values())))
            if all(one.state in AT_REST for one in by_id.values()):
                return
            left = QUIET_S if deadline is None else min(QUIET_S, deadline - monotonic())
            if left <= 0:
                raise TimeoutError(f"still on the way after {timeout_s} s; the work goes on")
            _refresh(lab, by_id, events.wait(left), study)
    except KeyboardInterrupt:
        name = study or next(iter(by_id))
        sys.stderr.write(f"\nThe work goes on. Come back with: labcommons watch {name}\n")
        raise
    finally:
        events.close()
        if screen:
            screen.end()


def _refresh(lab: Facility, by_id: dict[str, Experiment], touched: set[str], study: str | None) -> None:
    wanted = (touched & by_id.keys()) if touched else {key for key, one in by_id.items() if one.state not in AT_REST}
    if study is not None and len(wanted) > 3:
        for fresh in lab.pages("experiments", study=study):
            if fresh["id"] in by_id:
                by_id[fresh["id"]].data = dict(fresh)
        return
    for key in wanted:
        by_id[key].refresh()


class _Screen:
    """One line that is written over on a terminal; elsewhere a new line for each change."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._last: str | None = None
        self._terminal = out.isatty()

    def show(self, line: str) -> None:
        if line == self._last:
            return
        self._last = line
        self._out.write(f"\r\x1b[2K{line}" if self._terminal else line + "\n")
        self._out.flush()

    def end(self) -> None:
        if self._terminal and self._last is not None:
            self._out.write("\n")
            self._out.flush()
