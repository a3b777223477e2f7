"""Does an instrument keep the driver contract? One rule of the line protocol a check, and a remedy for each breach."""

from __future__ import annotations

from labcommons.node.checks.probe import Finding, Probe
from labcommons.node.checks.run import run_checks

__all__ = ["Finding", "Probe", "run_checks"]
