"""The database repeats the rules, and keeps what it was told."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from labcommons.core.errors import Conflict, InvalidInput, NotFound, StaleVersion, TooLarge, Unavailable
from labcommons.core.ids import PersonId, ProjectId
from labcommons.facility import ports
from labcommons.facility.storage import tables
from labcommons.facility.storage.engine import make_engine
from labcommons.facility.storage.migrate import current, head, migrate
from labcommons.facility.storage.objects import FolderObjects
from labcommons.scheduler.attempts import LIVE, AttemptState
from labcommons.scheduler.samples import SampleState
from labcommons.scheduler.steps import StepState
from support.bench import START, Books, Member, NodeDouble

# --- the schema -------------------------------------------------------------------------------------------------------


def test_the_migrations_make_exactly_the_tables_of_the_code(books: Books) -> None:
    with books.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.METADATA) == []
    assert current(books.engine) == head()
    migrate(books.engine)


def test_an_empty_database_is_at_no_revision(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    assert current(engine) is None
    engine.dispose()


def test_the_states_are_those_of_the_machines() -> None:
    assert set(tables.ATTEMPT_STATES) == {str(state) for state in AttemptState}
    assert set(tables.LIVE_ATTEMPT_STATES) == {str(state) for state in LIVE}
    assert set(tables.STEP_STATES) == {str(state) for state in StepState}
    assert set(tables.SAMPLE_STATES) == {str(state) for state in SampleState}


def test_every_connection_is_durable(books: Books) -> None:
    with books.engine.connect() as one, books.engine.connect() as two:
        for connection in (one, two):
            found = {
                pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()
                for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
            assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


def test_a_database_that_cannot_be_durable_is_refused() -> None:
    # SQLite keeps a database in memory out of WAL and says so only when asked.
    engine = make_engine("sqlite://")
    with pytest.raises(Unavailable) as refused:
        engine.connect()
    assert refused.value.word == "durability"
    engine.dispose()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE steps SET state = 'NAPPING'",
        "UPDATE steps SET hold_ms = 0",
        "UPDATE experiments SET state = 'lost'",
        "UPDATE ledger SET amount_ms = -1",
        "UPDATE ledger SET account = counter_account",
        "UPDATE holds SET charged_ms = amount_ms + 1",
        "UPDATE nodes SET state = 'asleep'",
        "UPDATE instruments SET fence = -1",
        "UPDATE steps SET experiment = 'exp_of_nobody'",
        "DELETE FROM experiments",
    ],
)
def test_the_database_itself_refuses_what_breaks_a_rule(
    books: Books, pia: Member, north: NodeDouble, statement: str
) -> None:
    pia.submit()
    assert north.names
    with pytest.raises(IntegrityError), books.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def test_an_entry_of_the_ledger_stands_once(books: Books, pia: Member) -> None:
    assert pia.project
    with books.work.write() as uow:
        [entry] = uow.office.ledger.find()
        with pytest.raises(Conflict):
            uow.office.ledger.add(entry)


# --- units of work ----------------------------------------------------------------------------------------------------


def person(books: Books, name: str) -> ports.PersonRow:
    return ports.PersonRow(books.ids.mint(PersonId), name, name.title(), books.clock.now(), ("staff",))


def _fail_in(books: Books, row: ports.PersonRow, *, commit: bool) -> None:
    with books.work.write() as uow:
        uow.office.people.add(row)
        uow.emit("person.created", row.id, "created")
        if commit:
            uow.commit()
        raise RuntimeError("in the middle")


def test_what_is_not_committed_never_was(books: Books) -> None:
    row = person(books, "rae")
    with books.work.write() as uow:
        uow.office.people.add(row)
        uow.emit("person.created", row.id, "created")
        uow.audit("somebody", "person.create", row.id)
    with pytest.raises(RuntimeError, match="in the middle"):
        _fail_in(books, row, commit=False)
    with books.work.read() as uow:
        assert uow.office.people.get(row.id) is None
        assert uow.run.events.count(subject=row.id) == uow.run.audit.count(subject=row.id) == 0
    assert books.bus.seen("outbox") == 0


def test_a_commit_writes_events_and_audit_and_wakes_the_relay(books: Books) -> None:
    row = person(books, "rae")
    with books.work.write() as uow:
        uow.office.people.add(row)
        uow.emit("person.created", row.id, "created", topics=("dispatch",))
        uow.audit("somebody", "person.create", row.id, {"why": "a test"})
        uow.wake("silence")
        uow.commit()
        with pytest.raises(RuntimeError):
            uow.commit()
    assert (books.bus.seen("outbox"), books.bus.seen("silence"), books.bus.seen("dispatch")) == (1, 1, 0)
    with books.work.read() as uow:
        assert uow.office.people.get(row.id) == row
        [event] = uow.run.events.find(subject=row.id)
        [audit] = uow.run.audit.find(subject=row.id)
        with pytest.raises(RuntimeError):
            uow.commit()
    assert (event.event, event.topics, audit.detail) == ("person.created", ("dispatch",), {"why": "a test"})


def test_a_commit_wakes_even_if_the_caller_fails_after_it(books: Books) -> None:
    with pytest.raises(RuntimeError, match="in the middle"):
        _fail_in(books, person(books, "rae"), commit=True)
    assert books.bus.seen("outbox") == 1


def test_event_numbers_rise_in_the_order_of_commits(books: Books) -> None:
    def write(n: int) -> None:
        for _ in range(10):
            with books.work.write() as uow:
                uow.emit("test.written", f"writer-{n}", "written")
                uow.emit("test.written", f"writer-{n}", "written")
                uow.commit()

    read: list[int] = []
    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or not read or read[-1] < 80:
        with books.work.read() as uow:
            read += [row.id for row in uow.run.events.find(order="id", after=read[-1] if read else 0)]
    for thread in threads:
        thread.join()
    # A reader that asks for what is past its last never misses one that was committed late.
    assert read == list(range(1, 81))


def test_compare_and_swap_lets_one_win(books: Books) -> None:
    row = person(books, "rae")
    with books.work.write() as uow:
        uow.office.people.add(row)
        uow.commit()
    with books.work.write() as uow:
        saved = uow.office.people.save(replace(row, name="Rae B."))
        assert saved.version == 2
        with pytest.raises(StaleVersion):
            uow.office.people.save(replace(row, name="Rae C."))
        uow.commit()
    with books.work.read() as uow:
        assert uow.office.people.get(row.id) == saved


def test_a_save_that_breaks_a_rule_is_a_conflict(books: Books) -> None:
    one, two = person(books, "rae"), person(books, "kim")
    with books.work.write() as uow:
        uow.office.people.add(one, two)
        with pytest.raises(Conflict):
            uow.office.people.save(replace(two, username="rae"))


def test_rows_are_found_by_values_by_none_and_by_collections(books: Books) -> None:
    rows = [person(books, f"p{n:04}") for n in range(1200)]
    rows[7] = replace(rows[7], issuer="https://issuer.example", subject="7")
    with books.work.write() as uow:
        uow.office.people.add(*rows)
        uow.office.people.add()
        uow.commit()
    with books.work.read() as uow:
        people = uow.office.people
        assert people.count() == 1200
        assert people.count(issuer=None) == 1199
        assert people.one(subject="7") == rows[7]
        assert people.find(id=[]) == []
        assert people.find(id=[row.id for row in reversed(rows)]) == rows
        assert people.find(username=[row.username for row in rows], descending=True, limit=2) == [rows[-1], rows[-2]]
        assert people.find(after=rows[9].id, limit=2) == rows[10:12]
        assert people.find(order="username", descending=True, after="p0002") == [rows[1], rows[0]]
        with pytest.raises(TypeError):
            people.get("a", "b")
    with books.work.write() as uow:
        with pytest.raises(TypeError):
            uow.office.people.delete()
        assert uow.office.people.delete(username=["p0001", "p0002"]) == 2


def test_times_are_kept_with_their_zone_and_never_without(books: Books) -> None:
    row = ports.ProjectRow(books.ids.mint(ProjectId), "name", "Title", START)
    with books.work.write() as uow:
        uow.office.projects.add(row)
        found = uow.office.projects.get(row.id)
        assert found is not None
        assert found.created_at == START
        assert found.created_at.tzinfo is not None
        bad = replace(row, created_at=datetime(2026, 1, 1))  # noqa: DTZ001
        with pytest.raises(Exception, match="needs its zone"):
            uow.office.projects.save(bad)


def test_a_second_writer_in_the_same_thread_is_a_defect_and_no_deadlock(books: Books) -> None:
    with books.work.write(), pytest.raises(RuntimeError, match="wait for itself"), books.work.write():
        pass
    with books.work.write() as uow:
        uow.commit()


def test_another_process_waits_for_the_lock_and_a_reader_never(books: Books) -> None:
    outside = sqlite3.connect(books.folder / "facility.sqlite", timeout=0.05, isolation_level=None)
    with books.work.write() as uow:
        uow.office.people.add(person(books, "rae"))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            outside.execute("BEGIN IMMEDIATE")
        with books.work.read() as other:
            assert other.office.people.one(username="rae") is None
        uow.commit()
    outside.execute("BEGIN IMMEDIATE")
    outside.execute("ROLLBACK")
    outside.close()


# --- objects ----------------------------------------------------------------------------------------------------------

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_objects_are_kept_whole_under_their_hash(tmp_path: Path) -> None:
    store = FolderObjects(tmp_path / "objects")
    assert not store.has(HELLO)
    assert store.put(HELLO, [b"he", b"llo"]) == 5
    assert store.put(HELLO, [b"hello"]) == 5
    assert (store.has(HELLO), store.size(HELLO)) == (True, 5)
    with store.open(HELLO) as file:
        assert file.read() == b"hello"
    assert FolderObjects(tmp_path / "objects").has(HELLO)


def test_bytes_with_another_hash_leave_nothing(tmp_path: Path) -> None:
    store = FolderObjects(tmp_path)
    with pytest.raises(InvalidInput) as refused:
        store.put(HELLO, [b"hullo"])
    assert refused.value.word == "hash_mismatch"
    with pytest.raises(TooLarge):
        store.put(HELLO, [b"hel", b"lo"], maximum=4)

    def broken() -> object:
        yield b"he"
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        store.put(HELLO, broken())  # type: ignore[arg-type]
    assert not store.has(HELLO)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_not_there_is_said_and_odd_names_never_reach_the_disk(tmp_path: Path) -> None:
    store = FolderObjects(tmp_path)
    for verb in (store.size, store.open):
        with pytest.raises(NotFound):
            verb(HELLO)
    for name in ("../../etc/passwd", "", HELLO.upper(), HELLO + "0"):
        with pytest.raises(InvalidInput):
            store.has(name)


def test_what_a_dead_process_left_half_is_cleared_away(tmp_path: Path) -> None:
    FolderObjects(tmp_path)
    (tmp_path / "incoming" / "half").write_bytes(b"he")
    FolderObjects(tmp_path)
    assert list((tmp_path / "incoming").iterdir()) == []
