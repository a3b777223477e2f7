"""A facility and its demo labs on this machine, as processes of their own: what `labcommons up` and the demo use."""

from labcommons.facility.local.running import Running, find, start

__all__ = ["Running", "find", "start"]
