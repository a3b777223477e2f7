"""The simulated driver: an instrument of `labcommons.node.simulated` in this process, reached by the ten words."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from labcommons.node.simulated.engine import SimulatedInstrument
from labcommons.node.simulated.models import open_model

__all__ = ["SimulatedDriver"]


class SimulatedDriver(SimulatedInstrument):
    """A `Driver` whose instrument lives and dies with it.

    Options: `model`; `seed` (0); `lab` (text that, with the seed, fixes offset, drift and dead time); `time_scale`
    (decimal as text, "1"); `memory` (file of what it remembers; the host gives one); `remembers` (true; false: it
    remembers no attempts, hence cannot void); `on_disconnect` ("continue"); `calibration` (id).
    Raises `ValueError` for a wrong or unknown option.
    """

    OPTIONS = ("model", "seed", "lab", "time_scale", "memory", "remembers", "on_disconnect", "calibration")

    def __init__(self, options: Mapping[str, Any]) -> None:
        unknown = sorted(options.keys() - {"name", *self.OPTIONS})
        if unknown:
            raise ValueError(f"the simulated driver has no option {unknown[0]!r}; it takes: {', '.join(self.OPTIONS)}")
        seed = options.get("seed", 0)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ValueError(f"seed must be a whole number, not {seed!r}")
        remembers = options.get("remembers", True)
        if not isinstance(remembers, bool):
            raise ValueError(f"remembers must be true or false, not {remembers!r}")
        memory = options.get("memory")
        if remembers and memory is None:
            raise ValueError("memory (a file) is missing; or say remembers: false")
        calibration = options.get("calibration")
        super().__init__(
            open_model(str(options.get("model")), seed, str(options.get("lab", ""))),
            Path(str(memory)) if remembers else None,
            time_scale=_scale(options.get("time_scale", "1")),
            on_disconnect=str(options.get("on_disconnect", "continue")),
            calibration=None if calibration is None else str(calibration),
        )


def _scale(value: Any) -> str:
    try:
        number = Decimal(value) if isinstance(value, str) else Decimal(0)
    except InvalidOperation:
        number = Decimal(0)
    if not number.is_finite() or number <= 0:
        raise ValueError(f'time_scale must be a positive decimal as text, such as "60", not {value!r}')
    return value if isinstance(value, str) else str(number)
