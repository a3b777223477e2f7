"""What a simulated instrument needs to know of its physics, and the list of the models that ship."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Protocol

from labcommons.node.drivers.contract import Action, Arguments, Json

__all__ = ["Model", "generator", "model_names", "open_model"]


class Model(Protocol):
    """The physics of one instrument in one lab. Everything is a function of seed, lab and what is passed in."""

    @property
    def instrument(self) -> Json:
        """`{name, manufacturer, model, serial}`."""
        ...

    @property
    def actions(self) -> tuple[Action, ...]:
        """What it can do; durations in lab time."""
        ...

    def duration_ms(self, action: str, arguments: Arguments, attempt: str) -> int:
        """Lab time that this run takes, the lab's dead time included."""
        ...

    def measure(self, action: str, arguments: Arguments, attempt: str, number: int) -> Json:
        """`{"outputs", "files"}` of a whole run; `number`: how many runs this instrument made before."""
        ...

    def partial(self, action: str, arguments: Arguments, attempt: str, number: int, fraction: float) -> Json:
        """What there is of a run that was stopped at this fraction."""
        ...


def generator(*words: object) -> random.Random:
    """A generator that these words seed: the same words, the same numbers, on every machine."""
    digest = hashlib.sha256("|".join(str(w) for w in words).encode()).digest()
    return random.Random(int.from_bytes(digest[:16], "big"))


def _crossed_barrel(seed: int, lab: str) -> Model:
    from labcommons.node.simulated.crossed_barrel import CrossedBarrel

    return CrossedBarrel(seed, lab)


_MODELS: dict[str, Callable[[int, str], Model]] = {"crossed_barrel": _crossed_barrel}


def model_names() -> list[str]:
    """Names of the models that ship."""
    return sorted(_MODELS)


def open_model(name: str, seed: int, lab: str) -> Model:
    """The model of that name for this seed and lab. Raises `ValueError` naming those that exist."""
    make = _MODELS.get(name)
    if make is None:
        raise ValueError(f"no simulated model is called {name!r}; there are: {', '.join(model_names())}")
    return make(seed, lab)
