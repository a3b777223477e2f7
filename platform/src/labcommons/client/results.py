"""What comes back, as objects: studies, experiments, records. They hold what was last read and can read again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from labcommons.client import requests
from labcommons.client.tables import plain_rows, value_text
from labcommons.core.errors import LabCommonsError
from labcommons.core.quantities import Quantity

if TYPE_CHECKING:
    from labcommons.client.facility import Facility

__all__ = ["ENDED", "Experiment", "Record", "Study"]

#: States that an experiment does not leave.
ENDED = frozenset({"succeeded", "failed", "cancelled"})
#: States in which waiting further helps nobody: it ended, or a person must decide.
AT_REST = ENDED | {"needs_person"}


class Record:
    """One attempt's data: ``outputs`` with unit and uncertainty, ``objects`` (files), ``ark`` to cite it by."""

    def __init__(self, lab: Facility, data: Mapping[str, Any]) -> None:
        self._lab = lab
        self.data = dict(data)
        self.id: str = data["id"]
        self.ark: str = data["ark"]
        self.outputs: dict[str, Any] = dict(data["outputs"])

    def quantity(self, name: str) -> Quantity:
        """The output ``name``. Raises ``KeyError`` where there is none, ``InvalidInput`` where it is no quantity."""
        return Quantity.from_json(self.outputs[name])

    def download(self, name: str) -> bytes:
        """The bytes of the object ``name``. Raises ``KeyError`` where the record has none of that name."""
        for thing in self.data["objects"]:
            if thing["name"] == name:
                return self._lab.transport.download(f"/v1/objects/{thing['sha256']}")
        raise KeyError(name)

    def __repr__(self) -> str:
        outputs = ", ".join(f"{name} = {value_text(value)}" for name, value in self.outputs.items())
        return f"<Record {self.ark}: {outputs or self.data.get('outcome')}>"


class Experiment:
    """One protocol with its arguments, on its way or ended. ``data`` is the API's document as last read."""

    def __init__(self, lab: Facility, data: Mapping[str, Any]) -> None:
        self._lab = lab
        self.data = dict(data)
        self.id: str = data["id"]

    @property
    def state(self) -> str:
        """waiting, running, needs_person, succeeded, failed or cancelled, as last read."""
        return str(self.data["state"])

    def refresh(self) -> Experiment:
        """Read it again."""
        self.data = dict(self._lab.transport.send(requests.get("experiments", self.id)))
        return self

    def wait(self, timeout_s: float | None = None, *, progress: bool = True) -> Experiment:
        """Wait until it ended or a person must decide. Raises ``TimeoutError``; the work goes on in any case."""
        self._lab.wait([self], timeout_s, progress=progress)
        return self

    def records(self) -> list[Record]:
        """What its attempts measured, oldest first."""
        return [Record(self._lab, item) for item in self._lab.pages("experiments", self.id, "records")]

    def result(self) -> Record:
        """The newest record. Raises ``LabCommonsError`` (code ``no_result``) where there is none yet."""
        records = self.records()
        if not records:
            raise LabCommonsError(
                f"{self.id} is {self.state} and has no record",
                code="no_result",
                remedy=f"ask why with `labcommons why {self.id}`, or wait with `labcommons watch {self.id}`",
            )
        return records[-1]

    def why(self) -> dict[str, Any]:
        """Why its steps wait: codes, words, the constraint to lift."""
        return dict(self._lab.transport.send(requests.get("experiments", self.id, "why")))

    def cancel(self) -> Experiment:
        """Wish that it ends: at once where nothing runs, else as soon as the lab can say what happened."""
        self._lab.cancel(self.id)
        return self.refresh()

    def __repr__(self) -> str:
        return f"<Experiment {self.id} {self.data.get('label') or ''} {self.state}>"


class Study:
    """Experiments submitted together under one name."""

    def __init__(self, lab: Facility, data: Mapping[str, Any]) -> None:
        self._lab = lab
        self.data = dict(data)
        self.id: str = data["id"]

    @property
    def experiments(self) -> list[Experiment]:
        """Its experiments, read now, in the order of submission."""
        items = [Experiment(self._lab, item) for item in self._lab.pages("experiments", study=self.id)]
        return sorted(items, key=lambda one: one.id)

    def wait(self, timeout_s: float | None = None, *, progress: bool = True) -> Study:
        """Wait for all of them; shows progress on stderr. Ctrl-C leaves the work running."""
        self._lab.wait(self.experiments, timeout_s, progress=progress, study=self.id)
        return self.refresh()

    def refresh(self) -> Study:
        """Read it again."""
        self.data = dict(self._lab.transport.send(requests.get("studies", self.id)))
        return self

    def records(self) -> Iterator[Record]:
        """All records of the study."""
        for item in self._lab.pages("records", study=self.id):
            yield Record(self._lab, item)

    def rows(self) -> list[dict[str, Any]]:
        """One plain row for each output of each record: value, unit, u, lab, instrument, attempt, ark."""
        return plain_rows(record.data for record in self.records())

    def frame(self) -> Any:
        """``rows()`` as a pandas DataFrame. Raises ``LabCommonsError`` where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise LabCommonsError(
                "frame() needs pandas", code="extra_missing", remedy='pip install "labcommons[frame]", or use rows()'
            ) from None
        return pandas.DataFrame(self.rows())

    def __repr__(self) -> str:
        return f"<Study {self.id} {self.data.get('name')!r}: {self.data.get('states')}>"
