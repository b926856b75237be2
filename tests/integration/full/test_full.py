"""A full backup is a server that starts: taken while it works, laid out by us or by stock tar, and compared."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from app.archive.manifest import parse_manifest
from app.domain.backup import Origin, Tier
from app.errors import BackupNotFoundError, BackupValidationError, RestoreValidationError, ServerUnavailableError
from app.operations.backup.take import BackupRequest, BackupResult, take_backup
from app.operations.backups.inventory import find, inventory
from app.operations.backups.keep import keep
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.backups.verify import verify
from app.operations.health.check import check
from app.operations.restore.source import locate
from tests.fix_cluster_copies import FilledPostgres
from tests.fix_full import FullSite, full_site_of, server_on
from tests.fix_postgres import TestDatabase, open_folder, scratch_database
from tests.fix_service import At, leftovers, require_same_content
from tests.tiers import THOROUGH, sample_of


def manifest_beside(full_site: FullSite, file: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((full_site.site.backups / f"{file}.json").read_text())
    return content


@dataclass(frozen=True, slots=True)
class Stands:
    """A full backup for tests that only read it, of a server that runs."""

    full_site: FullSite
    taken: BackupResult

    @property
    def file(self) -> Path:
        """Where it stands."""
        return self.full_site.site.backups / self.taken.backup.file

    def require_same(self, data: Path) -> None:
        """A server started on a copy has the content of the one that was backed up."""
        site = self.full_site.site
        with server_on(data, self.full_site.server, site.database.name) as copy:
            require_same_content(site.database, copy)


@pytest.fixture(scope="module")
def stands() -> Iterator[Stands]:
    with (
        open_folder() as folder,
        FilledPostgres(folder / "postgres", fast=True) as server,
        full_site_of(server, folder) as full_site,
    ):
        yield Stands(full_site, full_site.take())


@pytest.mark.parametrize(("compression", "suffix"), sample_of([("none", ".tar.gz"), ("zstd", ".tar.zst")], [1]))
def test_laid_out_and_started_it_is_the_server_that_was(
    full_site: FullSite, server_folder: Path, compression: str, suffix: str
) -> None:
    site = full_site.site
    other = TestDatabase("other", full_site.server.url("other"))
    with psycopg.connect(full_site.server.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE other")
    other.execute("CREATE TABLE t AS SELECT generate_series(1, 100) n")
    taken = full_site.take(BACKUP_COMPRESSION=compression)
    assert taken.warnings == []
    assert taken.backup.file == f"{taken.backup.id}{suffix}"
    assert not leftovers(site.backups)
    target = server_folder / "target"
    done = site.cli("restore-full", taken.backup.id, "--target", str(target), "--json")
    assert done.code == 0, done.stderr
    told = json.loads(done.stdout)
    assert f"pg_ctl -D {target}/postgres" in told["start"]
    assert told["proven_by_manifest"] is True
    assert (target / "postgres").stat().st_mode & 0o7777 == 0o700
    beside = Path(told["paths"][0])
    assert (beside / "newest").read_text() == "dear resident"
    assert (beside / "a/empty").is_dir()
    assert "CREATE ROLE postgres" in (target / "globals.sql").read_text()
    settings = (target / "settings.env").read_text()
    assert f"BACKUP_DIR={site.backups}" in settings
    assert full_site.server.password not in settings
    with sqlite3.connect(target / "catalog.db") as catalog:
        assert catalog.execute("SELECT tier, state FROM backup_runs").fetchall() == [("full", "running")]
    catalog.close()
    with server_on(target / "postgres", full_site.server, site.database.name) as copy:
        require_same_content(site.database, copy)
        require_same_content(other, TestDatabase(other.name, copy.url.replace(f"/{site.database.name}", "/other")))


@pytest.mark.parametrize("compression", sample_of(["gzip", "zstd"], [0]))
@THOROUGH
def test_stock_tar_alone_lays_it_out_too(stands: Stands, server_folder: Path, compression: str) -> None:
    target = server_folder / "by-hand"
    target.mkdir()
    file = stands.file
    if compression != "gzip":
        taken = stands.full_site.take(BACKUP_COMPRESSION=compression, BACKUP_DIR=str(server_folder / "backups"))
        file = server_folder / "backups" / taken.backup.file
    subprocess.run(["tar", "-xf", file, "-C", target], check=True)
    stands.require_same(target / "postgres")


def test_what_is_written_meanwhile_is_there_up_to_an_instant(full_site: FullSite, server_folder: Path) -> None:
    site, stop = full_site.site, threading.Event()
    site.database.execute("CREATE TABLE written (n int PRIMARY KEY, half int)")
    written: list[int] = []

    def write() -> None:
        with site.database.connect() as connection:
            while not stop.is_set():
                with connection.transaction():
                    connection.execute("INSERT INTO written SELECT %s * 2, 0", [len(written)])
                    connection.execute("INSERT INTO written SELECT %s * 2 + 1, 1", [len(written)])
                written.append(len(written))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        before = len(written)
        taken = full_site.take()
    finally:
        stop.set()
        thread.join()
    target = server_folder / "target"
    full_site.lay_out(taken.backup.id, target)
    with server_on(target / "postgres", full_site.server, site.database.name) as copy:
        rows = [row[0] for row in copy.query("SELECT n FROM written ORDER BY n")]
    assert rows == list(range(len(rows))), "without a hole, and no half of a transaction"
    assert len(rows) % 2 == 0
    assert before * 2 <= len(rows) <= len(written) * 2


def test_the_manifest_says_what_it_holds(stands: Stands) -> None:
    full_site, taken = stands.full_site, stands.taken
    manifest = parse_manifest((full_site.site.backups / f"{taken.backup.file}.json").read_bytes(), "x")
    assert manifest.full is not None
    system = full_site.site.database.query("SELECT system_identifier::text FROM pg_control_system()")[0][0]
    assert manifest.full.system_identifier == system
    assert manifest.full.wal_start
    assert manifest.full.wal_end
    assert manifest.full.paths == (str(full_site.uploads),)
    names = {each.name for each in manifest.full.members}
    assert {"globals.sql", "catalog.db", "settings.env", "postgres/PG_VERSION", "postgres/backup_label"} <= names
    assert f"paths{full_site.uploads}/a/letter.txt" in names
    assert (taken.backup.rows, taken.backup.tables) == (None, None)
    shown = full_site.site.cli("show", "latest-full")
    assert shown.code == 0
    assert system in shown.stdout
    assert json.loads(full_site.site.cli("show", "latest-full", "--json").stdout)["full"]["system_identifier"] == system


def test_a_catalog_in_postgresql_is_kept_as_the_same_file(packed_site: FullSite, server_folder: Path) -> None:
    site = packed_site.site
    with scratch_database(packed_site.server) as elsewhere:
        take_backup(site.service(BACKUP_CATALOG_URL=elsewhere.url), BackupRequest(tier=Tier.DAILY))
        taken = packed_site.take(BACKUP_CATALOG_URL=elsewhere.url)
    target = server_folder / "target"
    packed_site.lay_out(taken.backup.id, target)
    revived = site.service(BACKUP_CATALOG_URL=f"sqlite:///{target}/catalog.db")
    assert [each.tier for each in revived.catalog.backups(site.database.name)] == [Tier.DAILY]
    assert revived.catalog.backups(site.database.name)[0].is_verified


def test_a_full_backup_works_in_every_verb_of_backups(packed_site: FullSite) -> None:
    site = packed_site.site
    service = packed_site.service()
    start = service.clock() - timedelta(days=3)
    for day in range(4):
        take_backup(replace(service, clock=lambda day=day: start + timedelta(days=day)), BackupRequest(tier=Tier.FULL))
        if day == 0:
            first = find(service, "latest-full")
            keep(service, first.id, "the first")
    kept = [each.id for each in inventory(service)]
    assert len(kept) == 3, "two, and the pinned one"
    assert kept[-1] == first.id
    assert prune(service).plan.reasons[kept[0]] == ("full 1 of 2", "newest verified full backup")
    assert len(verify(service).verified) == 3
    known = service.catalog.backups(service.database)
    for path in site.backups.glob("catalog.db*"):
        path.unlink()
    fresh = packed_site.service()
    assert sorted(sync(fresh).added) == sorted(kept)
    assert {each.id: each.sha256 for each in fresh.catalog.backups(service.database)} == {
        each.id: each.sha256 for each in known
    }


def test_a_lost_manifest_is_rebuilt_and_what_was_dumped_is_known_by_its_digest(packed_site: FullSite) -> None:
    service = packed_site.service()
    taken = packed_site.take()
    before = manifest_beside(packed_site, taken.backup.file)
    (packed_site.site.backups / f"{taken.backup.file}.json").unlink()
    assert sync(service).healed == [taken.backup.id]
    after = manifest_beside(packed_site, taken.backup.file)
    assert after["full"]["members"] == before["full"]["members"]  # type: ignore[index]
    assert find(service, taken.backup.id).origin is Origin.DUMP
    assert verify(service).failed == []


def test_no_alias_of_plain_backups_means_one_and_no_plain_restore_takes_one(packed_site: FullSite) -> None:
    service = packed_site.service()
    taken = packed_site.take()
    for alias in ("latest", "oldest"):
        with pytest.raises(BackupNotFoundError):
            find(service, alias)
    with pytest.raises(RestoreValidationError) as caught:
        locate(service, taken.backup.id)
    assert f"restore-full {taken.backup.id}" in caught.value.hint
    name = packed_site.site.database.name
    done = packed_site.site.cli("restore", taken.backup.id, "--mode", "replace", "--confirm", name)
    assert done.code == 13
    assert "restore-full" in done.stderr
    plain = take_backup(service, BackupRequest(tier=Tier.DAILY))
    assert plain is not None
    assert find(service, "latest").id == find(service, "oldest").id == plain.backup.id
    refused = packed_site.site.cli("restore-full", "latest", "--target", "/nowhere/x")
    assert refused.code == 13
    assert "plain dump" in refused.stderr


def test_a_second_of_the_day_replaces_the_first_only_when_it_is_right(packed_site: FullSite) -> None:
    def lose_server() -> None:
        raise ServerUnavailableError("the server was lost during the full backup", "see the server's log")

    first = packed_site.take()
    packed_site.fails(ServerUnavailableError, At(lose_server, phase="copy"))
    second = packed_site.take(BACKUP_COMPRESSION="zstd")
    assert second.backup.id == first.backup.id
    assert [each.file for each in inventory(packed_site.service())] == [second.backup.file]


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_flipped_bit_is_found_by_verify_and_by_restore_full(
    packed_site: FullSite,
    server_folder: Path,
    with_manifest: bool,  # noqa: FBT001
) -> None:
    site = packed_site.site
    taken = packed_site.take()
    file = site.backups / taken.backup.file
    flip(file)
    if with_manifest:
        assert site.cli("verify", taken.backup.id).code in {13, 16}
    else:
        Path(f"{file}.json").unlink()
    before = sorted(server_folder.iterdir())
    done = site.cli("restore-full", str(file), "--target", str(server_folder / "target"))
    assert done.code == 13, done.stderr
    assert "does not verify" in done.stderr
    assert sorted(server_folder.iterdir()) == before


def test_a_path_alone_is_enough_when_settings_and_manifest_are_lost(stands: Stands, server_folder: Path) -> None:
    file = (server_folder / "moved.tar.gz").absolute()
    shutil.copyfile(stands.file, file)
    target = server_folder / "deep" / "target"
    done = stands.full_site.site.cli("restore-full", str(file), "--target", str(target), DATABASE_URL="", BACKUP_DIR="")
    assert done.code == 3, "no manifest to be proven by"
    assert "no usable manifest" in done.stderr
    assert "pg_ctl" in done.stdout
    assert f"put back in its place what is in {target}/paths" in done.stdout
    stands.require_same(target / "postgres")


def test_a_data_folder_that_its_own_record_does_not_prove_is_not_laid_out(stands: Stands, server_folder: Path) -> None:
    work = server_folder / "work"
    work.mkdir()
    subprocess.run(["tar", "-xf", stands.file, "-C", work], check=True)
    flip(work / "postgres/global/pg_filenode.map")
    forged = server_folder / "forged.tar.gz"
    subprocess.run(
        ["tar", "-I", "gzip -1", "-cf", forged, "-C", work, *sorted(each.name for each in work.iterdir())], check=True
    )
    target = server_folder / "target"
    done = stands.full_site.site.cli("restore-full", str(forged), "--target", str(target))
    assert done.code == 13, done.stderr
    assert "pg_filenode.map" in done.stderr
    assert not target.exists()


def test_check_looks_at_what_a_full_backup_needs_where_it_is_scheduled(full_site: FullSite) -> None:
    quiet = {each.check for each in check(full_site.site.service())}
    assert "replication" not in quiet
    service = full_site.site.service(BACKUP_FULL_CRON="0 5 * * 6", BACKUP_FULL_PATHS="/not/there")
    found = {each.check: each for each in check(service)}
    assert found["replication"].error is None
    assert isinstance(found["paths"].error, BackupValidationError)
