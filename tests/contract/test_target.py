"""What every server to restore on must do. A new adapter is one more line in SERVERS.

How it makes a database, and what it makes of a dump that is not as it should be, is the adapter's own.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from app.archive.index import TableName
from app.archive.reader import Archive
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.domain.changes import MergeRequest
from app.domain.restore import OnConflict
from app.embedded.postgres import EmbeddedPostgres
from app.errors import MergeConflictError, RestoreDataError, RestoreValidationError
from app.ports.source import Source
from app.ports.target import LoadOptions, Target
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from app.postgres.target import PostgresTarget
from tests.fakes.server import CannedServer
from tests.fakes.source import CannedSource
from tests.fakes.target import CannedTarget
from tests.fix_postgres import TestDatabase

PEOPLE, SHIFTS = TableName("public", "people"), TableName("public", "shifts")
ALL = {PEOPLE: 2, SHIFTS: 2}
TABLES = """
    CREATE TABLE people (a text PRIMARY KEY, b text); CREATE TABLE shifts (a text PRIMARY KEY, b text);
    INSERT INTO people VALUES ('1', 'Ada'), ('2', 'Grace');
    INSERT INTO shifts VALUES ('2025-01-15', '1'), ('2025-01-16', '2')"""


@dataclass
class Live:
    """A live database on a server, and what somebody else does with it.

    Attributes:
        of: gives the source of a database by its name.
        without_grace, with_lovelace, with_joan: one of two people goes, the other's name changes, a third comes.
    """

    target: Target
    of: Callable[[str], Source]
    without_grace: Callable[[], object]
    with_lovelace: Callable[[], object]
    with_joan: Callable[[], object]

    @property
    def name(self) -> str:
        return self.target.database

    @property
    def new(self) -> str:
        return f"{self.name}_new"

    @property
    def old(self) -> str:
        return f"{self.name}_old"

    def archive(self) -> Archive:
        """The live database as it is now."""
        out = io.BytesIO()
        with self.of(self.name).snapshot() as snapshot:
            writer = ArchiveWriter(out, Codec.NONE)
            snapshot.dump_into(writer)
            index = writer.finish()
        return Archive(lambda: io.BytesIO(out.getvalue()), Codec.NONE, index)

    def digests(self) -> object:
        """What the live database holds."""
        return self.archive().index.tables

    def rows(self) -> dict[TableName, int]:
        return {digest.table: digest.rows for digest in self.archive().index.tables}

    def built(self) -> Archive:
        """A new database beside the live one, loaded with what that holds."""
        archive = self.archive()
        self.target.create(self.new, self.of(self.name).facts())
        loaded = self.target.load(self.new, archive, self.load_options(), lambda _: None)
        assert loaded.rows == ALL
        return archive

    def load_options(self) -> LoadOptions:
        return LoadOptions(facts=self.of(self.name).facts())

    def merge(self, archive: Archive, request: MergeRequest, inverse: io.BytesIO) -> tuple[object, list[str]]:
        transactions: list[str] = []
        with self.target.merging(archive, request, lambda _: None) as merging:
            preview = merging.preview()
            merging.check()
            done = merging.apply(inverse, transactions.append)
        assert done.tables == preview.tables
        inverse.seek(0)
        return done.tables, transactions


@contextmanager
def canned(_: pytest.FixtureRequest) -> Iterator[Live]:
    server = CannedServer()

    def people() -> list[str]:
        return server.databases["residency"].rows["people"]

    def with_lovelace() -> None:
        people()[0] = "1\tLovelace"

    yield Live(
        CannedTarget(server),
        lambda name: CannedSource(name, server),
        lambda: people().remove("2\tGrace"),
        with_lovelace,
        lambda: people().append("3\tJoan"),
    )


@contextmanager
def real(request: pytest.FixtureRequest) -> Iterator[Live]:
    database: TestDatabase = request.getfixturevalue("empty_database")
    server: EmbeddedPostgres = request.getfixturevalue("postgres_server")
    database.execute(TABLES)
    live = Live(
        PostgresTarget(Database.from_url(database.url), 2),
        lambda name: PostgresSource(Database.from_url(server.url(name)), 2),
        lambda: database.execute("DELETE FROM people WHERE a = '2'"),
        lambda: database.execute("UPDATE people SET b = 'Lovelace' WHERE a = '1'"),
        lambda: database.execute("INSERT INTO people VALUES ('3', 'Joan')"),
    )
    yield live
    postgres = TestDatabase("postgres", server.url("postgres"))
    for name in (live.new, live.old):
        postgres.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


SERVERS = {"canned": canned, "postgres": real}


@pytest.fixture(params=SERVERS)
def live(request: pytest.FixtureRequest) -> Iterator[Live]:
    with SERVERS[request.param](request) as made:
        yield made


def test_a_target_says_what_it_is_and_whether_the_live_database_exists(live: Live) -> None:
    facts, nowhere = live.target.facts(), live.target.named("no_such_database").facts()
    assert facts.live == live.of(live.name).facts()
    assert nowhere.live is None
    assert facts.system_identifier == nowhere.system_identifier == live.of(live.name).identity().system_identifier
    assert facts.may_create


def test_a_target_knows_its_tables_and_which_have_rows(live: Live) -> None:
    assert live.target.tables() == {PEOPLE: PEOPLE, SHIFTS: SHIFTS}
    assert live.target.filled([PEOPLE, TableName("public", "none")]) == {PEOPLE}
    assert live.target.filled([]) == set()


def test_what_is_built_beside_is_proven_and_takes_the_live_ones_place(live: Live) -> None:
    archive = live.built()
    before = live.target.databases()
    live.without_grace()
    assert live.target.prove(live.new, archive, live.load_options(), lambda _: None) == []
    assert live.target.swap(live.new, live.name, live.old) >= 0
    assert live.rows() == ALL
    after = live.target.databases()
    assert (after[live.name], after[live.old]) == (before[live.new], before[live.name])
    assert live.new not in after


def test_a_proof_names_the_table_that_differs(live: Live) -> None:
    live.built()
    live.with_lovelace()
    with pytest.raises(RestoreDataError, match="people"):
        live.target.prove(live.new, live.archive(), live.load_options(), lambda _: None)


def test_a_swap_needs_no_live_database(live: Live) -> None:
    live.built()
    moved = live.target.databases()[live.new]
    live.target.named(live.old).swap(live.new, live.old, "nothing")
    assert live.target.databases()[live.old] == moved
    assert "nothing" not in live.target.databases()


def test_a_drop_says_whether_there_was_anything(live: Live) -> None:
    live.built()
    assert live.target.drop(live.new)
    assert not live.target.drop(live.new)
    assert live.new not in live.target.databases()


def test_the_live_database_is_never_dropped(live: Live) -> None:
    with pytest.raises(RestoreValidationError, match=live.name):
        live.target.drop(live.name)
    assert live.rows() == ALL


def test_replaced_in_place_it_is_what_the_archive_holds(live: Live) -> None:
    archive, transactions = live.archive(), []
    oid = live.target.databases()[live.name]
    live.without_grace()
    assert live.target.replace_in_place(archive, live.of(live.name).facts(), transactions.append) == []
    assert live.rows() == ALL
    assert live.target.databases()[live.name] == oid
    (transaction,) = transactions
    assert live.target.committed(transaction) is True


def refuse(_: str) -> None:
    """What a commit is told to nobody by."""
    raise RestoreValidationError("the catalog is away")


def test_what_cannot_be_recorded_is_not_committed(live: Live) -> None:
    archive = live.archive()
    live.without_grace()
    before = live.digests()
    with pytest.raises(RestoreValidationError, match="the catalog is away"):
        live.target.replace_in_place(archive, live.of(live.name).facts(), refuse)
    with (
        live.target.merging(archive, MergeRequest(), lambda _: None) as merging,
        pytest.raises(RestoreValidationError, match="the catalog is away"),
    ):
        merging.apply(io.BytesIO(), refuse)
    assert live.digests() == before


def test_a_merge_brings_rows_back_and_its_inverse_takes_them_away_again(live: Live) -> None:
    archive, inverse = live.archive(), io.BytesIO()
    live.without_grace()
    live.with_lovelace()
    before = live.digests()
    tables, (transaction,) = live.merge(archive, MergeRequest(), inverse)
    people = next(counts for counts in tables if counts.table == "public.people")
    assert (people.inserted, people.updated, people.conflicting) == (1, 1, 1)
    assert live.digests() == archive.index.tables
    assert live.target.committed(transaction) is True
    live.target.run_script(inverse, lambda _: None)
    assert live.digests() == before


def test_an_inverse_refuses_what_was_changed_since(live: Live) -> None:
    archive, inverse = live.archive(), io.BytesIO()
    live.without_grace()
    live.merge(archive, MergeRequest(), inverse)
    live.without_grace()
    before = live.digests()
    with pytest.raises(RestoreDataError):
        live.target.run_script(inverse, lambda _: None)
    assert live.digests() == before


@pytest.mark.parametrize(("policy", "updated"), [("take-backup", 1), ("keep-live", 0)])
def test_the_policy_decides_on_rows_that_differ(live: Live, policy: str, updated: int) -> None:
    archive = live.archive()
    live.with_lovelace()
    before = live.digests()
    tables, _ = live.merge(archive, MergeRequest(on_conflict=OnConflict.parse(policy)), io.BytesIO())
    people = next(counts for counts in tables if counts.table == "public.people")
    assert (people.updated, people.conflicting) == (updated, 1)
    assert live.digests() == (archive.index.tables if updated else before)


def test_the_policy_may_be_to_refuse(live: Live) -> None:
    archive = live.archive()
    live.with_lovelace()
    before = live.digests()
    request = MergeRequest(on_conflict=OnConflict.parse("fail"))
    with (
        live.target.merging(archive, request, lambda _: None) as merging,
        pytest.raises(MergeConflictError, match="people"),
    ):
        merging.check()
    assert live.digests() == before


def test_chosen_tables_become_what_they_were(live: Live) -> None:
    archive = live.archive()
    live.with_joan()
    live.with_lovelace()
    tables, _ = live.merge(archive, MergeRequest(tables=["public.people"], exact=True), io.BytesIO())
    assert [(counts.table, counts.deleted, counts.updated) for counts in tables] == [("public.people", 1, 1)]
    assert live.digests() == archive.index.tables


def test_a_table_that_the_backup_has_not_cannot_be_chosen(live: Live) -> None:
    request = MergeRequest(tables=["nobody"])

    def merge() -> None:
        with live.target.merging(live.archive(), request, lambda _: None) as merging:
            merging.check()

    with pytest.raises(RestoreValidationError, match="nobody"):
        merge()


def test_another_database_of_the_server_is_its_target_too(live: Live) -> None:
    live.built()
    other = live.target.named(live.new)
    assert other.database == live.new
    assert other.databases() == live.target.databases()


def test_a_transaction_of_nobody_was_not_committed(live: Live) -> None:
    assert live.target.committed("699999999") is not True


def test_a_database_without_replication_has_none(live: Live) -> None:
    found = live.target.replication(live.name)
    assert (list(found.subscriptions), list(found.slots)) == ([], [])
    assert not live.target.renaming([live.name])


def test_a_target_gives_the_values_of_a_column_and_passes_over_tables_that_it_lacks(live: Live) -> None:
    people, nowhere = TableName("public", "people"), TableName("public", "nowhere")
    assert live.target.versions({people: "a", nowhere: "a"}) == {people: {"1", "2"}}


def test_a_scratch_database_takes_an_archive_and_is_gone_afterwards(live: Live) -> None:
    archive = live.archive()
    with live.target.scratch(live.new, None) as scratch:
        live.target.load(live.new, archive, live.load_options(), lambda _: None)
        live.target.prove(live.new, archive, live.load_options(), lambda _: None)
        scratch.require_alone()
        assert scratch.source().facts().version_num
        assert live.new in live.target.databases()
    assert live.new not in live.target.databases()
