"""The list of rules, in the words of docs/line-protocol.md, and the walk through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from labcommons.node.checks import moving, still
from labcommons.node.checks.probe import Breach, Finding, NotApplicable, Probe
from labcommons.node.drivers.contract import DriverError, InstrumentLost, InstrumentRefused

__all__ = ["RULES", "Rule", "run_checks"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One check: its name, the rule's words, what to do where it is broken. `moves`: it starts something."""

    name: str
    words: str
    remedy: str
    test: Callable[[Probe], None]
    moves: bool = False


RULES = (
    Rule(
        "describe",
        "describe gives protocol 1, instrument, actions with parameters, outputs and duration, remembers_attempts, "
        "can_void (implies remembers_attempts), on_disconnect, simulated, time_scale",
        "Let describe answer as the example in docs/line-protocol.md does.",
        still.describe,
    ),
    Rule(
        "health",
        'health gives a state: "idle", "busy", "paused", "error", "maintenance" or "local"',
        "Answer one of the six words.",
        still.health,
    ),
    Rule(
        "unknown op",
        "an unknown op gets the code unsupported",
        'Answer {"id": ..., "ok": false, "error": {"code": "unsupported", ...}} with the id of the request.',
        still.unknown_op,
    ),
    Rule(
        "bad line",
        'a line that is not JSON gets {"id": null, "ok": false, "error": {"code": "bad_request", ...}}',
        "Catch the parser's error, answer so, and read on.",
        still.bad_line,
    ),
    Rule(
        "unknown fields", "unknown fields are ignored by both sides", "Read the fields you know.", still.unknown_fields
    ),
    Rule(
        "half a line",
        "one object a line, ended by a newline: what has no newline was never said",
        "Act only upon whole lines, and go on serving other connections.",
        still.half_request,
    ),
    Rule(
        "never seen",
        "start and resume are the only ops that set anything moving; status of an unknown id is never_seen",
        "Let status look only.",
        still.never_seen,
    ),
    Rule(
        "stop of nothing",
        "stop for an id never seen: never_seen, and no trace is left",
        "Keep nothing of an id on stop; void is the word for that.",
        still.stop_leaves_no_trace,
    ),
    Rule(
        "void",
        "voided: recorded durably, this id will never start, however late its start arrives (it then gets voided)",
        "Write the id to disk before you answer, and look there before every start.",
        still.void_holds,
    ),
    Rule(
        "refusals",
        "an unknown action or parameter, a missing one, another unit: bad_request; an error reply to a start means "
        "that it moved nothing and never will; after any code but busy and not_ready the id is voided",
        "Check everything before anything moves; where you remember ids, void the refused one.",
        moving.refusals,
        moves=True,
    ),
    Rule(
        "run",
        "start answers running; status tells running, then done with a result in the units of describe, within max_ms",
        "Answer start at once and run behind it; give each output as described, each file with its own sha256.",
        moving.run_once,
        moves=True,
    ),
    Rule(
        "duplicate start",
        "an id it has seen: its present phase and duplicate: true, and nothing moves; arguments compare as numbers",
        "Remember ids on disk and compare 12.50 with 12.5 as equal; or say remembers_attempts: false.",
        moving.duplicate,
        moves=True,
    ),
    Rule(
        "other arguments",
        "the same id with other arguments than before: bad_request",
        "Keep the arguments with the id.",
        moving.other_arguments,
        moves=True,
    ),
    Rule(
        "void after a run",
        "void: if it had started, its present phase",
        "Look for the id before you void it.",
        moving.void_after_run,
        moves=True,
    ),
    Rule(
        "readback",
        "readback: as status, from what survives a restart; cannot_tell where nothing survives",
        "Answer from the disk, or cannot_tell.",
        moving.readback,
        moves=True,
    ),
    Rule(
        "resume",
        "resume: from paused to running, else not_ready",
        "Refuse what is not paused.",
        moving.resume,
        moves=True,
    ),
    Rule(
        "release",
        "release: the instrument may forget the result, never the id",
        "Drop the result alone.",
        moving.release,
        moves=True,
    ),
    Rule(
        "busy",
        "while something runs: status running, health busy, another start busy (retryable), release busy",
        "Refuse a second start with busy, retryable true.",
        moving.busy,
        moves=True,
    ),
    Rule(
        "stop",
        "stop is answered when the phase is reached; other ops are answered meanwhile",
        "Do not hold the connection while a stop waits; end in stopped or paused.",
        moving.stop,
        moves=True,
    ),
    Rule(
        "events",
        "after subscribe: progress, phase, health, signal",
        "Send a phase event at each change; or answer subscribe with unsupported.",
        moving.events,
        moves=True,
    ),
    Rule(
        "lost link",
        "when the connection that carried the start drops, the instrument does what on_disconnect says, nothing else",
        "Do what you describe, or describe what you do.",
        moving.lost_link,
        moves=True,
    ),
)


def run_checks(probe: Probe, prepare: Callable[[Probe], None]) -> Iterator[Finding]:
    """Walk through the rules, one finding each. `prepare` is called once the instrument is described, to choose
    arguments. What breaks `describe` ends the walk: the rest is not applicable."""
    ended = ""
    for rule in RULES:
        if ended or (rule.moves and not probe.motion):
            yield Finding(rule.name, "n/a", rule.words, ended or "it would move something, which was not wanted")
            continue
        finding = _try(rule, probe)
        if rule.name == "describe":
            if finding.outcome == "pass":
                prepare(probe)
            else:
                ended = "what it is could not be learnt"
        if rule.name == "health" and finding.outcome != "pass":
            ended = finding.detail
        yield finding


def _try(rule: Rule, probe: Probe) -> Finding:
    try:
        rule.test(probe)
    except Breach as breach:
        return Finding(rule.name, "fail", rule.words, str(breach), rule.remedy)
    except NotApplicable as why:
        return Finding(rule.name, "n/a", rule.words, str(why))
    except InstrumentRefused as refusal:
        return Finding(rule.name, "fail", rule.words, f"refused where nothing is wrong: {refusal}", rule.remedy)
    except InstrumentLost as lost:
        # A fresh line, so that the next rule is judged on its own.
        probe.close()
        words = "UTF-8 JSON, one object a line, at most 1 MiB a line; every request gets one reply"
        remedy = f"Answer each request with one whole line within {probe.reply_s:g} s."
        return Finding(rule.name, "fail", words, f"no usable answer: {lost.reason}", remedy)
    except DriverError as error:
        return Finding(rule.name, "fail", rule.words, f"the driver raised {error!r}", rule.remedy)
    return Finding(rule.name, "pass", rule.words)
