"""Logical replication on a real server: a publisher and a subscriber, and slots that others read through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.embedded.server import wait_until
from app.operations.backup.take import BackupRequest, take_backup
from tests.fix_damaged import Damaged, drop_databases, execute, query
from tests.fix_postgres import TestDatabase, open_folder, scratch_database
from tests.fix_service import make_site

SECONDS = 30.0
SUBSCRIPTIONS = """
    SELECT datname::text, subenabled, subslotname::text FROM pg_subscription JOIN pg_database d ON d.oid = subdbid
    WHERE subname = %s ORDER BY 1"""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A database with a service, whose table `people` comes from another database.

    Attributes:
        of: the database, backed up when it had the first row.
        slot: of the subscription, at the publisher; the subscription has the same name.
    """

    publisher: TestDatabase
    of: Damaged
    slot: str

    def send(self, number: int) -> None:
        """Insert a row at the publisher."""
        self.publisher.execute("INSERT INTO people VALUES (%s)", number)

    def arrives(self, *numbers: int, name: str | None = None) -> bool:
        """Whether these, and no others, come to be in the subscriber's table."""
        database = TestDatabase(name or self.of.name, self.of.server.url(name or self.of.name))
        wanted = [(number,) for number in numbers]
        return wait_until(lambda: database.query("SELECT id FROM people ORDER BY id") == wanted, SECONDS)

    def subscriptions(self) -> list[tuple[Any, ...]]:
        """Databases that have the subscription, whether it is enabled there, and its slot's name."""
        return query(self.of.server, SUBSCRIPTIONS, self.slot)

    def consumed(self) -> int:
        """How much of the publisher's slot was consumed, in bytes of WAL; fails where there is no such slot."""
        where = "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = %s"
        return int(query(self.of.server, where, self.slot)[0][0])

    def slots(self) -> list[str]:
        """All slots of the publisher."""
        where = "SELECT slot_name FROM pg_replication_slots WHERE database = %s ORDER BY 1"
        return [name for (name,) in query(self.of.server, where, self.publisher.name)]


@pytest.fixture(scope="session")
def logical_server() -> Iterator[EmbeddedPostgres]:
    """A server that decodes its WAL, and takes prepared transactions."""
    with open_folder() as folder, EmbeddedPostgres(folder / "postgres", fast=True) as server:
        for setting in ("wal_level = logical", "max_prepared_transactions = 5", "wal_retrieve_retry_interval = 200"):
            execute(server, f"ALTER SYSTEM SET {setting}")
        server.restart()
        yield server


@pytest.fixture
def published(logical_server: EmbeddedPostgres) -> Iterator[TestDatabase]:
    """A database that publishes its table."""
    with scratch_database(logical_server) as database:
        database.execute("CREATE TABLE people (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE people")
        yield database
        drop_slots(logical_server, database.name)


@pytest.fixture
def subscriber(logical_server: EmbeddedPostgres, published: TestDatabase, tmp_path: Path) -> Iterator[Subscriber]:
    """A database that got its first row from its publisher, and then was backed up."""
    with scratch_database(logical_server) as database:
        slot = f"slot_{database.name}"
        published.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", slot)
        database.execute("CREATE TABLE people (id int PRIMARY KEY)")
        database.execute(
            f"CREATE SUBSCRIPTION {slot} CONNECTION '{psycopg.conninfo.make_conninfo(published.url)}' PUBLICATION p"
            f" WITH (create_slot = false, slot_name = {slot})"
        )
        try:
            site = make_site(database, tmp_path / "backups", filled=False)
            made = Subscriber(published, Damaged(site, logical_server, "latest-manual", {}, {}), slot)
            made.send(1)
            assert made.arrives(1)
            assert take_backup(made.of.service(), BackupRequest(tier=Tier.MANUAL))
            yield made
        finally:
            for name, *_ in query(logical_server, SUBSCRIPTIONS, slot):
                drop_subscription(TestDatabase(name, logical_server.url(name)), slot)
            drop_databases(logical_server, database.name)


def drop_subscription(database: TestDatabase, name: str) -> None:
    """Drop a subscription, and leave its slot."""
    with suppress(psycopg.errors.UndefinedObject):
        database.execute(f"ALTER SUBSCRIPTION {name} DISABLE")
        database.execute(f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")
        database.execute(f"DROP SUBSCRIPTION {name}")


def drop_slots(server: EmbeddedPostgres, database: str) -> None:
    """Drop all slots of a database, when nobody reads through them any more."""
    idle = "SELECT bool_and(active_pid IS NULL) IS NOT FALSE FROM pg_replication_slots WHERE database = %s"
    query(server, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = %s", database)
    assert wait_until(lambda: query(server, idle, database)[0][0], SECONDS)
    query(server, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s", database)
