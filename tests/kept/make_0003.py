"""Makes the files of `revision-0003`: a tree, and its catalog, as the program left them at commit 5e303fd.

They were made in a working copy of that commit, and are not made anew:
``PYTHONPATH=. python make_0003.py FOLDER``
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from app.embedded.postgres import EmbeddedPostgres

TABLES = """
    CREATE TABLE teams (id integer PRIMARY KEY, name text NOT NULL);
    CREATE TABLE people (id integer PRIMARY KEY, team integer REFERENCES teams, name text NOT NULL);
    INSERT INTO teams VALUES (1, 'North'), (2, 'South');
    INSERT INTO people VALUES (1, 1, 'Ada'), (2, 1, 'Grace'), (3, 2, 'Edsger');
"""
WITH_DAMAGE = "DELETE FROM people WHERE id = 1; UPDATE people SET name = 'nobody' WHERE id = 2"


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place, EmbeddedPostgres(Path(place) / "server", fast=True) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE kept")
        url = server.url("kept")
        env = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": ".",
            "HOME": place,
            "XDG_STATE_HOME": place,
            "DATABASE_URL": url,
            "BACKUP_DIR": str(folder),
            "RESTORE_UNDO_HOURS": "8784",
        }
        folder.mkdir(mode=0o700)

        def cli(*words: str, code: int = 0, **more: str) -> dict[str, str]:
            argv = [sys.executable, "-c", "from app.cli import main; main()", *words, "--json"]
            done = subprocess.run(argv, env=env | more, capture_output=True, text=True, check=False)
            assert done.returncode == code, done.stderr
            return json.loads(done.stdout) if code == 0 else {}

        def change(statements: str) -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(statements)

        change(TABLES)
        cli("create", "daily")
        replace = ("restore", "latest-daily", "--mode", "replace", "--confirm", "kept")
        change(WITH_DAMAGE)
        cli("rollback", cli(*replace)["restore"])
        cli(*replace, code=1, RESTORE_POST_COMMAND="false")
        cli(*replace)
        cli("create", "manual", "--label", "before the merge")
        change(WITH_DAMAGE)
        cli("restore", "latest-daily", "--mode", "merge", "--confirm", "kept")
        cli(*replace, code=-9, RESTORE_POST_COMMAND="""sh -c 'kill -9 $PPID'""")
        cli("verify", "--all")
    for name in ("catalog.db-wal", "catalog.db-shm"):
        assert not (folder / name).exists(), name
    shutil.rmtree(folder / "catalog.db.lock", ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
