"""The SDK: ``from labcommons.client import Facility``. Everything here goes through the public API."""

from labcommons.client.errors import FacilityRefused, FacilityUnreachable, NotLoggedIn
from labcommons.client.facility import Facility
from labcommons.client.results import Experiment, Record, Study

__all__ = [
    "Experiment",
    "Facility",
    "FacilityRefused",
    "FacilityUnreachable",
    "NotLoggedIn",
    "Record",
    "Study",
]
