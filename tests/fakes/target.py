"""A server to restore on, behind our own port; `tests/contract/test_target.py` holds it to that.

It keeps rows of tables and nothing else of a dump. It is for the steps of a restore: which database is made, proven,
renamed and dropped in what order, and where everything stands when a step fails. What PostgreSQL makes of a dump, and
of a row that something stands in the way of, is `PostgresTarget`'s to show.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from app.archive.index import TableName
from app.archive.inspect.needs import Needs
from app.archive.manifest import ServerFacts
from app.archive.reader import Archive
from app.domain.adaptation import Filled
from app.domain.changes import Changes, MergeRequest, OtherWords, TableChanges
from app.domain.replication import Replication
from app.domain.restore import Policy
from app.errors import (
    MergeConflictError,
    RestoreDataError,
    RestoreMigrationError,
    RestoreMisfitError,
    RestoreValidationError,
)
from app.ports.source import Part
from app.ports.target import Advance, Loader, LoadOptions, LoadResult, TargetFacts
from tests.fakes.server import CannedDatabase, CannedServer, Rows
from tests.fakes.source import CannedSource

_COPY = re.compile(r"^COPY public\.(?P<table>\w+) \([^)]*\) FROM stdin;\n(?P<rows>.*?)^\\\.$", re.MULTILINE | re.DOTALL)


@dataclass
class CannedTarget:
    """See `app.ports.target.Target`."""

    server: CannedServer
    database: str = "residency"

    def named(self, name: str) -> CannedTarget:
        return CannedTarget(self.server, name)

    def run(self, argv: Sequence[str], name: str) -> None:
        self.server.step("run")
        self.server.ran.append((name, tuple(argv)))

    def facts(self) -> TargetFacts:
        self.server.step("facts")
        live = self.server.facts(self.database) if self.database in self.server.databases else None
        return TargetFacts(
            version="18.1",
            version_num=180001,
            live=live,
            may_create=self.server.may_create,
            data_folder=None,
            system_identifier=self.server.system_identifier,
            role="backup_role",
            superuser=True,
        )

    @contextmanager
    def scratch(self, name: str, facts: ServerFacts | None, role: str | None = None) -> Iterator[CannedScratch]:
        self.create(name, facts)
        try:
            yield CannedScratch(self.server, name)
        finally:
            self.drop(name)

    def abandoned(self, pattern: str) -> list[str]:
        return sorted(name for name in self.server.databases if re.search(pattern, name))

    def missing(self, needs: Needs) -> list[str]:
        return [f"extension {name}" for name in sorted(needs.extensions)]

    def foreign_owners(self, needs: Needs) -> dict[str, str]:
        return {}

    def versions(self, columns: Mapping[TableName, str]) -> dict[TableName, frozenset[str]]:
        self.server.step("versions")
        rows = self._rows()
        return {table: frozenset(map(_key, rows[table.name])) for table in columns if table.name in rows}

    def databases(self) -> dict[str, int]:
        self.server.step("databases")
        return {name: database.oid for name, database in self.server.databases.items()}

    def tables(self) -> dict[TableName, TableName]:
        names = [TableName("public", name) for name in self.server.database(self.database).rows]
        return {name: name for name in names}

    def filled(self, tables: Iterable[TableName]) -> set[TableName]:
        rows = self.server.database(self.database).rows
        return {table for table in tables if rows.get(table.name)}

    def renaming(self, names: Collection[str]) -> bool:
        return not names

    def create(self, name: str, facts: ServerFacts | None) -> None:
        self.server.step("create")
        self.server.databases[name] = CannedDatabase(next(self.server.oids), {})

    def drop(self, name: str) -> bool:
        self.server.step("drop")
        if name == self.database:
            raise RestoreValidationError(f"database {name} is the live one: it is not dropped")
        return self.server.databases.pop(name, None) is not None

    def replication(self, name: str) -> Replication:
        return Replication()

    def pause_subscriptions(self, name: str, subscriptions: Collection[str]) -> None:
        assert not subscriptions

    def resume_subscriptions(self, name: str, subscriptions: Collection[str]) -> list[str]:
        return list(subscriptions)

    def detach_subscriptions(self, name: str) -> list[str]:
        return []

    def loader(self, role: str) -> Loader:
        return Loader(role, ())

    def load(self, name: str, archive: Archive, options: LoadOptions, progress: Advance) -> LoadResult:
        self.server.step("load")
        rows = rows_of(archive)
        progress(archive.index.raw_bytes)
        self.server.database(name).rows = rows
        return LoadResult({TableName("public", table): len(lines) for table, lines in rows.items()})

    def prove(
        self,
        name: str,
        archive: Archive,
        options: LoadOptions,
        progress: Advance,
        otherwise: Callable[[OtherWords], object] = lambda _: None,
    ) -> list[str]:
        self.server.step("prove")
        self._require_equal(self.server.database(name).rows, archive)
        progress(archive.index.raw_bytes)
        return []

    def swap(self, new: str, live: str, old: str) -> float:
        self.server.step("swap")
        databases = self.server.databases
        if live in databases:
            databases[old] = databases.pop(live)
        databases[live] = databases.pop(new)
        self.server.step("swapped")
        return 0.001

    def replace_in_place(
        self,
        archive: Archive,
        facts: ServerFacts | None,
        on_commit: Callable[[str], None],
        search_path: str | None = None,
    ) -> list[str]:
        self.server.step("replace_in_place")
        rows = rows_of(archive)
        self._commit(rows, on_commit)
        return []

    @contextmanager
    def merging(self, archive: Archive, request: MergeRequest, progress: Advance) -> Iterator[CannedMerge]:
        self.server.step("merging")
        if request.where or request.dependents or request.parents:
            raise RestoreValidationError("canned rows know no conditions and no foreign keys")
        yield CannedMerge(self, rows_of(archive), request)

    def schema(self, archive: Archive) -> tuple[list[str], list[OtherWords]]:
        return [], []

    def compare(self, one: Archive, other: Archive, progress: Advance) -> Changes:
        return _planned(rows_of(one), rows_of(other), MergeRequest())[1]

    def committed(self, transaction: str) -> bool | None:
        self.server.step("committed")
        return self.server.transactions.get(transaction, False)

    def run_script(self, text: BinaryIO, on_commit: Callable[[str], None]) -> None:
        self.server.step("run_script")
        before, after = json.load(text)
        if self._rows() != after:
            raise RestoreDataError("rows were changed since", "restore again")
        self._commit(before, on_commit)

    def _rows(self) -> Rows:
        return self.server.database(self.database).rows

    def _commit(self, rows: Rows, on_commit: Callable[[str], None]) -> None:
        """Change the live database's rows in one transaction."""
        transaction = str(700 + len(self.server.transactions))
        self.server.transactions[transaction] = False
        on_commit(transaction)
        self.server.step("commit")
        self.server.transactions[transaction] = True
        self.server.database(self.database).rows = rows
        self.server.step("committing")

    def _require_equal(self, rows: Rows, archive: Archive) -> None:
        expected = rows_of(archive)
        if different := sorted(name for name in {*rows, *expected} if rows.get(name) != expected.get(name)):
            raise RestoreDataError(f"the restored database differs in {', '.join(different)}", "restore again")


