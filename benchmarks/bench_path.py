"""What the path costs: submit -> instrument started -> result visible, beside the synced commits that lie on it.

Everything is durable and every part is real: the facility and the agent are processes of their own, the instrument is
the tests' witness, which syncs a log of its own before it moves. Between two experiments of ours the floor is timed:
one synced SQLite commit and one synced append on the same disk.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.federation import Federation, federation
from support.measures import Measure, publish, quantile
from witness.fixtures import WitnessProcess, witness_process

N = 40
#: Synced commits before the instrument moves: submit, grant, the node's RECEIVED with INTENT, the host's memory.
COMMITS_TO_START = 4
#: And the instrument's own log.
SYNCS_TO_START = 1
#: Further ones before the result is visible: STARTED, RESULT, the facility's reading of each, the host's memory.
COMMITS_TO_RESULT = 5
#: The instrument's end, the result's file and folder at the node, the object's file and folder at the facility.
SYNCS_TO_RESULT = 5


class Floor:
    """One synced commit and one synced append, timed on the disk that everything else uses."""

    def __init__(self, folder: Path) -> None:
        self._database = sqlite3.connect(folder / "floor.sqlite", isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE floor (at REAL)")
        self._file = (folder / "floor.log").open("ab", buffering=0)
        self.commits: list[float] = []
        self.syncs: list[float] = []

    def once(self) -> None:
        begun = time.perf_counter()
        self._database.execute("INSERT INTO floor VALUES (?)", (begun,))
        between = time.perf_counter()
        self._file.write(b"x" * 200)
        os.fsync(self._file.fileno())
        self.commits.append((between - begun) * 1000)
        self.syncs.append((time.perf_counter() - between) * 1000)

    def close(self) -> None:
        self._database.close()
        self._file.close()


def run(made: Federation, witness: WitnessProcess, floor: Floor) -> tuple[list[float], list[float]]:
    """Milliseconds from submit to start and to the visible result, one experiment at a time."""
    lab = made.as_person("rae")
    to_start, to_result = [], []
    for _ in range(N):
        floor.once()
        begun = time.time() * 1000
        (experiment,) = made.submit(lab).experiments
        made.ended(experiment)
        to_result.append(time.time() * 1000 - begun)
        to_start.append(witness.starts()[-1]["at_ms"] - begun)
    return to_start, to_result


def main() -> None:
    """Measure, print, write `results/path.json`."""
    with tempfile.TemporaryDirectory(prefix="lc-") as name:
        folder = Path(name)
        floor = Floor(folder)
        with (
            witness_process(folder / "witness", "--duration-ms", "1") as witness,
            federation(folder / "home", {"bench": witness}) as made,
        ):
            to_start, to_result = run(made, witness, floor)
        floor.close()
    commit, sync = quantile(floor.commits, 0.5), quantile(floor.syncs, 0.5)
    start_floor = COMMITS_TO_START * commit + SYNCS_TO_START * sync
    result_floor = start_floor + COMMITS_TO_RESULT * commit + SYNCS_TO_RESULT * sync
    publish(
        "path",
        [
            Measure.of("one synced commit", floor.commits),
            Measure.of("one synced append", floor.syncs),
            Measure.of("submit to start", to_start, floor=start_floor, aim=1.5),
            Measure.of("submit to visible result", to_result, floor=result_floor, aim=1.5),
        ],
    )


if __name__ == "__main__":
    main()
