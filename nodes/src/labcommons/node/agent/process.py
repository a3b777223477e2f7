"""The agent's process: settings in, one session after the other, a clean end at SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from labcommons.core.errors import InvalidInput
from labcommons.core.ids import JournalId, SessionId
from labcommons.federation.wire import EntryKind, SessionDetail
from labcommons.node.agent.local import StateFolder
from labcommons.node.agent.services import Limits
from labcommons.node.agent.session import Plan, RuntimeGone, Session
from labcommons.node.clock import mint, utc_now, wall_seconds
from labcommons.node.drivers.contract import Description
from labcommons.node.identity import Identity, TokenSource, check_url, http_client, load_identity
from labcommons.node.journal import Draft, Journal, JournalReader, JournalWriter
from labcommons.node.lines import Lines
from labcommons.node.link import Caller
from labcommons.node.manifest import derive
from labcommons.node.runtime import open_runtime
from labcommons.node.runtime.port import Runtime
from labcommons.node.settings import FacilitySettings, NodeSettings
from labcommons.protocols.canonical import canonical
from labcommons.protocols.capabilities import Capability, load_shipped

__all__ = ["RuntimeFactory", "open_journal", "plan_of", "run_agent"]

RuntimeFactory = Callable[[], Awaitable[Runtime]]


def plan_of(settings: NodeSettings, identity: Identity) -> Plan:
    """What the agent needs of the settings. Each instrument has a manifest of its own, so that one that is away
    changes nothing for the others."""

    @cache
    def capabilities() -> Mapping[str, Capability]:
        return load_shipped()

    def manifest(name: str, description: Description) -> tuple[Mapping[str, Any], bytes]:
        document = derive(settings, {name: description}, capabilities())
        entry: Mapping[str, Any] = document["instruments"][0]
        return entry, canonical(document)

    return Plan(
        node=identity.client_id,
        lab=identity.lab,
        zone=settings.lab.time_zone,
        time_scale=float(settings.time_scale),
        rules=settings.rules,
        instruments={
            name: (instrument.driver, settings.driver_options(name))
            for name, instrument in settings.instruments.items()
        },
        manifest=manifest,
    )


def open_journal(state: StateFolder) -> Journal:
    """The node's journal, made at the first run. Raises ``JournalBroken``."""
    if not state.journal.exists():
        return Journal.create(state.journal, utc_now, mint(JournalId))
    return Journal(state.journal, utc_now)


async def run_agent(
    settings: NodeSettings,
    lines: Lines,
    *,
    limits: Limits | None = None,
    runtime: RuntimeFactory | None = None,
    ended: asyncio.Event | None = None,
) -> None:
    """Run until SIGTERM or SIGINT, or until ``ended`` is set. Instruments in a cluster go on without the agent.

    Raises ``IdentityRefused``, ``JournalBroken``, ``AlreadyRunning``, ``RuntimeFailed`` or ``InvalidInput`` where it
    cannot begin.
    """
    facility = _facility(settings)
    state = StateFolder(settings.state)
    with state.only_agent():
        identity = load_identity(state.path)
        plan = plan_of(settings, identity)
        async with _books(state, lines) as (books, reader), _callers(facility, identity) as (calls, uploads):
            begin = partial(
                Session,
                plan=plan,
                state=state,
                books=books,
                reader=reader,
                caller=calls,
                uploads=uploads,
                lines=lines,
                now=utc_now,
                limits=limits or Limits(),
            )
            await _sessions(begin, runtime or partial(open_runtime, settings), ended or asyncio.Event(), lines)


def _facility(settings: NodeSettings) -> FacilitySettings:
    """Where the facility is, at an address without a trailing slash."""
    if settings.facility is None:
        raise InvalidInput(
            "node.yaml names no facility",
            code="no_facility",
            field="/facility",
            remedy='add facility: {url: "https://..."}; `try` and `check` work without',
        )
    return settings.facility.model_copy(update={"url": check_url(settings.facility.url)})


@asynccontextmanager
async def _books(state: StateFolder, lines: Lines) -> AsyncIterator[tuple[JournalWriter, JournalReader]]:
    """The journal, open for writing and for reading."""
    journal = open_journal(state)
    books, reader = JournalWriter(journal), JournalReader(state.journal)
    lines.info("journal open", journal=journal.id, entries=books.last.seq)
    try:
        yield books, reader
    finally:
        await books.close()
        reader.close()
        lines.info("agent ended")


@asynccontextmanager
async def _callers(facility: FacilitySettings, identity: Identity) -> AsyncIterator[tuple[Caller, Caller]]:
    """Two ways to the facility, one for calls and one for bytes: a long upload keeps no report waiting."""
    url, authority = facility.url, facility.authority
    async with http_client(url, authority) as calls, http_client(url, authority) as puts:
        tokens = TokenSource(identity, calls, url, wall_seconds)
        yield Caller(calls, tokens), Caller(puts, tokens)


async def _sessions(begin: Callable[..., Session], factory: RuntimeFactory, ended: asyncio.Event, lines: Lines) -> None:
    """One after the other, until the end is wished: a runtime that is gone ends its session and nothing else."""
    while not ended.is_set():
        place = await factory()
        try:
            # After the runtime: Ray brings signal handlers of its own.
            _listen(ended)
            session = begin(mint(SessionId), runtime=place)
            detail = SessionDetail(node=session.plan.node, versions=_versions(), ray_cluster=place.cluster_id)
            told = {**detail.model_dump(mode="json"), "session": session.session}
            await session.books.append(Draft(EntryKind.SESSION, detail=told))
            lines.info("session", session=session.session, ray_cluster=place.cluster_id)
            await _one_session(session, ended, lines)
        finally:
            await place.close()


async def _one_session(session: Session, ended: asyncio.Event, lines: Lines) -> None:
    work = asyncio.create_task(session.run())
    end = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait([work, end], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            lines.info("ending")
            await session.drain()
    finally:
        for task in (work, end):
            task.cancel()
        outcome, _ = await asyncio.gather(work, end, return_exceptions=True)
    if isinstance(outcome, BaseExceptionGroup):
        gone, rest = outcome.split(RuntimeGone)
        if rest is not None:
            raise rest
        if gone is not None:
            lines.error("runtime gone, a new session begins")


def _listen(ended: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, ended.set)
        except (NotImplementedError, RuntimeError, ValueError):
            return  # not the main thread: whoever runs us there sets `ended` himself


def _versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("labcommons-node", "ray"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
