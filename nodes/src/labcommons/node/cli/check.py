"""`labcommons-node check`: whether an instrument keeps the contract. It needs no facility and nobody's approval."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from labcommons.node.checks import Finding, Probe, run_checks
from labcommons.node.cli.attach import Asked, Attachment, asking, fresh_id
from labcommons.node.cli.shared import EXIT_FAILED, print_json, told
from labcommons.node.cli.shown import spoken_words
from labcommons.node.drivers import UnknownDriver, load, open_driver

__all__ = ["check_command"]


@dataclass(frozen=True)
class _Measures:
    """Whether anything may move; seconds for one run and for one reply."""

    motion: bool
    patience_s: float
    reply_s: float


@click.command("check")
@asking
@click.option("--no-motion", is_flag=True, help="Only the rules that start nothing.")
@click.option("--patience", "patience_s", type=float, default=600, show_default=True, help="Seconds for one run.")
@click.option("--reply-timeout", "reply_s", type=float, default=3, show_default=True, help="Seconds for one reply.")
def check_command(asked: Asked, as_json: bool, no_motion: bool, patience_s: float, reply_s: float) -> None:
    """Does this instrument keep the contract? A line for each rule, with a remedy for each breach.

    Unless --no-motion is given it starts the instrument several times, with the arguments given or the middle of
    each range.

    \b
    Examples:
      labcommons-node check --driver line --address 127.0.0.1:7401
      labcommons-node check press --config node.yaml --no-motion --json

    Exit codes: 0 kept; 1 a breach; 2 usage.
    """
    measures = _Measures(not no_motion, patience_s, reply_s)
    findings: list[Finding] = []
    with told(as_json, usage=(UnknownDriver, ValueError)):
        attached = asked.attachment()
        with _probe(asked, attached, measures) as probe:
            for finding in run_checks(probe, partial(_prepare, asked)):
                findings.append(finding)
                if not as_json:
                    _show_finding(finding)
    broken = [f for f in findings if f.outcome == "fail"]
    if as_json:
        checks = [f.to_json() for f in findings]
        print_json({"instrument": attached.name, "kept": not broken, "checks": checks})
    else:
        _show_verdict(findings)
    sys.exit(EXIT_FAILED if broken else 0)


def _prepare(asked: Asked, probe: Probe) -> None:
    action, probe.arguments = asked.choose(probe.description)
    if probe.motion:
        click.echo(f"it will be started several times: {action.name}, {spoken_words(probe.arguments)}", err=True)


@contextmanager
def _probe(asked: Asked, attached: Attachment, measures: _Measures) -> Iterator[Probe]:
    """The instrument under check; a simulated one keeps its memory in a folder that is thrown away at the end."""
    with tempfile.TemporaryDirectory(prefix="labcommons-check-") as folder:
        opened = {"memory": str(Path(folder) / "instrument"), **attached.options}
        if attached.driver == "line":
            reply_s, patience_s = measures.reply_s, measures.patience_s
            opened |= {"reply_timeout_s": reply_s, "connect_timeout_s": reply_s, "stop_timeout_s": patience_s}
        load(attached.driver)
        probe = Probe(
            lambda: open_driver(attached.driver, opened),
            attached.address,
            fresh_id,
            reply_s=measures.reply_s,
            patience_s=measures.patience_s,
            motion=measures.motion,
            action_name=asked.action_name,
        )
        try:
            yield probe
        finally:
            probe.close()


def _show_finding(finding: Finding) -> None:
    click.echo(f"{finding.outcome:4}  {finding.check}" + (f": {finding.detail}" if finding.detail else ""))
    if finding.outcome == "fail":
        click.echo(f"        rule:   {finding.words}")
        click.echo(f"        remedy: {finding.remedy}")


def _show_verdict(findings: list[Finding]) -> None:
    passed, broken = (sum(f.outcome == outcome for f in findings) for outcome in ("pass", "fail"))
    verdict = f"{broken} broken" if broken else "the contract is kept"
    click.echo(f"{verdict}: {passed} pass, {broken} fail, {len(findings) - passed - broken} not applicable")
