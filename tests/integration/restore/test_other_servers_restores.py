"""A restore was made on the wrong server, on another one's folder: neither takes the other's restores for its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.backup import Backup, Tier
from app.domain.checks import Severity
from app.domain.restore import Restore
from app.embedded.postgres import EmbeddedPostgres
from app.errors import ServerMismatchError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.expire import expire
from app.operations.backups.inventory import inventory
from app.operations.backups.prune import prune
from app.operations.health.check import check, repair
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from app.operations.restore.run import restore
from app.operations.service import Service
from tests.fix_damaged import drop_databases
from tests.fix_two_servers import TwoServers
from tests.tiers import THOROUGH

pytestmark = THOROUGH  # few have what it takes

MANUAL = BackupRequest(tier=Tier.MANUAL)
COUNT = "SELECT count(*)::int FROM people"


def make_keyed(two_servers: TwoServers) -> None:
    """A merge goes by keys."""
    for database in (two_servers.site.database, two_servers.other):
        database.execute("ALTER TABLE people ADD PRIMARY KEY (id)")


@pytest.fixture
def both_restored(
    two_servers: TwoServers, other_server: EmbeddedPostgres
) -> Iterator[tuple[TwoServers, Restore, Restore]]:
    """A merge on production, and a whole replace with the other server's URL after it."""
    make_keyed(two_servers)
    own = two_servers.site.service()
    assert take_backup(own, MANUAL)
    two_servers.site.database.execute("DELETE FROM people WHERE id > 10")
    ours = restore(own, RestoreRequest.parse(own, backup="latest", mode="merge", confirm=two_servers.name)).restore
    theirs = restore(
        two_servers.service(), RestoreRequest.parse(two_servers.service(), backup="latest", confirm=two_servers.name)
    ).restore
    yield two_servers, ours, theirs
    drop_databases(other_server, two_servers.name)


def pinned(service: Service) -> set[str]:
    return {each.id for each in inventory(service) if each.pinned_reason is not None}


def said_of(service: Service, restore: Restore) -> list[tuple[Severity, str]]:
    found = [each for each in check(service) if each.message.startswith(f"restore {restore.id}")]
    return [(each.severity, each.message) for each in found]


def after_its_time(service: Service) -> Service:
    return replace(service, clock=lambda: datetime.now(UTC) + timedelta(days=30))


def test_a_restore_on_another_server_stands_in_nobodys_way(both_restored: tuple[TwoServers, Restore, Restore]) -> None:
    two_servers, ours, theirs = both_restored
    own = two_servers.site.service()

    listed = json.loads(two_servers.site.cli("restores", "--json").stdout)
    assert {each["restore"]: each["after"] for each in listed} == {ours.id: [], theirs.id: []}
    shown = two_servers.site.cli("restores", COLUMNS="200").stdout
    assert f"on server {theirs.server}" in shown
    ((severity, message),) = said_of(own, ours)
    assert severity is Severity.OK
    assert "can be rolled back until" in message
    assert "after" not in message

    rollback(own, ours.id)

    assert two_servers.site.database.query(COUNT) == [(10,)]
    assert two_servers.other.query(COUNT) == [(100,)]


def test_check_says_where_a_restore_of_another_server_is_rolled_back(
    both_restored: tuple[TwoServers, Restore, Restore],
) -> None:
    two_servers, ours, theirs = both_restored
    ((severity, message),) = said_of(two_servers.site.service(), theirs)
    assert severity is Severity.OK
    assert f"was made on another server, of system identifier {theirs.server}; roll it back there, until" in message
    assert f"{theirs.undo}" not in message
    ((severity, message),) = said_of(two_servers.service(), ours)
    assert severity is Severity.OK
    assert f"was made on another server, of system identifier {ours.server}; roll it back there, until" in message


