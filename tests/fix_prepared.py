"""Sites that are copies: what takes a backup or two to prepare is prepared once by each process of a test run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from app.embedded.postgres import EmbeddedPostgres
from tests.fix_postgres import TestDatabase, copy_database, dropping, run_on_server, scratch_database
from tests.fix_service import Site, make_site

Prepared = TypeVar("Prepared")


@dataclass(frozen=True, slots=True)
class Kept(Generic[Prepared]):
    """A site to be copied.

    Attributes:
        prepared: what preparing it gave.
        oid: of its database, which a copy gets too: a backup says which database it is of. Likewise the owner.
        copied: name of the database that is copied; the site's own name is free for the copy.
    """

    site: Site
    server: EmbeddedPostgres
    prepared: Prepared
    oid: int
    owner: str
    copied: str

    @contextmanager
    def copy(self, backups: Path) -> Iterator[Site]:
        """The site again, with its backups in a folder of its own; the server keeps nothing of it."""
        name = self.site.database.name
        copy_database(self.server.url(), self.copied, name, self.oid)
        run_on_server(self.server.url(), f"ALTER DATABASE {name} OWNER TO {self.owner}")
        shutil.copytree(self.site.backups, backups)
        try:
            yield replace(self.site, backups=backups, env={**self.site.env, "BACKUP_DIR": str(backups)})
        finally:
            drop_databases(self.server, name)
            run_on_server(self.server.url(), dropping(name))


@contextmanager
def kept(
    server: EmbeddedPostgres,
    folder: Path,
    prepare: Callable[[Site], Prepared],
    given_to: Callable[[TestDatabase], TestDatabase] = lambda database: database,
) -> Iterator[Kept[Prepared]]:
    """A small residency scheduler with a service of its own, prepared, for copies; somebody else's, if it is given."""
    with scratch_database(server) as database:
        site = make_site(given_to(database), folder / "backups")
        prepared = prepare(site)
        facts = "SELECT oid, datdba::regrole::text FROM pg_database WHERE datname = current_database()"
        ((oid, owner),) = database.query(facts)
        copied = f"kept_{database.name}"
        copy_database(server.url(), database.name, copied)
        yield Kept(site, server, prepared, oid, owner, copied)


def drop_databases(server: EmbeddedPostgres, prefix: str) -> None:
    """Drop what tests leave on the shared server."""
    names = run_on_server(server.url(), "SELECT datname FROM pg_database WHERE datname LIKE %s", params=[f"{prefix}_%"])
    run_on_server(server.url(), *(dropping(name) for (name,) in names))
