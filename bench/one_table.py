"""One table of 200 rows out of backups of growing size: restored, and previewed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import psycopg

from bench.database import build, build_small
from bench.lab import Lab, Row, Target

GROUP = "one table of a backup"
_RESTORE, _DRY = "restore --table, 200 rows", "restore --table --dry-run"
_MB = 1200  # of SQL at scale 1
_PEOPLE = """
CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, note text);
INSERT INTO people SELECT i, 'Person ' || i, md5(i::text) FROM generate_series(1, 200) i;
CREATE TABLE leave (id serial PRIMARY KEY, person int NOT NULL REFERENCES people ON DELETE CASCADE, days int);
INSERT INTO leave (person, days) SELECT 1 + i % 200, i % 9 FROM generate_series(1, 500) i
"""
TARGETS = (
    Target("`restore --table` of 200 rows of 1.2 GB", GROUP, _RESTORE, how="value", least=3.0, aim=1.5),
    Target("the same, of 1.2 GB vs of 0.12 GB", GROUP, _RESTORE, figure="cpu", least=1.5, aim=1.1, peer_size=0),
    Target("its dry run reads, of 1.2 GB vs of 0.12 GB", GROUP, _DRY, figure="read_mb", least=1.1, peer_size=0),
)


def rows(lab: Lab) -> Iterator[Row]:
    """Measure at a tenth of the size, and at the size."""
    for part in (0.1, 1.0):
        url = lab.database("one_table")
        build(url, lab.scale * part)
        build_small(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_PEOPLE)
        site = lab.site("one_table", BACKUP_COMPRESSION="zstd")
        subprocess.run(site.ours("create", "create", "manual").argv, env=site.env, check=True, capture_output=True)
        chosen = ("restore", "latest", "--mode", "replace", "--table", "people")

        def spoil(url: str = url) -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("UPDATE people SET note = 'spoiled' WHERE id % 10 = 0")

        contenders = [
            site.ours(_DRY, *chosen, "--dry-run", before=spoil),
            site.ours(_RESTORE, *chosen, "--confirm", "one_table", before=spoil),
        ]
        yield from lab.compare(GROUP, round(_MB * lab.scale * part), contenders)
        site.forget()
    lab.drop("one_table")
