"""What somebody puts beside the catalog, or in a manifest's place, makes nothing wait, and fills no memory."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from app.bootstrap import bootstrap
from app.catalog.store import lazy_catalog
from app.errors import CatalogError
from app.storage import disk

pytestmark = pytest.mark.timeout(30)  # what is tried here used to wait for ever


@pytest.mark.parametrize("name", ["catalog.db", "catalog.db-journal", "catalog.db-wal", "catalog.db-shm"])
def test_a_pipe_in_the_place_of_the_catalogs_files_is_named(tmp_path: Path, name: str) -> None:
    pipe = tmp_path / name
    os.mkfifo(pipe)
    with pytest.raises(CatalogError, match=f"{name} is no file") as caught:
        lazy_catalog(f"sqlite:///{tmp_path / 'catalog.db'}").backups("shop")
    words = shlex.split(caught.value.hint.partition("remove it: ")[2])
    assert words == ["rm", "-d", str(pipe)]


def test_a_manifest_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    settings = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing", "BACKUP_DIR": str(tmp_path)}
    tree = bootstrap(settings).service().tree
    manifest = tmp_path / "manual" / "backup-2026-11-27T000000Z.sql.json"
    manifest.parent.mkdir()
    with manifest.open("wb") as stream:
        stream.truncate(1 << 40)
    assert len(tree.read_manifest("manual/backup-2026-11-27T000000Z.sql") or b"") == disk.MANIFEST_BYTES
