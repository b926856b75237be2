"""Full backups of a server of its own, and real servers started on what was laid out."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import pytest

from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.operations.publish import Taken
from app.operations.service import Progress
from app.operations.take_backup import BackupRequest, take_backup
from tests.fix_clusters import SMALL
from tests.fix_postgres import TestDatabase, nothing_runs_in, scratch_database
from tests.fix_service import Site, leftovers, make_site

FULL = BackupRequest(tier=Tier.FULL)
SAME = partial(EmbeddedPostgres, fast=True)  # a server of the major that the tests' own is of


@dataclass(frozen=True, slots=True)
class FullSite:
    """A site whose server nobody else uses, and a folder beside it that belongs to its backups."""

    site: Site
    server: EmbeddedPostgres
    uploads: Path

    def take(self, progress: Progress | None = None, **settings: str) -> Taken:
        """Take a full backup."""
        service = self.site.service(**settings)
        taken = take_backup(service, FULL, progress) if progress else take_backup(service, FULL)
        assert taken is not None
        return taken

    def start_and_wait_for_copy(self) -> subprocess.Popen[bytes]:
        """A `create full` process in the middle of copying the server."""
        process = subprocess.Popen(
            [sys.executable, "-c", "from app.cli import main; main()", "create", "full"],
            env=self.site.process_env(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + 30
        while not any(Path(each, "postgres", "base", "1").is_dir() for each in leftovers(self.site.backups)):
            assert process.poll() is None, "it ended before the fault"
            assert time.monotonic() < end
            time.sleep(0.01)
        return process


@pytest.fixture
def full_site(own_postgres_server: EmbeddedPostgres, server_folder: Path) -> Iterator[FullSite]:
    """A small residency scheduler on a server of its own."""
    uploads = server_folder / "uploads"
    (uploads / "a" / "empty").mkdir(parents=True)
    (uploads / "a" / "letter.txt").write_text("dear resident")
    (uploads / "newest").symlink_to("a/letter.txt")
    with scratch_database(own_postgres_server) as database:
        rename_small(own_postgres_server, database.name)
        site = make_site(database, server_folder / "backups", filled=False)
        env = {**site.env, "BACKUP_FULL_PATHS": str(uploads)}
        yield FullSite(Site(site.database, site.backups, env), own_postgres_server, uploads)
        assert nothing_runs_in(site.backups)


def rename_small(server: EmbeddedPostgres, name: str) -> None:
    """Give its filled database another's name: a server that is backed up as a whole has no more than it needs."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name}".encode())
        connection.execute(f"ALTER DATABASE {SMALL} RENAME TO {name}".encode())
        connection.execute("ALTER DATABASE template0 IS_TEMPLATE false")
        connection.execute("DROP DATABASE template0")


@contextmanager
def server_on(
    data: Path,
    of: EmbeddedPostgres,
    name: str,
    make: Callable[[Path], EmbeddedPostgres] = SAME,
) -> Iterator[TestDatabase]:
    """A real server on a laid-out data folder, with the password of the one that it was copied from."""
    home = data.parent / "server"
    home.mkdir(0o700)
    shutil.move(data, home / "data")
    (home / "password").write_text(of.password)
    with make(home) as server:
        yield TestDatabase(name, server.url(name))
