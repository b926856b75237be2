"""Logical replication slots of a database that is replaced: said before, said after, never dropped under a reader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.domain.backup import Tier
from app.domain.checks import Severity
from app.embedded.postgres import EmbeddedPostgres, binaries
from app.embedded.server import wait_until
from app.errors import RestoreBusyError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.expire import expire
from app.operations.health.check import check
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from app.postgres.programs import ChildProcess
from tests.fix_damaged import Damaged, drop_databases, query
from tests.fix_logical import SECONDS, drop_slots
from tests.fix_postgres import scratch_database
from tests.fix_service import later, make_site
from tests.tiers import THOROUGH

pytestmark = THOROUGH  # few have what it takes

WHERE = "SELECT database::text FROM pg_replication_slots WHERE slot_name = %s"


ACTIVE = "SELECT FROM pg_replication_slots WHERE slot_name = %s AND active"


@pytest.fixture
def sliced(logical_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Damaged]:
    """A backed-up database that others read through a slot, whose name is the database's."""
    with scratch_database(logical_server) as database:
        database.execute("CREATE TABLE orders (id int PRIMARY KEY, t text); CREATE TABLE notes (t text)")
        database.execute("INSERT INTO orders VALUES (1, 'a'), (2, 'b'); INSERT INTO notes VALUES ('a'), ('a')")
        database.execute("CREATE PUBLICATION everything FOR ALL TABLES")
        database.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", database.name)
        site = make_site(database, tmp_path / "backups", filled=False)
        assert take_backup(site.service(), BackupRequest(tier=Tier.MANUAL))
        made = Damaged(site, logical_server, "latest-manual", {}, {})
        try:
            yield made
        finally:
            for name in (database.name, *made.databases()):
                drop_slots(logical_server, name)
            drop_databases(logical_server, database.name)


def home(sliced: Damaged) -> list[str]:
    """The database that has the slot."""
    return [name for (name,) in query(sliced.server, WHERE, sliced.name)]


@contextmanager
def read(sliced: Damaged, name: str) -> Iterator[None]:
    """Somebody reads a database through the slot for the length of a block."""
    argv = [str(binaries() / "pg_recvlogical"), "-d", sliced.server.url(name), "--slot", sliced.name, "--start", "-f"]
    reader = ChildProcess([*argv, "/dev/null"], {})
    try:
        assert wait_until(lambda: bool(query(sliced.server, ACTIVE, sliced.name)), SECONDS), reader.error_tail()
        yield
    finally:
        reader.end()
    assert wait_until(lambda: not query(sliced.server, ACTIVE, sliced.name), SECONDS)


def changes(sliced: Damaged) -> list[str]:
    """The rows that a reader of the slot gets next."""
    sliced.site.database.execute("CHECKPOINT")  # what is not on the disk is not decoded, and commits do not wait for it
    data = "SELECT data FROM pg_logical_slot_get_changes(%s, NULL, NULL)"
    return [line for (line,) in sliced.site.database.query(data, sliced.name) if line.startswith("table")]


def test_logical_slots_are_named_before_and_after_and_a_rollback_brings_them_back(sliced: Damaged) -> None:
    drop = f"psql -d postgres -c \"SELECT pg_drop_replication_slot('{sliced.name}')\""
    plan = preview(sliced.service(), RestoreRequest.parse(sliced.service(), backup=sliced.backup, mode="replace"))
    sliced.site.database.execute("INSERT INTO orders VALUES (3, 'c')")
    outcome = sliced.run(mode="replace")
    for said in (plan.warnings, outcome.warnings):
        assert any(f"{sliced.name} (test_decoding, not in use, holds 0." in line and drop in line for line in said)
    assert home(sliced) == [outcome.restore.undo]
    found = [each for each in check(sliced.service()) if each.check == "replication slots"]
    assert [each.severity for each in found] == [Severity.WARNING]
    assert drop in found[0].message
    rollback(sliced.service(), outcome.restore.id)
    assert home(sliced) == [sliced.name]
    assert changes(sliced) == ["table public.orders: INSERT: id[integer]:3 t[text]:'c'"], "it goes on where it was"


def test_who_reads_through_one_is_not_cut_off_by_the_end_of_the_time_to_roll_back(sliced: Damaged) -> None:
    with read(sliced, sliced.name):
        outcome = sliced.run(mode="replace")
    assert any(f"{sliced.name} (test_decoding, in use by pid" in said for said in outcome.warnings)
    undo = outcome.restore.undo
    assert undo is not None
    service = later(sliced.service())
    with read(sliced, undo):
        with pytest.raises(RestoreBusyError, match=f"read through logical replication slots: {sliced.name}") as caught:
            expire(service)
        assert "pg_terminate_backend" in caught.value.hint
        assert home(sliced) == [undo]
    assert any(f"went its logical replication slot {sliced.name}" in said for said in expire(service))
    assert sliced.databases() == set()


def test_a_merge_is_told_on(sliced: Damaged) -> None:
    sliced.site.database.execute("DELETE FROM orders WHERE id = 1")
    assert len(changes(sliced)) == 1
    outcome = sliced.run(mode="merge")
    assert any(each.check == "replication slots" and sliced.name in each.message for each in outcome.findings)
    assert changes(sliced) == ["table public.orders: INSERT: id[integer]:1 t[text]:'a'"]
