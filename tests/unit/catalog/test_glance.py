"""A glance at a catalog says what the catalog says, or leaves it to the catalog to say what is wrong."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.catalog.glance import Glance
from app.catalog.store import SqlCatalog, lazy_catalog
from app.domain.backup import Backup, BackupState, Codec, Origin, Tier
from app.ports.runs import KnownManifest
from app.ports.tree import Stamp

NOW = datetime(2025, 1, 15, 2, 0, tzinfo=UTC)
BACKUP = Backup(
    id="daily/backup-2025-01-15",
    database="residency",
    tier=Tier.DAILY,
    period="2025-01-15",
    file="daily/backup-2025-01-15.sql.zst",
    created_at=NOW,
    bytes=12,
    raw_bytes=2**62,
    rows=None,
    tables=12,
    database_size=2**41,
    sha256="ab" * 32,
    codec=Codec.ZSTD,
    origin=Origin.DUMP,
    seconds=12.25,
    verified_at=NOW.replace(microsecond=250),
    doubts=("public.f(x)",),
    lacking=("a sentence",),
)
OTHER = replace(
    BACKUP,
    id="manual/x",
    file="manual/x.sql",
    tier=Tier.MANUAL,
    state=BackupState.DELETING,
    problem="gone",
    pinned_reason="é",
    verified_at=None,
)

FILE = BACKUP.file
KNOWN = {
    FILE: KnownManifest("aa" * 32, Stamp(700, 1736906400_123456789, 1736906400_987654321, 2**64 - 1), BACKUP),
    OTHER.file: KnownManifest("bb" * 32, None, OTHER),
}


class NoCatalog:
    """The catalog that is asked only if the file cannot be read."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def backups(self, database: str) -> list[Backup]:
        self.asked.append(database)
        return []

    def manifests(self, database: str) -> dict[str, KnownManifest]:
        self.asked.append(database)
        return {}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def catalog(file: Path) -> SqlCatalog:
    catalog = lazy_catalog(f"sqlite:///{file}")
    for backup in (BACKUP, OTHER, replace(BACKUP, database="another")):
        catalog.save(backup)
    catalog.keep_manifests("residency", KNOWN.keys(), KNOWN)
    return catalog


def glance_at(file: Path, catalog: object) -> Glance:
    return Glance(file, lambda: None, catalog)  # type: ignore[arg-type]


def test_a_glance_finds_what_the_catalog_finds(file: Path, catalog: SqlCatalog) -> None:
    other = NoCatalog()
    glance = glance_at(file, other)
    assert list(glance.backups("residency")) == list(catalog.backups("residency"))
    told = glance.manifests("residency")
    assert told == catalog.manifests("residency") == KNOWN
    assert (told[FILE].backup.doubts, told[FILE].backup.lacking) == (BACKUP.doubts, BACKUP.lacking)
    assert all(known.recorded for known in told.values())
    assert other.asked == []


def older(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE backup_alembic_version SET version_num = '0001'")


def damaged(file: Path) -> None:
    file.write_bytes(b"no database, but long enough to be taken for one" * 100)


def missing(file: Path) -> None:
    file.unlink()


def piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("spoil", [older, damaged, missing, piped])
@pytest.mark.usefixtures("catalog")
def test_what_cannot_be_read_at_a_glance_is_left_to_the_catalog(spoil: Callable[[Path], None], file: Path) -> None:
    for beside in ("-wal", "-shm"):
        file.with_name(file.name + beside).unlink(missing_ok=True)
    spoil(file)
    other = NoCatalog()
    assert glance_at(file, other).backups("residency") == []
    assert glance_at(file, other).manifests("residency") == {}
    assert other.asked == ["residency", "residency"]


def test_the_folder_is_looked_at_before_the_catalog_is_read(file: Path, catalog: SqlCatalog) -> None:
    def refuse() -> None:
        raise RuntimeError("another folder")

    with pytest.raises(RuntimeError, match="another folder"):
        Glance(file, refuse, catalog).backups("residency")


def test_what_another_version_recorded_of_a_manifest_is_not_believed(file: Path, catalog: SqlCatalog) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(f"UPDATE backup_manifests SET told = json_remove(told, '$.label') WHERE file = '{FILE}'")
    assert (
        set(catalog.manifests("residency")) == set(glance_at(file, NoCatalog()).manifests("residency")) == {OTHER.file}
    )
    catalog.keep_manifests("residency", [FILE], {FILE: KNOWN[FILE]})
    assert catalog.manifests("residency") == {FILE: KNOWN[FILE]}


@pytest.mark.parametrize("told", ["null", "[1]", "json_set(told, '$.created_at', 5)", "json_set(told, '$.tier', 'x')"])
def test_what_is_damaged_in_the_record_of_a_manifest_is_not_believed(
    file: Path, catalog: SqlCatalog, told: str
) -> None:
    told = told if "(" in told else f"'{told}'"
    with sqlite3.connect(file) as connection:
        connection.execute(f"UPDATE backup_manifests SET told = {told} WHERE file = '{FILE}'")
    assert (
        set(catalog.manifests("residency")) == set(glance_at(file, NoCatalog()).manifests("residency")) == {OTHER.file}
    )
