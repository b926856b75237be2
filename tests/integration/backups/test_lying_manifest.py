"""A manifest may be anybody's: what it says of the file is compared, and of sessions it sets what is known alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.archive.manifest import READ_SETTINGS, Manifest, parse_manifest
from app.errors import BackupValidationError
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, make_site


def moved(manifest: Manifest) -> Manifest:
    """Two segments as long as each other have changed places; each of them is what the other should be."""
    first, second, *others = manifest.segments
    places = {"offset": second.offset, "bytes": second.bytes}
    return manifest.model_copy(update={"segments": (replace(first, **places), second, *others)})


def shifted(manifest: Manifest) -> Manifest:
    *others, last = manifest.segments
    assert last.offset is not None
    assert last.bytes is not None
    shorter = replace(last, offset=last.offset + 1, bytes=last.bytes - 1)
    return manifest.model_copy(update={"segments": (*others, shorter)})


def told_to(manifest: Manifest) -> Manifest:
    assert manifest.server is not None
    settings = dict(manifest.server.read_settings) | {"role": "nobody", "lock_timeout": "1", "work_mem=64 -c role": "x"}
    return manifest.model_copy(update={"server": manifest.server.model_copy(update={"read_settings": settings})})


@pytest.fixture
def site(empty_database: TestDatabase, tmp_path: Path) -> Site:
    empty_database.execute("CREATE TABLE t AS SELECT i FROM generate_series(1, 9) i; CREATE TABLE u AS TABLE t")
    return make_site(empty_database, tmp_path / "backups", filled=False)


def made(site: Site, codec: str) -> tuple[Path, Manifest]:
    """A new backup's manifest."""
    assert site.cli("create", "manual", BACKUP_COMPRESSION=codec).code == 0
    (file,) = site.backups.glob("manual/*.json")
    return file, parse_manifest(file.read_bytes(), file.name)


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_verify_finds_segments_that_stand_elsewhere(site: Site, codec: str) -> None:
    file, manifest = made(site, codec)
    for lie in (moved, shifted):
        file.write_text(lie(manifest).to_json())
        done = site.cli("verify", "--all")
        assert done.code == BackupValidationError.exit_code
        assert "is not at the place in the manifest" in done.stdout + done.stderr
    file.write_text(manifest.to_json())
    assert site.cli("verify", "--all").code == 0


def test_a_manifest_sets_nothing_but_how_rows_are_read(site: Site) -> None:
    file, manifest = made(site, "zstd")
    file.write_text(told_to(manifest).to_json())
    assert b"lock_timeout" in file.read_bytes()
    done = site.cli("restore", "latest", "--mode", "replace", "--confirm", site.database.name)
    assert done.code == 0, done.stderr
    server = parse_manifest(file.read_bytes(), file.name).server
    assert server is not None
    asked = PostgresSource(Database.from_url(site.database.url)).facts().read_settings
    assert server.read_settings.keys() == asked.keys() == READ_SETTINGS