def test_what_another_servers_restore_needs_is_neither_released_nor_expired(
    both_restored: tuple[TwoServers, Restore, Restore],
) -> None:
    two_servers, ours, theirs = both_restored
    own, other = two_servers.site.service(), two_servers.service()
    assert ours.safety
    assert theirs.safety
    held = pinned(own)
    assert {ours.safety, theirs.safety} <= held

    repair(own)
    prune(own)
    assert take_backup(own, MANUAL)
    repair(other)
    assert pinned(own) == held

    # Its time over, it is still the other server's to clean up; and nobody is asked to repair it here.
    repair(after_its_time(own))
    assert ours.safety not in pinned(own)
    assert theirs.safety in pinned(own)
    assert ours.id not in own.tree.scripts.ids()
    assert not [each for each in check(after_its_time(own)) if theirs.id in each.message and "--repair" in each.message]
    rollback(other, theirs.id)
    assert two_servers.other.query(COUNT) == [(1,)]


def test_a_server_that_does_not_answer_has_nothing_released(
    both_restored: tuple[TwoServers, Restore, Restore],
) -> None:
    two_servers, ours, theirs = both_restored
    own = two_servers.site.service()
    gone = two_servers.site.service(DATABASE_URL=f"postgresql://nobody@127.0.0.1:1/{two_servers.name}")
    held = pinned(own)

    for service in (gone, after_its_time(gone)):
        assert expire(service) == []
        repair(service)

    assert pinned(own) == held
    assert own.tree.scripts.ids() == [ours.id]
    rollback(own, ours.id)
    rollback(two_servers.service(), theirs.id)


def newest(service: Service) -> Backup:
    made = take_backup(service, MANUAL)
    assert made is not None
    return made.backup


def warned(two_servers: TwoServers, **asked: str) -> str:
    request = RestoreRequest.parse(two_servers.service(), **{"backup": "latest", "confirm": two_servers.name, **asked})
    (found,) = (each for each in preview(two_servers.service(), request).warnings if "of another server" in each)
    return found


def test_a_restore_says_that_the_backup_is_of_another_server(
    two_servers: TwoServers, other_server: EmbeddedPostgres
) -> None:
    make_keyed(two_servers)
    own, other = two_servers.site.service(), two_servers.service()
    backup = newest(own)
    here = str(other.source.identity().system_identifier)
    first = f"the backup is of another server (system identifier {backup.system_identifier}), this one is {here}"

    whole = warned(two_servers)
    assert whole.startswith(f"{first}: is DATABASE_URL right? after a whole replace the next backup here makes")
    assert warned(two_servers, mode="merge") == f"{first}: is DATABASE_URL right?"
    assert not preview(own, RestoreRequest.parse(own, backup="latest")).warnings
    words = ("restore", "latest", "--mode", "replace", "--confirm", two_servers.name)
    dry = two_servers.cli(*words, "--dry-run")
    assert dry.code == 3
    assert whole in " ".join(dry.stderr.split())
    # What goes into another database is a drill.
    drill = restore(
        other,
        RestoreRequest.parse(
            other, backup="latest", into=f"{two_servers.name}_drill", confirm=f"{two_servers.name}_drill"
        ),
    )
    assert not drill.warnings

    done = two_servers.cli(*words)

    assert done.code == 3
    assert whole in " ".join(done.stderr.split())
    # As it said; and what was the other server's is known here from then on.
    newest(other)
    with pytest.raises(ServerMismatchError):
        newest(own)
    assert not preview(other, RestoreRequest.parse(other, backup=backup.id)).warnings
    drop_databases(other_server, two_servers.name)


def test_a_dry_run_of_prune_says_that_prune_would_be_refused(two_servers: TwoServers) -> None:
    newest(two_servers.site.service())
    refused = two_servers.cli("prune")
    assert refused.code == ServerMismatchError.exit_code

    dry = two_servers.cli("prune", "--dry-run", "--json")

    assert dry.code == 3
    (problem,) = json.loads(dry.stdout)["problems"]
    assert problem.startswith("prune would be refused: the backups of")
    assert f"residency-backup adopt --confirm {two_servers.name}" in problem
    assert two_servers.site.cli("prune", "--dry-run").code == 0
    # The listing goes by the folder's marker: it is the same whatever server DATABASE_URL leads to, or none.
    listed = json.loads(two_servers.cli("list", "--json").stdout)
    assert [each["other_server"] for each in listed] == [False]
