"""A full backup of each major, made and verified by that major's own programs, is a server that starts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from app.operations.backup.full_preflight import preflight_full
from app.operations.backup.take import take_backup
from tests.fix_full import FULL, server_on
from tests.fix_matrix import Major, at_home, running_major, server_of, torment
from tests.fix_service import Site, require_same_content
from tests.tiers import THOROUGH, majors

MAJORS = majors(18)


@pytest.fixture(scope="module", params=MAJORS)
def major(request: pytest.FixtureRequest) -> Iterator[Major]:
    with running_major(request.param) as found:
        yield found


@THOROUGH
def test_the_server_of_a_full_backup_starts_with_everything_that_its_major_knows(
    major: Major, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home(major, monkeypatch)
    with major.database("torture") as database:
        torment(major, database)
        env = {"DATABASE_URL": database.url, "BACKUP_DIR": str(server_folder / "backups"), "BACKUP_MIN_FREE_MB": "1"}
        site = Site(database, server_folder / "backups", env)
        taken = take_backup(site.service(), FULL)
        assert taken is not None
        warned = [each.message for each in preflight_full(site.service()).findings if each.severity == "warning"]
        assert len(warned) == 1
        assert taken.warnings[0].endswith(warned[0])
        assert warned[0].startswith("app.not_logged of database torture: unlogged, ")
        target = server_folder / "target"
        done = site.cli("restore-full", taken.backup.id, "--target", str(target))
        assert done.code == 0, done.stderr
        assert f"pg_verifybackup {major.number}." in done.stdout
        again = partial(server_of, major.number, major.programs)
        with server_on(target / "postgres", major.server, database.name, again) as copy:
            database.execute("TRUNCATE app.not_logged")
            require_same_content(database, copy)
