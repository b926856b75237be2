"""`Target` for PostgreSQL: joins what the rooms dump, load, replace and merge do for a restore."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO, Self

from app.archive.index import TableName
from app.archive.inspect.needs import Needs
from app.archive.manifest import ServerFacts
from app.archive.reader import Archive
from app.domain.changes import Changes, MergeRequest, OtherWords
from app.domain.replication import Replication
from app.ports.merge import Merge
from app.ports.target import Advance, Loader, LoadOptions, LoadResult, Scratch, Target, TargetFacts
from app.postgres import replication, target_facts, target_tables, transactions
from app.postgres.database import Database
from app.postgres.load.as_role import loader_of
from app.postgres.load.by_origin import load_by_origin
from app.postgres.merge import compare, merger, script
from app.postgres.post_command import HERE, CommandPlace, run_on
from app.postgres.replace import databases, in_place, proof, schema_diff, swap
from app.postgres.replace.analyzing import analyzing
from app.postgres.replace.scratch import ScratchOptions, abandoned, scratch


class PostgresTarget(Target):
    """The server of a live database, which need not exist yet. The port describes the methods.

    Args:
        database: the live one.
        jobs: number of connections of a load, and of a proof.
        foreign_password: of the role that loads foreign dumps; None leaves it to libpq.
        commands: where and with which environment `run` starts programs.
    """

    def __init__(
        self,
        database: Database,
        jobs: int = 1,
        foreign_password: str | None = None,
        *,
        commands: CommandPlace = HERE,
    ) -> None:
        self.database = database.name
        self._database = database
        self._jobs = jobs
        self._foreign_password = foreign_password
        self._commands = commands

    def named(self, name: str) -> Self:
        return type(self)(self._database.named(name), self._jobs, self._foreign_password, commands=self._commands)

    def run(self, argv: Sequence[str], name: str) -> None:
        run_on(self._database.named(name), argv, self._commands)

    def scratch(self, name: str, facts: ServerFacts | None, role: str | None = None) -> AbstractContextManager[Scratch]:
        return scratch(self._database, name, facts, ScratchOptions(self._commands, self._jobs, role))

    def abandoned(self, pattern: str) -> list[str]:
        return abandoned(self._database, pattern)

    def facts(self) -> TargetFacts:
        return target_facts.target_facts(self._database)

    def missing(self, needs: Needs) -> list[str]:
        return target_facts.missing(self._database, needs)

    def foreign_owners(self, needs: Needs) -> dict[str, str]:
        return target_facts.foreign_owners(self._database, needs)

    def versions(self, columns: Mapping[TableName, str]) -> dict[TableName, frozenset[str]]:
        return target_facts.versions(self._database, columns)

    def databases(self) -> dict[str, int]:
        return databases.oids(self._database)

    def tables(self) -> dict[TableName, TableName]:
        return target_tables.tables(self._database)

    def filled(self, tables: Iterable[TableName]) -> set[TableName]:
        return target_tables.filled(self._database, tables)

    def renaming(self, names: Collection[str]) -> bool:
        return databases.renaming(self._database, names)

    def create(self, name: str, facts: ServerFacts | None) -> None:
        databases.create(self._database, name, facts)

    def drop(self, name: str) -> bool:
        return databases.drop(self._database, name)

    def replication(self, name: str) -> Replication:
        return replication.replication(self._database, name)

    def pause_subscriptions(self, name: str, subscriptions: Collection[str]) -> None:
        replication.pause(self._database, name, subscriptions)

    def resume_subscriptions(self, name: str, subscriptions: Collection[str]) -> list[str]:
        return replication.resume(self._database, name, subscriptions)

    def detach_subscriptions(self, name: str) -> list[str]:
        return replication.detach(self._database, name)

    def loader(self, role: str) -> Loader:
        return loader_of(self._database, role, self._foreign_password)

    def load(self, name: str, archive: Archive, options: LoadOptions, progress: Advance) -> LoadResult:
        database, password = self._database.named(name), self._foreign_password
        return load_by_origin(database, archive, options, jobs=self._jobs, foreign_password=password, progress=progress)

    def prove(
        self,
        name: str,
        archive: Archive,
        options: LoadOptions,
        progress: Advance,
        otherwise: Callable[[OtherWords], object] = lambda _: None,
    ) -> list[str]:
        with analyzing(self._database, name) if options.analyzed_by_proof else nullcontext():
            differences = proof.compare(self._database.named(name), archive, options, self._jobs, progress)
        return differences.require_equal(name, otherwise)

    def swap(self, new: str, live: str, old: str) -> float:
        return swap.swap(self._database, new, live, old)

    def replace_in_place(
        self,
        archive: Archive,
        facts: ServerFacts | None,
        on_commit: Callable[[str], None],
        search_path: str | None = None,
    ) -> list[str]:
        return in_place.replace_in_place(self._database, archive, facts, on_commit, search_path)

    def merging(self, archive: Archive, request: MergeRequest, progress: Advance) -> AbstractContextManager[Merge]:
        return merger.merging(self._database, archive, request, progress)

    def schema(self, archive: Archive) -> tuple[list[str], list[OtherWords]]:
        return schema_diff.schema_differences(self._database, archive)

    def compare(self, one: Archive, other: Archive, progress: Advance) -> Changes:
        return compare.compare(self._database, one, other, progress)

    def run_script(self, text: BinaryIO, on_commit: Callable[[str], None]) -> None:
        script.run_script(self._database, text, on_commit)

    def committed(self, transaction: str) -> bool | None:
        return transactions.committed(self._database, transaction)
