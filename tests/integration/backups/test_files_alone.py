"""The database is gone, and with it whatever led to it: BACKUP_DIR alone says what there is."""

from __future__ import annotations

import shutil
from pathlib import Path

from app.errors import SettingsError
from app.postgres.programs import ProgramResult
from tests.fix_postgres import copy_of_all_tables
from tests.fix_service import Site


def alone(site: Site, *words: str, **more: str) -> ProgramResult:
    """A verb, with no setting that leads to the server."""
    return site.cli(*words, **{"DATABASE_URL": "", **more})


def test_verbs_of_files_need_no_way_to_the_database(site: Site) -> None:
    before = copy_of_all_tables(site.database.url)
    assert site.cli("create", "daily").code == 0
    [backup] = [path.name.partition(".")[0] for path in (site.backups / "daily").glob("*.sql")]
    for verb in ("list", "show latest", "verify latest", "keep latest --reason audit", "sync"):
        done = alone(site, *verb.split())
        assert (done.code, "Traceback" in done.stderr) == (0, False), (verb, done.stderr)
    assert backup in alone(site, "list").stdout
    checked = alone(site, "check")
    assert checked.code == 3, checked.stdout
    assert checked.stdout.count("DATABASE_URL") == 1, "said once, and no error"
    assert f"newest verified: daily/{backup}" in checked.stdout
    site.database.execute("TRUNCATE people CASCADE")
    assert site.cli("restore", "latest", "--mode", "replace", "--confirm", site.database.name).code == 0
    assert copy_of_all_tables(site.database.url) == before


def test_verbs_of_the_server_say_what_to_set(site: Site) -> None:
    for verb in ("create", "restore latest --mode replace --confirm x", "diff latest", "restores"):
        done = alone(site, *verb.split())
        assert done.code == SettingsError.exit_code
        assert "DATABASE_URL: missing" in done.stderr


def test_which_of_several_databases_is_meant_must_be_said(site: Site, tmp_path: Path) -> None:
    assert site.cli("create", "manual").code == 0
    (site.backups / ".residency-backup.json").unlink()
    assert site.database.name in alone(site, "list", "--json").stdout, "the manifests say it"
    [manifest] = (site.backups / "manual").glob("*.json")
    elsewhere = tmp_path / "two"
    shutil.copytree(site.backups, elsewhere)
    marker = f'{{"format": 1, "id": "a", "made_at": "b", "databases": {{"x": {EMPTY}, "y": {EMPTY}}}}}'
    (elsewhere / ".residency-backup.json").write_text(marker)
    several = {"BACKUP_DIR": str(elsewhere), "BACKUP_CATALOG_URL": ""}
    refused = alone(site, "list", **several)
    assert (refused.code, "has backups of several: x, y" in refused.stderr) == (2, True), refused.stderr
    chosen = alone(site, "list", "--json", POSTGRES_DB=site.database.name, **several)
    assert (chosen.code, manifest.name.partition(".")[0] in chosen.stdout) == (0, True), chosen.stderr


EMPTY = '{"servers": [], "heir": null}'
