"""One folder of backups, two servers with a database of the same name: neither takes the other's backups for its."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.archive.manifest import Manifest, parse_manifest
from app.domain.backup import Backup, Tier
from app.domain.checks import Finding, Severity
from app.domain.servers import Identity
from app.domain.slots import Slot
from app.errors import BackupValidationError, RestoreValidationError, ServerMismatchError
from app.operations.backup.catch_up import due_slots
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.adopt import adopt
from app.operations.backups.inventory import find, inventory, newest_verified
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.health.check import check
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from app.operations.restore.run import restore
from app.operations.service import Service
from app.storage.folder import MARKER
from tests.fix_damaged import Damaged, drop_databases, execute
from tests.fix_postgres import TestDatabase
from tests.fix_service import require_same_content
from tests.fix_two_servers import TwoServers

DAILY = BackupRequest(tier=Tier.DAILY)
MANUAL = BackupRequest(tier=Tier.MANUAL)


def taken(service: Service, request: BackupRequest = DAILY) -> Backup:
    made = take_backup(service, request)
    assert made is not None
    return made.backup


def at(service: Service, now: datetime) -> Service:
    return replace(service, clock=lambda: now)


def manifest(site_backups: Path, backup: Backup) -> Manifest:
    return parse_manifest((site_backups / f"{backup.file}.json").read_bytes(), backup.file)


def without_identity(backups: Path) -> None:
    """What versions before this one left: manifests that name no server, no marker, and another catalog."""
    for path in backups.rglob("*.sql.json"):
        old = parse_manifest(path.read_bytes(), path.name)
        assert old.server is not None
        server = old.server.model_copy(update={"system_identifier": None, "database_oid": None})
        path.write_text(old.model_copy(update={"server": server}).to_json())
    for path in (backups / MARKER, *backups.glob("catalog.db*")):
        path.unlink()


def identity_finding(service: Service) -> Finding:
    return [each for each in check(service) if each.check == "identity"][-1]


def test_a_backup_says_which_server_and_database_it_is_of(two_servers: TwoServers) -> None:
    service = two_servers.site.service()
    backup = taken(service)
    system, oid = two_servers.site.database.query(
        "SELECT system_identifier::text, oid::bigint FROM pg_control_system(), pg_database"
        " WHERE datname = current_database()"
    )[0]
    server = manifest(two_servers.site.backups, backup).server
    assert server is not None
    assert server.identity == Identity(system, oid) == backup.identity
    assert next(iter(service.catalog.backups(two_servers.name))).identity == backup.identity
    assert identity_finding(service).severity is Severity.OK


def test_another_server_replaces_nothing_prunes_nothing_and_claims_nothing(two_servers: TwoServers) -> None:
    site = two_servers.site
    backup = taken(site.service())
    before = site.files()

    for words in (("create", "daily"), ("create", "manual"), ("create", "weekly"), ("prune",)):
        done = two_servers.cli(*words)
        assert done.code == ServerMismatchError.exit_code, done.stderr
        assert f"residency-backup adopt --confirm {two_servers.name}" in done.stderr
    assert str(backup.system_identifier) in done.stderr

    assert site.files() == before
    assert list(site.service().catalog.running()) == []
    # What looks, works: an admin has to see what is there.
    shown = two_servers.cli("list", "--json")
    assert [(each["backup"], each["rows"], each["other_server"]) for each in json.loads(shown.stdout)] == [
        (backup.id, 100, False)
    ]
    assert two_servers.cli("verify", "--all").code == 0
    assert two_servers.cli("diff", backup.id).code in {0, 3}
    found = identity_finding(two_servers.service())
    assert found.severity is Severity.ERROR
    assert "adopt" in (found.error.hint if found.error else "")


def test_the_schedule_of_another_server_takes_no_slot(two_servers: TwoServers) -> None:
    own, other = two_servers.site.service(), two_servers.service()
    taken(own, MANUAL)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert due_slots(at(own, yesterday)) == []  # the first sight of a schedule
    slots = due_slots(own)
    assert Tier.DAILY in {each.tier for each in slots}
    slot = next(each for each in slots if each.tier is Tier.DAILY)

    assert due_slots(other) == []
    with pytest.raises(ServerMismatchError):
        take_backup(other, BackupRequest(tier=Tier.DAILY, slot=slot))

    assert own.catalog.slot(two_servers.name, slot.tier, slot.period) is None
    assert [each for each in due_slots(own) if each.tier is Tier.DAILY] == [slot]
    assert take_backup(own, BackupRequest(tier=Tier.DAILY, slot=slot)) is not None
    record = own.catalog.slot(two_servers.name, slot.tier, slot.period)
    assert record is not None
    assert record.server == own.source.identity()


def test_a_server_that_is_adopted_takes_over_and_keeps_what_stands(
    two_servers: TwoServers, restored: Callable[[Path], TestDatabase]
) -> None:
    site, other = two_servers.site, two_servers.service()
    old = taken(site.service())
    slot = Slot(Tier.MONTHLY, f"{datetime.now(UTC):%Y-%m}", datetime.now(UTC))
    assert take_backup(site.service(), BackupRequest(tier=Tier.MONTHLY, slot=slot)) is not None

    refused = two_servers.cli("adopt")
    assert refused.code == BackupValidationError.exit_code
    begins = f"BackupValidationError: the backups of {two_servers.name} would be of this server from now on: "
    assert refused.stderr.startswith(begins)
    assert "; nothing was changed\n" in refused.stderr
    assert str(old.identity) in refused.stderr
    assert str(other.source.identity()) in refused.stderr
    with pytest.raises(BackupValidationError, match="'another' is not the database's name"):
        adopt(other, "another")
    done = two_servers.cli("adopt", "--confirm", two_servers.name, "--json")
    assert done.code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["before"] == {"system_identifier": old.system_identifier, "database_oid": old.database_oid}
    assert said["changed"]

    made = take_backup(other, DAILY)
    assert made is not None
    [kept] = [each for each in inventory(other) if each.pinned_reason and each.tier is Tier.MANUAL]
    assert any(kept.id in warning for warning in made.warnings)
    assert str(kept.pinned_reason).endswith("and was replaced: the one that replaced it is of another server")
    assert (kept.identity, kept.rows) == (old.identity, 100)
    require_same_content(restored(site.backups / kept.file), site.database)
    # What the server before ran was not run here; what this one runs is.
    assert take_backup(other, BackupRequest(tier=Tier.MONTHLY, slot=slot)) is not None
    assert take_backup(other, BackupRequest(tier=Tier.MONTHLY, slot=slot)) is None
    # The backups before count on: it is one database that moved.
    assert {each.id for each in prune(other, dry_run=True).plan.kept} == {each.id for each in inventory(other)}
    with pytest.raises(ServerMismatchError):
        taken(site.service())
    assert identity_finding(other).severity is Severity.OK


def test_backups_without_identity_are_taken_over_once(two_servers: TwoServers) -> None:
    site = two_servers.site
    first = taken(site.service(), MANUAL)
    without_identity(site.backups)
    service = site.service()
    sync(service)

    assert find(service, "latest").id == first.id
    with_identity = taken(service)
    assert with_identity.system_identifier
    with pytest.raises(ServerMismatchError):
        taken(two_servers.service())
    assert {each.id for each in prune(service, dry_run=True).plan.kept} == {first.id, with_identity.id}


def test_a_lost_catalog_and_a_lost_marker_forget_nothing(two_servers: TwoServers) -> None:
    site = two_servers.site
    taken(site.service())
    for path in site.backups.glob("catalog.db*"):
        path.unlink()
    with pytest.raises(ServerMismatchError):
        taken(two_servers.service())
    (site.backups / MARKER).unlink()
    with pytest.raises(ServerMismatchError):
        taken(two_servers.service())
    taken(site.service())
    assert (site.backups / MARKER).exists()
    (site.backups / MARKER).write_text("{")
    with pytest.raises(ServerMismatchError):
        taken(two_servers.service())


def test_backups_that_were_copied_here_from_another_server_are_neither_counted_nor_pruned(
    two_servers: TwoServers, tmp_path: Path
) -> None:
    site = two_servers.site
    service = site.service(BACKUP_KEEP_MANUAL="1")
    own = taken(service, MANUAL)
    elsewhere = two_servers.service(BACKUP_DIR=str(tmp_path / "elsewhere"))
    alien = taken(at(elsewhere, datetime.now(UTC) - timedelta(hours=1)), MANUAL)  # of another second, as named
    assert alien.id != own.id
    for suffix in ("", ".json"):
        path = tmp_path / "elsewhere" / f"{alien.file}{suffix}"
        (site.backups / f"{alien.file}{suffix}").write_bytes(path.read_bytes())

    assert find(service, "latest").id == own.id
    assert newest_verified(service, inventory(service)) is not None
    assert find(service, alien.id).id == alien.id
    plan = prune(service).plan
    assert [each.id for each in plan.kept] == [own.id]
    assert not plan.pruned
    listed = json.loads(site.cli("list", "--json").stdout)
    assert {each["backup"]: each["other_server"] for each in listed} == {own.id: False, alien.id: True}
    assert "of another server" in site.cli("list").stdout
    assert any(alien.id in each.message for each in check(service) if each.check == "identity")


@pytest.mark.parametrize("exists", [True, False])
def test_a_restore_on_a_new_server_needs_no_more_to_go_on(two_servers: TwoServers, *, exists: bool) -> None:
    site, other = two_servers.site, two_servers.service()
    old = taken(site.service())
    if not exists:
        drop_databases_of(two_servers)
    request = RestoreRequest.parse(other, "latest", confirm=two_servers.name)

    outcome = restore(other, request)

    # That the backup is another server's is said where something is lost by it.
    assert [each.partition(" (")[0] for each in outcome.warnings] == ["the backup is of another server"] * exists
    require_same_content(two_servers.other, site.database)
    assert identity_finding(other).severity is Severity.OK
    new = taken(other, MANUAL)
    assert new.identity == other.source.identity()
    assert find(other, "latest").id == new.id
    with pytest.raises(ServerMismatchError):
        taken(site.service())
    assert old.id in {each.id for each in prune(other, dry_run=True).plan.kept}


def drop_databases_of(two_servers: TwoServers) -> None:
    url = two_servers.other.url.rsplit("/", 1)[0]
    TestDatabase("postgres", f"{url}/postgres").execute(f'DROP DATABASE "{two_servers.name}" WITH (FORCE)')


def test_a_restore_on_staging_does_not_take_production_over(two_servers: TwoServers) -> None:
    site, other = two_servers.site, two_servers.service()
    taken(site.service())
    outcome = restore(other, RestoreRequest.parse(other, backup="latest", confirm=two_servers.name))

    made = taken(site.service(), MANUAL)  # production lives

    with pytest.raises(ServerMismatchError):
        taken(other)
    assert find(site.service(), "latest").id == made.id
    with pytest.raises(RestoreValidationError, match="another server"):
        rollback(site.service(), outcome.restore.id)
    assert rollback(other, outcome.restore.id).restore.id == outcome.restore.id
    taken(site.service())


def test_restores_and_their_undoing_make_no_stranger_of_a_database(damaged: Damaged) -> None:
    outcome = damaged.run()
    assert damaged.content() == damaged.whole
    taken(damaged.service())
    rollback(damaged.service(), outcome.restore.id)
    taken(damaged.service())
    # As the runbook has it by hand, and with a marker that knows nothing of it.
    second = damaged.run().restore
    (damaged.site.backups / MARKER).unlink()
    taken(damaged.service())
    execute(damaged.server, f'ALTER DATABASE "{damaged.name}" RENAME TO "{damaged.name}_wrong"')
    execute(damaged.server, f'ALTER DATABASE "{second.undo}" RENAME TO "{damaged.name}"')
    taken(damaged.service())
    assert identity_finding(damaged.service()).severity is Severity.OK
    drop_databases(damaged.server, damaged.name)


def test_a_database_made_anew_by_hand_is_told_from_the_one_before(two_servers: TwoServers) -> None:
    site, name = two_servers.site, two_servers.name
    before = taken(site.service())
    execute(two_servers.server, f'DROP DATABASE "{name}" WITH (FORCE)')
    execute(two_servers.server, f'CREATE DATABASE "{name}"')
    site.database.execute("CREATE TABLE people AS SELECT 1 AS id")

    with pytest.raises(ServerMismatchError, match=r"made anew, and not by a restore") as caught:
        taken(site.service())

    assert str(before.database_oid) in str(caught.value)
    assert adopt(site.service(), name).before == before.identity
    assert any("1 now" in warning for warning in take_backup(site.service(), DAILY).warnings)  # type: ignore[union-attr]


def test_a_role_that_may_not_ask_goes_by_the_database_alone(two_servers: TwoServers) -> None:
    site = two_servers.site
    role = f"asker_{two_servers.name}"
    execute(two_servers.server, f"CREATE ROLE {role} LOGIN PASSWORD 'secret' IN ROLE pg_read_all_data")
    site.database.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    url = site.database.url.replace("//postgres:", f"//{role}:").replace(
        site.database.url.split(":")[2].split("@")[0], "secret"
    )
    try:
        service = site.service(DATABASE_URL=url)
        backup = taken(service)
        assert backup.system_identifier is None
        assert backup.database_oid
        found = identity_finding(service)
        assert found.severity is Severity.WARNING
        assert "pg_control_system" in found.message
        taken(service)
    finally:
        site.database.execute("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")
        execute(two_servers.server, f"DROP ROLE {role}")
