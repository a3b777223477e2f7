"""Where the states of attempts, steps, experiments, holds and samples change; nothing else writes them."""

from labcommons.facility.services.run.lifecycle.states import (
    attempt_of,
    born,
    enter,
    happen,
    refold,
    step_happen,
    step_of,
    walk,
)

__all__ = ["attempt_of", "born", "enter", "happen", "refold", "step_happen", "step_of", "walk"]
