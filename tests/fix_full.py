"""Full backups of a server of its own, and real servers started on what was laid out."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psycopg
import pytest

from app.bootstrap import full_programs
from app.cli import main
from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.errors import BackupError
from app.operations.backup.publish import BackupResult
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.full_restore.run import DataFolderTools, FullRestoreOutcome, restore_full
from app.operations.full_restore.source import full_from_tree
from app.operations.service import SILENT, Progress, Service
from app.ports.cluster import Cluster
from tests.fakes.cluster import FolderCluster, start_command, verify_copy
from tests.fix_cluster_copies import SMALL
from tests.fix_fork import COMMAND_LINE, Forked, start_forked
from tests.fix_postgres import TestDatabase, nothing_runs_in, scratch_database
from tests.fix_service import At, Site, leftovers, make_site

FULL = BackupRequest(tier=Tier.FULL)
SMALL_FILES_ONLY = "tests.fix_full:small_files_only"
MUCH_BYTES = 512 << 20
SAME = partial(EmbeddedPostgres, fast=True)  # a server of the major that the tests' own is of


def small_files_only() -> None:
    """The command line, on a disk that takes no file of more than a megabyte."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    main()


@dataclass(frozen=True, slots=True)
class FullSite:
    """A site whose server nobody else uses, and a folder beside it that belongs to its backups.

    Attributes:
        cluster: what is copied in the server's place.
    """

    site: Site
    server: EmbeddedPostgres
    uploads: Path
    cluster: Cluster | None = None

    def service(self, **settings: str) -> Service:
        """The service, with other settings where given."""
        service = self.site.service(**settings)
        return replace(service, cluster=self.cluster) if self.cluster else service

    def take(self, progress: Progress = SILENT, **settings: str) -> BackupResult:
        """Take a full backup."""
        taken = take_backup(self.service(**settings), FULL, progress)
        assert taken is not None
        return taken

    def lay_out(self, name: str, target: Path) -> FullRestoreOutcome:
        """Lay one out, as `restore-full` does."""
        programs = DataFolderTools(verify=verify_copy, start=start_command) if self.cluster else full_programs()
        return restore_full(full_from_tree(self.service(), name), target, programs, self.service().events)

    def fails(self, expected: type[BackupError], progress: At | None = None, **settings: str) -> BackupError:
        """Take a full backup that must fail, and see that nothing came of it."""
        before = self.site.files()
        with pytest.raises(expected) as caught:
            self.take(progress or SILENT, **settings)
        assert progress is None or progress.done, "the fault was never injected"
        assert type(caught.value) is expected
        assert caught.value.hint
        assert self.site.files() == before
        assert not leftovers(self.site.backups)
        assert not self.service().catalog.running(self.site.database.name)
        assert nothing_runs_in(self.site.backups)
        return caught.value

    def start_and_wait_for_copy(self) -> Forked:
        """A `create full` process in the middle of copying the server, which has much to copy."""
        self.much_to_copy.touch()
        os.truncate(self.much_to_copy, MUCH_BYTES)
        with Path(os.devnull).open("wb") as nowhere:
            words, env = ("create", "full"), self.site.process_env()
            process = start_forked(COMMAND_LINE, words, env, nowhere, nowhere, session=True)
        end = time.monotonic() + 30
        while not any(Path(each, "postgres", "base", "1").is_dir() for each in leftovers(self.site.backups)):
            assert process.poll() is None, "it ended before the fault"
            assert time.monotonic() < end
            time.sleep(0.01)
        return process

    @property
    def much_to_copy(self) -> Path:
        """A file of the server that takes no room before it is copied."""
        return self.server.folder / "data" / "base" / "1" / "much"


@pytest.fixture
def full_site(own_postgres_server: EmbeddedPostgres, server_folder: Path) -> Iterator[FullSite]:
    """A small residency scheduler on a server of its own."""
    with full_site_of(own_postgres_server, server_folder) as made:
        yield made


@contextmanager
def full_site_of(server: EmbeddedPostgres, folder: Path) -> Iterator[FullSite]:
    """The site of a server that has a small residency scheduler, and is copied as a whole."""
    uploads = make_uploads(folder)
    with scratch_database(server) as database:
        rename_small(server, database.name)
        site = make_site(database, folder / "backups", filled=False)
        env = {**site.env, "BACKUP_FULL_PATHS": str(uploads)}
        yield FullSite(Site(site.database, site.backups, env), server, uploads)
        assert nothing_runs_in(site.backups)


@pytest.fixture
def packed_site(empty_database: TestDatabase, postgres_server: EmbeddedPostgres, server_folder: Path) -> FullSite:
    """A full backup's site without a server of its own: a folder is copied in its place."""
    uploads = make_uploads(server_folder)
    site = make_site(empty_database, server_folder / "backups", filled=False)
    env = {**site.env, "BACKUP_FULL_PATHS": str(uploads)}
    cluster = FolderCluster(server_folder / "data")
    return FullSite(Site(site.database, site.backups, env), postgres_server, uploads, cluster)


def make_uploads(folder: Path) -> Path:
    """A folder beside the server that belongs to its backups."""
    uploads = folder / "uploads"
    (uploads / "a" / "empty").mkdir(parents=True)
    (uploads / "a" / "letter.txt").write_text("dear resident")
    (uploads / "newest").symlink_to("a/letter.txt")
    return uploads


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
