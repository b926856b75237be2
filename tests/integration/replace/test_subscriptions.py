"""Subscriptions of a database that is replaced: no row is swallowed, nothing stays, no publisher is touched."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from app.archive.manifest import ServerFacts
from app.cli.output.full import may_subscribe
from app.domain.backup import Tier
from app.domain.restore import RestoreState
from app.embedded.server import wait_until
from app.errors import (
    RestoreBusyError,
    RestorePermissionError,
    RestorePostCommandError,
    RestoreRollbackError,
    RestoreValidationError,
)
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.expire import expire
from app.operations.backups.inventory import inventory
from app.operations.health.check import repair
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from app.postgres.database import Database
from app.postgres.replace import swap
from app.postgres.target import PostgresTarget
from tests.fix_archives import as_role
from tests.fix_damaged import execute, query
from tests.fix_fork import run_forked
from tests.fix_logical import SECONDS, Subscriber, drop_subscription
from tests.fix_matrix import running_major
from tests.fix_postgres import TestDatabase
from tests.fix_restore_faults import AtStart
from tests.fix_service import later
from tests.tiers import THOROUGH, majors, thorough_at

pytestmark = THOROUGH  # few have what it takes

MAJORS = majors(18)
POINTS = [{"record": 6, "when": "after"}, {"record": 7, "when": "before"}]  # of a restore that is killed
NOWHERE = "CONNECTION 'host=/nonexistent dbname=none' PUBLICATION p WITH (connect = false)"


@pytest.fixture
def prepared(subscriber: Subscriber) -> Iterator[Callable[[], object]]:
    """Prepares a transaction in the live database, which bars the way of a rename."""
    name = f"held by {subscriber.of.name}"

    def prepare() -> None:
        with psycopg.connect(subscriber.of.site.database.url, autocommit=True) as connection:
            connection.execute("BEGIN")
            connection.execute("LOCK TABLE people IN ACCESS SHARE MODE")
            connection.execute("SELECT txid_current()")
            connection.execute(f"PREPARE TRANSACTION '{name}'".encode())

    yield prepare
    where = query(subscriber.of.server, "SELECT database FROM pg_prepared_xacts WHERE gid = %s", name)
    for (database,) in where:
        TestDatabase(database, subscriber.of.server.url(database)).execute(f"ROLLBACK PREPARED '{name}'")


def test_what_is_put_aside_swallows_nothing_and_a_rollback_brings_it_back_as_it_was(subscriber: Subscriber) -> None:
    live = subscriber.of
    plan = preview(live.service(), RestoreRequest.parse(live.service(), backup=live.backup, mode="replace"))
    assert any(subscriber.slot in said and "disabled before the swap" in said for said in plan.warnings)
    outcome = live.run(mode="replace")
    undo = outcome.restore.undo
    assert undo is not None
    assert subscriber.subscriptions() == [(live.name, False, subscriber.slot), (undo, False, subscriber.slot)]
    steps = (
        f"psql -d {live.name} -c 'ALTER SUBSCRIPTION \"{subscriber.slot}\" ENABLE'"
        f" -c 'ALTER SUBSCRIPTION \"{subscriber.slot}\" REFRESH PUBLICATION'"
    )
    assert any(steps in said for said in outcome.warnings)
    consumed = subscriber.consumed()
    subscriber.send(2)
    assert subscriber.consumed() == consumed, "what comes is kept for whoever is chosen to get it"
    undone = rollback(live.service(), outcome.restore.id)
    assert undone.restore.state is RestoreState.ROLLED_BACK
    shadow = undone.restore.shadow
    assert subscriber.subscriptions() == [(live.name, True, subscriber.slot), (shadow, False, subscriber.slot)]
    assert subscriber.arrives(1, 2)
    assert any(str(shadow) in said for said in expire(later(live.service())))
    assert subscriber.subscriptions() == [(live.name, True, subscriber.slot)]
    subscriber.send(3)
    assert subscriber.arrives(1, 2, 3), "the publisher's slot is as it was"


def test_the_commands_that_the_end_names_make_it_whole_and_what_is_kept_can_be_dropped(
    subscriber: Subscriber,
) -> None:
    live = subscriber.of
    undo = live.run(mode="replace").restore.undo
    subscriber.send(2)
    live.site.database.execute("TRUNCATE people")
    for step in ("ENABLE", "REFRESH PUBLICATION"):
        live.site.database.execute(f"ALTER SUBSCRIPTION {subscriber.slot} {step}")
    subscriber.send(3)
    assert subscriber.arrives(1, 2, 3)
    assert subscriber.arrives(1, name=undo)
    TestDatabase(str(undo), live.server.url(str(undo))).execute(f"ALTER SUBSCRIPTION {subscriber.slot} ENABLE")
    expire(later(live.service()))
    assert live.databases() == set(), "although somebody enabled it there"
    assert subscriber.slots() == [subscriber.slot]


@THOROUGH
def test_what_may_not_be_enabled_is_said_and_keeps_no_rollback_from_its_end(subscriber: Subscriber, owner: str) -> None:
    """The role owned the subscription when it was disabled, and has lost it since."""
    live = subscriber.of
    service = live.service(DATABASE_URL=as_role(live.site.database.url, owner))
    execute(live.server, f"GRANT CREATE ON DATABASE {live.name} TO {owner}")
    live.site.database.execute(f"ALTER SUBSCRIPTION {subscriber.slot} OWNER TO {owner}")
    record = live.run(service, mode="replace").restore
    undo = TestDatabase(str(record.undo), live.server.url(str(record.undo)))
    undo.execute(f"ALTER SUBSCRIPTION {subscriber.slot} OWNER TO postgres")
    undone = rollback(service, record.id)
    assert undone.restore.state is RestoreState.ROLLED_BACK
    by_hand = f"psql -d {live.name} -c 'ALTER SUBSCRIPTION \"{subscriber.slot}\" ENABLE'"
    assert any("still disabled" in note and by_hand in note for note in undone.notes)


def test_a_restore_that_fails_leaves_it_enabled_and_no_database_behind(subscriber: Subscriber) -> None:
    live = subscriber.of
    with pytest.raises(RestorePostCommandError):
        live.run(live.service(RESTORE_POST_COMMAND="false"), mode="replace")
    assert live.databases() == set()
    assert subscriber.subscriptions() == [(live.name, True, subscriber.slot)]
    subscriber.send(2)
    assert subscriber.arrives(1, 2)


def test_a_swap_that_is_refused_leaves_it_as_it_was(
    subscriber: Subscriber, prepared: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = subscriber.of
    record = live.run(mode="replace").restore
    live.site.database.execute(f"ALTER SUBSCRIPTION {subscriber.slot} ENABLE")
    monkeypatch.setattr(swap, "GIVE_UP_SECONDS", 0.0)
    act = AtStart(prepared, phase="swap")
    with pytest.raises(RestoreBusyError, match="stays in use"):
        live.run(progress=act, mode="replace")
    assert act.done
    assert live.records()[0].paused_replaced == (subscriber.slot,)
    assert subscriber.subscriptions()[0] == (live.name, True, subscriber.slot)
    with pytest.raises(RestoreRollbackError, match="stays in use"):
        rollback(live.service(), record.id)
    assert next(each for each in live.records() if each.id == record.id).paused_made == (subscriber.slot,)
    assert subscriber.subscriptions()[0] == (live.name, True, subscriber.slot)
    assert not subscriber.subscriptions()[1][1], "and what was put aside stays disabled"


@pytest.mark.parametrize("point", thorough_at(POINTS, POINTS[0]))
def test_after_a_kill_it_is_what_it_was_where_the_database_stays(
    subscriber: Subscriber, point: dict[str, object]
) -> None:
    """Killed when it is recorded what will be disabled, and when the swap is done."""
    live, enabled = subscriber.of, point["when"] == "after"
    asked = {"backup": live.backup, "confirm": live.name, "mode": "replace"}
    given = json.dumps({"verb": "restore", "asked": asked, **point})
    env = live.site.process_env(LOG_LEVEL="ERROR")
    done = run_forked("tests.kill_restore:main", [given], env, timeout=60)
    assert done.code == -signal.SIGKILL, done.stderr
    assert live.records()[0].paused_replaced == (subscriber.slot,)
    if enabled:
        live.site.database.execute(f"ALTER SUBSCRIPTION {subscriber.slot} DISABLE")  # it may have come so far
    repair(live.service())
    assert live.records()[0].state is (RestoreState.FAILED if enabled else RestoreState.COMPLETE)
    assert subscriber.subscriptions()[0] == (live.name, enabled, subscriber.slot)
    if not enabled:
        rollback(live.service(), live.records()[0].id)
        assert subscriber.subscriptions()[0] == (live.name, True, subscriber.slot)


@pytest.fixture
def owner(subscriber: Subscriber) -> Iterator[str]:
    """A role that owns the database and may make others; the subscription is the superuser's."""
    live = subscriber.of
    role = f"owner_{live.name}"
    execute(live.server, f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'secret'")
    execute(live.server, f"GRANT pg_read_all_data, pg_read_all_settings TO {role}")
    execute(live.server, f"ALTER DATABASE {live.name} OWNER TO {role}")
    live.site.database.execute(f"ALTER TABLE people OWNER TO {role}")
    service = live.service(DATABASE_URL=as_role(live.site.database.url, role))
    assert take_backup(service, BackupRequest(tier=Tier.MANUAL)), "of his own: without the subscription"
    yield role
    drop_subscription(live.site.database, subscriber.slot)
    execute(live.server, f"ALTER DATABASE {live.name} OWNER TO postgres")
    live.site.database.execute(f"REASSIGN OWNED BY {role} TO postgres")
    for name in live.databases():
        TestDatabase(name, live.server.url(name)).execute(f"REASSIGN OWNED BY {role} TO postgres")
    execute(live.server, f"DROP OWNED BY {role}")
    execute(live.server, f"DROP ROLE {role}")


def test_who_may_not_disable_it_is_told_so_before_anything_is_done(subscriber: Subscriber, owner: str) -> None:
    live = subscriber.of
    service = live.service(DATABASE_URL=as_role(live.site.database.url, owner))
    by_hand = f"psql -d {live.name} -c 'ALTER SUBSCRIPTION \"{subscriber.slot}\" DISABLE'"
    with pytest.raises(RestorePermissionError, match="the role may not disable them") as caught:
        live.run(service, mode="replace")
    assert by_hand in caught.value.hint
    assert all(each.tier is not Tier.SAFETY for each in inventory(service))
    assert live.databases() == set()
    plan = preview(service, RestoreRequest.parse(service, backup=live.backup, mode="replace"))
    assert any(by_hand in said for said in plan.warnings), "who looks need not be who restores"
    live.site.database.execute(f"ALTER SUBSCRIPTION {subscriber.slot} DISABLE")
    plan = preview(service, RestoreRequest.parse(service, backup=live.backup, mode="replace"))
    assert any("may not drop subscriptions" in said for said in plan.warnings)


def test_in_place_it_is_refused_before_a_safety_backup_is_taken(subscriber: Subscriber, owner: str) -> None:
    live = subscriber.of
    execute(live.server, f"ALTER ROLE {owner} NOCREATEDB")
    service = live.service(DATABASE_URL=as_role(live.site.database.url, owner))
    with pytest.raises(RestoreValidationError, match="replaced in place") as caught:
        live.run(service, mode="replace")
    assert f'DROP SUBSCRIPTION "{subscriber.slot}"' in caught.value.hint
    assert all(each.tier is not Tier.SAFETY for each in inventory(service))


def test_a_copy_to_look_at_has_no_hands_on_the_slot(subscriber: Subscriber) -> None:
    live = subscriber.of
    into = f"{live.name}_copy"
    outcome = live.run(mode="replace", into=into)
    assert subscriber.subscriptions() == [(live.name, True, subscriber.slot), (into, False, None)]
    assert any("touches no publisher" in note for note in outcome.notes)
    TestDatabase(into, live.server.url(into)).execute(f"DROP SUBSCRIPTION {subscriber.slot}")
    assert subscriber.slots() == [subscriber.slot]


@THOROUGH
def test_dropping_asks_no_publisher_although_a_first_copy_is_not_done(subscriber: Subscriber) -> None:
    """The copy of a new table fails again and again, and its slot stands at the publisher."""
    live = subscriber.of
    subscriber.publisher.execute("CREATE TABLE more (id int PRIMARY KEY); INSERT INTO more VALUES (1)")
    subscriber.publisher.execute("ALTER PUBLICATION p ADD TABLE more")
    live.site.database.execute("CREATE TABLE more (id int PRIMARY KEY); INSERT INTO more VALUES (1)")
    live.site.database.execute(f"ALTER SUBSCRIPTION {subscriber.slot} REFRESH PUBLICATION")
    assert wait_until(lambda: len(subscriber.slots()) == 2, SECONDS)
    record = live.run(mode="replace").restore
    assert wait_until(lambda: len(subscriber.slots()) == 2, SECONDS)
    before = subscriber.slots()
    expire(later(live.service()))
    assert record.undo not in live.databases()
    assert subscriber.slots() == before


@pytest.mark.parametrize("number", MAJORS)
def test_on_each_major(number: int) -> None:
    with running_major(number) as major, major.database("live") as live, major.database("other") as other:
        for database in (live, other):
            database.execute(f"CREATE SUBSCRIPTION one {NOWHERE}")
            database.execute("ALTER SUBSCRIPTION one ENABLE")
        target = PostgresTarget(Database.from_url(live.url))
        found = target.replication("live")
        assert [(each.name, each.enabled, each.slot, each.may_alter) for each in found.subscriptions] == [
            ("one", True, "one", True)
        ]
        assert found.slots == []
        target.pause_subscriptions("live", ["one", "gone"])
        assert not target.replication("live").subscriptions[0].enabled
        assert target.resume_subscriptions("live", ["one", "gone"]) == ["gone"]
        assert target.replication("live").subscriptions[0].enabled
        facts: ServerFacts | None = None
        target.create("made", facts)
        TestDatabase("made", major.server.url("made")).execute(f"CREATE SUBSCRIPTION two {NOWHERE}")
        assert target.drop("made")
        other_target = PostgresTarget(Database.from_url(other.url))
        assert other_target.detach_subscriptions("live") == ["one"]
        assert target.resume_subscriptions("live", ["one"]) == ["one"], "it has no slot any more"
        for database in (live, other):
            drop_subscription(database, "one")


def test_a_folder_whose_server_may_have_subscriptions_is_told(subscriber: Subscriber, tmp_path: Path) -> None:
    execute(subscriber.of.server, "CHECKPOINT")
    where = "SELECT pg_relation_filepath('pg_subscription')"
    assert query(subscriber.of.server, where) == [("global/6100",)]
    assert may_subscribe(subscriber.of.server.folder / "data")
    (tmp_path / "global").mkdir()
    (tmp_path / "global/6100").touch()
    assert not may_subscribe(tmp_path)
