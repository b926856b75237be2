"""The server that archives are restored on: see `app.ports.target.Target`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import BinaryIO, Self

from app.archive.inspect.needs import Needs
from app.archive.manifest import ServerFacts
from app.archive.reader import Archive
from app.domain.changes import Changes, MergeRequest, OtherWords
from app.domain.replication import Replication
from app.ports.target import Advance, Loaded, Loader, Loading, Merging, TargetFacts
from app.postgres import replication, target_facts, transactions
from app.postgres.database import Database
from app.postgres.load import archive as load
from app.postgres.load import as_role as load_as
from app.postgres.load.outside import noted_beside, nothing_beside
from app.postgres.load.watched import watched
from app.postgres.maintenance import Maintenance
from app.postgres.merge import compare as merge_compare
from app.postgres.merge import live as merge
from app.postgres.merge import script
from app.postgres.post_command import run_on
from app.postgres.replace import databases, in_place, proof, schema_diff, swap
from app.postgres.session import restoring
from app.postgres.unnoticed import unnoticed


class PostgresTarget:
    """The server of a live database, which need not exist yet.

    Args:
        database: the live one.
        jobs: how many connections load, and prove, at once.
        foreign_password: of the role that loads what strangers made; None leaves it to libpq.
        environment: of the programs that `run` starts.
        scheme: of DATABASE_URL in that environment.
    """

    def __init__(
        self,
        database: Database,
        jobs: int = 1,
        foreign_password: str | None = None,
        *,
        environment: Mapping[str, str] = MappingProxyType({}),
        scheme: str = "postgresql",
    ) -> None:
        self.database = database.name
        self._database = database
        self._jobs = jobs
        self._foreign_password = foreign_password
        self._environment = environment
        self._scheme = scheme

    def named(self, name: str) -> Self:
        """The same server, with another database in the live one's place."""
        return type(self)(
            self._database.named(name),
            self._jobs,
            self._foreign_password,
            environment=self._environment,
            scheme=self._scheme,
        )

    def run(self, argv: Sequence[str], name: str) -> None:
        """Run a program on a database of the server."""
        run_on(self._database.named(name), argv, self._environment, self._scheme)

    def facts(self) -> TargetFacts:
        """What the server is, and whether the live database exists."""
        return target_facts.target_facts(self._database)

    def missing(self, needs: Needs) -> list[str]:
        """What a backup needs and the server has not."""
        return target_facts.missing(self._database, needs)

    def foreign_owners(self, needs: Needs) -> dict[str, str]:
        """Owners in the backup whom the role may not give things to."""
        return target_facts.foreign_owners(self._database, needs)

    def databases(self) -> dict[str, int]:
        """All databases of the server by name, with their oids."""
        return databases.oids(self._database)

    def renaming(self, names: Collection[str]) -> bool:
        """Whether one of these databases is just being renamed or dropped."""
        return databases.renaming(self._database, names)

    def create(self, name: str, facts: ServerFacts | None) -> None:
        """Make an empty database like the live one."""
        databases.create(self._database, name, facts)

    def drop(self, name: str) -> bool:
        """Drop a database that is not the live one."""
        return databases.drop(self._database, name)

    def replication(self, name: str) -> Replication:
        """Subscriptions and logical replication slots of a database."""
        return replication.replication(self._database, name)

    def pause_subscriptions(self, name: str, subscriptions: Collection[str]) -> None:
        """Disable some of a database's subscriptions."""
        replication.pause(self._database, name, subscriptions)

    def resume_subscriptions(self, name: str, subscriptions: Collection[str]) -> list[str]:
        """Enable them again."""
        return replication.resume(self._database, name, subscriptions)

    def detach_subscriptions(self, name: str) -> list[str]:
        """Take their slots from all subscriptions of a database."""
        return replication.detach(self._database, name)

    def loader(self, role: str) -> Loader:
        """Make sure that another role can load a dump."""
        return load_as.loader_of(self._database, role, self._foreign_password)

    def load(self, name: str, archive: Archive, loading: Loading, progress: Advance) -> Loaded:
        """Load an archive into an empty database."""
        database, path = self._database.named(name), loading.search_path
        if loading.role is None and not loading.foreign:
            return load.load(database, archive, self._jobs, progress, path)
        with nothing_beside(self._database, name):
            if loading.role is None:
                return load.load(database, archive, self._jobs, progress, path, opened=watched)
            who = (loading.role, self._foreign_password)
            return load_as.load_as(database, who, archive, self._jobs, progress, path)

    def prove(
        self,
        name: str,
        archive: Archive,
        loading: Loading,
        progress: Advance,
        otherwise: Callable[[OtherWords], object] = lambda _: None,
    ) -> list[str]:
        """Compare a whole database with an archive."""
        database = unnoticed(self._database, name)
        differences = proof.compare(database, archive, loading, self._jobs, progress)
        for words in differences.otherwise:
            otherwise(words)
        return differences.settle(name)

    def swap(self, new: str, live: str, old: str) -> float:
        """Put a database in the place of another."""
        return swap.swap(self._database, new, live, old)

    def replace_in_place(
        self,
        archive: Archive,
        facts: ServerFacts | None,
        on_commit: Callable[[str], None],
        search_path: str | None = None,
    ) -> list[str]:
        """Replace the live database's content in one transaction."""
        beside: list[str] = []
        with nullcontext() if facts is not None else noted_beside(self._database, beside):
            remarks = in_place.replace_in_place(self._database, archive, facts, on_commit, search_path)
        return remarks + beside

    def merging(self, archive: Archive, request: MergeRequest, progress: Advance) -> AbstractContextManager[Merging]:
        """Put the archive's rows beside the live tables for the length of a block."""
        return merge.merging(self._database, archive, request, progress)

    def schema(self, archive: Archive) -> tuple[list[str], list[OtherWords]]:
        """What differs between the archive's schema and the live one."""
        return schema_diff.schema_differences(self._database, archive)

    def compare(self, one: Archive, other: Archive, progress: Advance) -> Changes:
        """What differs between two archives' rows."""
        return merge_compare.compare(self._database, one, other, progress)

    def run_script(self, text: BinaryIO, on_commit: Callable[[str], None]) -> None:
        """Run a script of ours in one transaction of the live database."""
        script.run_script(self._database, text, on_commit)

    def committed(self, transaction: str) -> bool | None:
        """Whether a transaction of the live database was committed."""
        with restoring(), self._database.connect() as connection:
            return transactions.committed(Maintenance(connection, self.database), transaction)