@dataclass
class CannedScratch:
    """See `app.ports.target.Scratch`."""

    server: CannedServer
    name: str

    def migrate(self, argv: Sequence[str], setting: str) -> Filled:
        self.server.step("migrate")
        self.server.ran.append((self.name, tuple(argv)))
        if argv[0] not in self.server.migrations:
            raise RestoreMigrationError(f"{setting} on database {self.name}: {argv[0]} cannot be started")
        return self.server.migrations[argv[0]](self.server.database(self.name))

    def source(self) -> CannedSource:
        return CannedSource(self.name, self.server)

    def require_alone(self) -> None:
        self.server.step("require_alone")


@dataclass
class CannedMerge:
    """See `app.ports.target.Merge`."""

    target: CannedTarget
    rows: Rows
    request: MergeRequest

    def preview(self) -> Changes:
        return self._planned()[1]

    def check(self) -> None:
        self._planned()

    def can_change(self) -> Part | None:
        if self.target.server.has_triggers:
            return None
        names = sorted({name.removeprefix("public.") for name in self.request.tables} or set(self.rows))
        tables = frozenset(TableName("public", name) for name in names)
        return Part(tables=tables, names=tuple(map(str, sorted(tables))), size=1 << 20)

    def apply(self, inverse: BinaryIO, on_commit: Callable[[str], None]) -> Changes:
        self.target.server.step("apply")
        after, changes = self._planned()
        inverse.write(json.dumps([self.target._rows(), after]).encode())
        self.target._commit(after, on_commit)
        return changes

    def _planned(self) -> tuple[Rows, Changes]:
        live = self.target._rows()
        if unknown := [name for name in self.request.tables if name.removeprefix("public.") not in self.rows]:
            raise RestoreValidationError(f"the backup has no table {unknown[0]}", "see its tables")
        if gone := [name for name in self.rows if name not in live]:
            raise RestoreMisfitError(f"table public.{gone[0]} is not in the live database", "name others")
        return _planned(self.rows, live, self.request)


def rows_of(archive: Archive) -> Rows:
    """The rows of an archive's tables, sorted; each segment is proven by its digest."""
    text = b"".join(block for segment in archive.index.segments for block in archive.text(segment)).decode()
    return {found["table"]: sorted(found["rows"].splitlines()) for found in _COPY.finditer(text)}


def _planned(backup: Rows, live: Rows, request: MergeRequest) -> tuple[Rows, Changes]:
    """The rows after a merge, and what it changes."""
    chosen = {name.removeprefix("public.") for name in request.tables} or set(backup)
    after, changes = dict(live), []
    for table in sorted(chosen):
        after[table], counts = _merged(table, backup[table], live.get(table, []), request)
        changes.append(counts)
    return after, Changes(tables=tuple(changes))


def _merged(table: str, backup: list[str], live: list[str], request: MergeRequest) -> tuple[list[str], TableChanges]:
    theirs, ours = (dict(zip(map(_key, rows), rows, strict=True)) for rows in (backup, live))
    new = theirs.keys() - ours.keys()
    differing = {key for key in theirs.keys() & ours.keys() if theirs[key] != ours[key]}
    policy = request.on_conflict.policy
    if differing and policy is Policy.FAIL:
        raise MergeConflictError(f"rows of public.{table} conflict, and the policy is to fail", "choose another")
    taken = differing if request.exact or policy is Policy.TAKE_BACKUP else set()
    gone = ours.keys() - theirs.keys()
    kept = {key: row for key, row in ours.items() if not (request.exact and key in gone)}
    counts = TableChanges(
        table=f"public.{table}",
        inserted=len(new),
        updated=len(taken),
        deleted=len(gone) if request.exact else 0,
        unchanged=len(theirs) - len(new) - len(differing),
        conflicting=len(differing),
        live_only=0 if request.exact else len(gone),
    )
    return sorted({**kept, **{key: theirs[key] for key in itertools.chain(new, taken)}}.values()), counts


def _key(row: str) -> str:
    return row.partition("\t")[0]
