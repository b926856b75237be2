"""Makes the files of `format-1`: backups with manifests of format 1, as the program left them at commit 65e1bec.

They were made in a working copy of that commit, and are not made anew:
``PYTHONPATH=. python tests/kept/make_format_1.py FOLDER``
"""

import json
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import psycopg

from app.bootstrap import bootstrap
from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.operations.backup.take import BackupRequest, take_backup
from tests.fakes.cluster import FolderCluster

TABLES = """
    CREATE TABLE teams (id integer PRIMARY KEY, name text NOT NULL);
    CREATE TABLE people (id serial PRIMARY KEY, team integer REFERENCES teams, name text NOT NULL);
    INSERT INTO teams VALUES (1, 'North'), (2, 'South');
    INSERT INTO people (team, name) VALUES (1, 'Ada'), (1, 'Grace'), (2, 'Edsger');
    SELECT lo_from_bytea(4711, 'a large object');
"""
LARGE = "CREATE TABLE lines AS SELECT g AS id, repeat('a line of text ', 125) AS line FROM generate_series(1, 9000) g"


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place, EmbeddedPostgres(Path(place) / "server", fast=True) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE kept")
        url = server.url("kept")
        os.environ["XDG_STATE_HOME"] = place
        paths = Path(place) / "uploads"
        paths.mkdir()
        (paths / "one").write_text("a file beside the server\n")
        env = {
            "DATABASE_URL": url,
            "BACKUP_DIR": str(folder),
            "BACKUP_MIN_FREE_MB": "1",
            "BACKUP_FULL_PATHS": str(paths),
        }
        folder.mkdir(mode=0o700)

        def create(tier: Tier, codec: str, label: str | None = None) -> None:
            service = bootstrap(env | {"BACKUP_COMPRESSION": codec}).service()
            service = replace(service, cluster=FolderCluster(Path(place) / "data")) if tier is Tier.FULL else service
            assert take_backup(service, BackupRequest(tier=tier, label=label))

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(TABLES)
            create(Tier.WEEKLY, "gzip")
            create(Tier.MANUAL, "none", "of format 1")
            create(Tier.FULL, "zstd")
            connection.execute(LARGE)
            create(Tier.DAILY, "zstd")
    for file in folder.rglob("*.json"):
        assert file.name.startswith(".") or json.loads(file.read_bytes())["format"] == 1, file
    for name in ("catalog.db", "catalog.db-wal", "catalog.db-shm", ".residency-backup.lock", ".residency-backup.json"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "catalog.db.lock", ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
