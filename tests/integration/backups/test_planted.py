"""What others may write, or have put, into the folder of backups is named, and is no `latest`."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from app.archive.manifest import parse_manifest
from app.domain.backup import Origin, Tier
from app.domain.checks import Severity
from app.errors import BackupNotFoundError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find, inventory
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.health.check import repair
from app.operations.restore.access import check_access
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, make_site

MALLORY = 4711
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


@pytest.fixture
def site(empty_database: TestDatabase, tmp_path: Path) -> Site:
    empty_database.execute("CREATE TABLE t AS SELECT 1 AS i")
    site = make_site(empty_database, tmp_path / "backups", filled=False)
    assert take_backup(site.service(), BackupRequest(tier=Tier.MANUAL)) is not None
    return site


def plant(site: Site) -> Path:
    """A dump of other content, with a manifest that says all that one of ours would say, a minute newer."""
    (file,) = site.backups.glob("manual/*.sql")
    manifest = parse_manifest(file.with_name(f"{file.name}.json").read_bytes(), file.name)
    site.database.execute("CREATE TABLE planted AS SELECT 2 AS i")
    other = make_site(site.database, site.backups.with_name("elsewhere"), filled=False)
    taken = take_backup(other.service(), BackupRequest(tier=Tier.MANUAL))
    assert taken is not None
    made = other.backups / taken.backup.file
    forged = parse_manifest(made.with_name(f"{made.name}.json").read_bytes(), made.name)
    later = {"snapshot_time": manifest.snapshot_time + timedelta(seconds=1)}
    later |= {"verified_at": manifest.verified_at + timedelta(minutes=1)}
    period = f"{later['snapshot_time']:%Y-%m-%dT%H%M%SZ}"
    forged = forged.model_copy(update={"period": period, **later})
    target = file.with_name(f"backup-{period}.sql")
    shutil.copy(made, target)
    target.with_name(f"{target.name}.json").write_text(forged.to_json())
    site.database.execute("DROP TABLE planted")
    return target


def messages(site: Site) -> list[str]:
    findings = check_access(site.service(), inventory(site.service()))
    return [finding.message for finding in findings if finding.severity is Severity.WARNING]


def require_found(site: Site, planted: Path, reason: str) -> None:
    """It is named with the reason, and means nothing until somebody says otherwise."""
    service, backup_id = site.service(), f"manual/{planted.stem}"
    (backup,) = (backup for backup in inventory(service) if backup.id == backup_id)
    assert backup.origin is Origin.SCAN
    assert find(service, "latest").id != backup_id
    assert find(service, backup_id).id == backup_id
    assert backup_id not in {each.id for each in prune(site.service(BACKUP_KEEP_MANUAL="0"), dry_run=True).plan.pruned}
    assert any(planted.name in said and reason in said for said in messages(site))
    assert reason in site.cli("list").stdout
    listed = {each["backup"]: each["found"] for each in json.loads(site.cli("list", "--json").stdout)}
    assert [name for name, why in listed.items() if why] == [backup_id]
    plan = preview(service, RestoreRequest.parse(service, backup=backup_id, mode="replace"))
    assert any("was found, and not made here" in said and reason in said for said in plan.warnings)
    assert f"unproven {backup_id}" in site.cli("verify", backup_id).stdout


def test_a_dump_that_no_run_made_is_found_whatever_its_manifest_says(site: Site) -> None:
    assert messages(site) == []
    planted = plant(site)
    require_found(site, planted, "the catalog knows of no run")
    repair(site.service())
    assert find(site.service(), "latest").id != f"manual/{planted.stem}"
    assert site.cli("sync").code == 0, "its admin says that it is his"
    assert find(site.service(), "latest").id == f"manual/{planted.stem}"
    assert messages(site) == []


def test_a_lost_catalog_makes_nothing_a_find(site: Site) -> None:
    planted = plant(site)
    (site.backups / "catalog.db").unlink()
    assert {backup.origin for backup in inventory(site.service())} == {Origin.DUMP}
    assert take_backup(site.service(), BackupRequest(tier=Tier.DAILY)) is not None
    origins = {backup.id: backup.origin for backup in inventory(site.service())}
    assert origins.pop(f"manual/{planted.stem}") is Origin.SCAN, "it says that it was made when the record had begun"
    assert set(origins.values()) == {Origin.DUMP}, "what is older than the record is taken at its word"


@as_root
def test_a_file_of_another_owner_is_found_also_if_it_is_a_manifest_alone(site: Site) -> None:
    planted = plant(site)
    sync(site.service())
    os.chown(planted.with_name(f"{planted.name}.json"), MALLORY, MALLORY)
    require_found(site, planted, f"it belongs to uid {MALLORY}")
    assert sync(site.service()).problems == []
    assert find(site.service(), "latest").id != f"manual/{planted.stem}", "its word is not enough"


@as_root
def test_what_somebody_else_put_there_is_no_latest_even_if_it_is_all_that_is_left(site: Site) -> None:
    for path in site.backups.glob("manual/*"):
        os.chown(path, MALLORY, MALLORY)
    with pytest.raises(BackupNotFoundError, match=f"was found, and not made here: it belongs to uid {MALLORY}"):
        find(site.service(), "latest")
    for path in site.backups.glob("manual/*"):
        os.chown(path, 0, 0)
    (manifest,) = site.backups.glob("manual/*.json")
    manifest.unlink()
    assert find(site.service(), "latest").origin is Origin.SCAN
    os.mkfifo(manifest)
    (problem,) = sync(site.service()).problems
    assert f"no file has its manifest's name: ls -l {manifest}" in problem


def test_who_may_write_the_folder_or_a_file_is_told_by_check_and_restore(site: Site) -> None:
    assert messages(site) == []
    (file,) = site.backups.glob("manual/*.sql")
    request = RestoreRequest.parse(site.service(), "latest", mode="replace")
    for path, mode in ((site.backups, 0o1777), (file.parent, 0o733), (file, 0o666)):
        before = path.stat().st_mode
        path.chmod(mode)
        said = f"{path} can be written by anybody"
        assert [message.startswith(said) for message in messages(site)] == [True]
        assert [warning for warning in preview(site.service(), request).warnings if warning.startswith(said)]
        path.chmod(before)
    linked = site.backups.parent / "linked"
    linked.symlink_to(site.backups)
    above = site.backups.parent
    before = above.stat().st_mode
    for mode, warned in ((0o777, True), (0o1777, False)):  # in a sticky folder nobody renames what is another's
        above.chmod(mode)
        assert messages(replace(site, env={**site.env, "BACKUP_DIR": str(linked)})) == messages(site)
        assert [message.startswith(f"{above} can be written by anybody") for message in messages(site)] == [
            True
        ] * warned
    above.chmod(before)
    if os.geteuid() == 0:
        os.chown(file.parent, MALLORY, 0)
        assert [message.startswith(f"{file.parent} can be written by uid {MALLORY}") for message in messages(site)] == [
            True
        ]
        os.chown(file.parent, 0, 0)
    outcome = site.cli("check")
    assert "nobody else may write the backups" in outcome.stdout
