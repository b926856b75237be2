"""What goes wrong in a deployment: killed containers, bad settings, a disk that is full."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.fix_compose import IMAGE, Stack, docker, eventually, objects

pytestmark = pytest.mark.timeout(900)
Stacks = Callable[..., contextlib.AbstractContextManager[Stack]]

# Some seconds' worth of backup, by a codec that is slow on purpose.
LARGE = """
CREATE TABLE large (id int PRIMARY KEY, text text);
INSERT INTO large SELECT g, md5(g::text) || md5((g * 2)::text) || md5((g * 3)::text) FROM generate_series(1, 1500000) g;
"""
COUNT = "SELECT count(*) || md5(min(text) || max(text)) FROM large"
SLOW = {"BACKUP_COMPRESSION": "gzip", "BACKUP_COMPRESSION_LEVEL": "9", "BACKUP_JOBS": "1"}


@pytest.fixture(scope="module")
def stack(new_stack: Stacks) -> Iterator[Stack]:
    """A running stack with a table that takes its time."""
    with new_stack(**SLOW) as made:
        made.up()
        made.sql(LARGE)
        yield made


def call(stack: Stack, task: str = "backup.manual") -> str:
    """Ask for a task; its id."""
    return stack.sh(f"docker-compose exec -T backend celery -A tasks call {task}").split()[-1]


def in_the_middle(stack: Stack) -> None:
    """Wait until a backup is being written."""
    eventually("a backup is being written", stack.partials, 150, 0.1)


def recovers(stack: Stack, known: list[str]) -> None:
    """Nothing half done is left, and the next backup is made and restores."""
    eventually("the worker answers", lambda: stack.state("backend").startswith("running"), 60)
    call(stack)
    eventually("a new backup", lambda: set(stack.backups("manual/*")) - set(known), 180)
    assert stack.partials() == []
    (new,) = set(stack.backups("manual/*")) - set(known)
    stack.sql("DROP DATABASE IF EXISTS proof", "postgres")
    stack.sql("CREATE DATABASE proof TEMPLATE template0", "postgres")
    read = f"docker-compose exec -T backend gzip -dc /backups/{new}"
    stack.sh(f"{read} | docker-compose exec -T db psql -X -q -v ON_ERROR_STOP=1 -U postgres proof")
    assert stack.sql(COUNT, "proof") == stack.sql(COUNT)


def test_the_database_is_killed_in_the_middle_of_a_backup(stack: Stack) -> None:
    known = stack.backups("manual/*")
    task = call(stack)
    in_the_middle(stack)
    stack.kill("db")
    failure = f"docker-compose logs backend | grep -i backup | grep {task} | grep -i error"
    eventually("its failure is told", lambda: stack.sh(failure, code=None), 120)
    assert stack.backups("manual/*") == known
    eventually("compose starts it again", stack.is_healthy("db"), 60)
    recovers(stack, known)


def test_the_database_is_restarted_in_the_middle_of_a_backup(stack: Stack) -> None:
    known = stack.backups("manual/*")
    task = call(stack)
    in_the_middle(stack)
    stack.sh("docker-compose restart db")
    failure = f"docker-compose logs backend | grep -i backup | grep {task} | grep -i error"
    eventually("its failure is told", lambda: stack.sh(failure, code=None), 120)
    eventually("it is back", stack.is_healthy("db"), 60)
    recovers(stack, known)


def test_the_broker_is_killed_in_the_middle_of_a_backup(stack: Stack) -> None:
    known = stack.backups("manual/*")
    call(stack)
    in_the_middle(stack)
    stack.kill("redis")
    eventually("the backup is made all the same", lambda: set(stack.backups("manual/*")) - set(known), 180)
    eventually("compose starts it again", stack.is_healthy("redis"), 60)
    recovers(stack, stack.backups("manual/*"))


def test_the_worker_is_killed_in_the_middle_of_a_due_backup_and_makes_up_for_it(stack: Stack) -> None:
    # Due each minute, but a day has one slot: killed once, it is made up for after two minutes.
    stack.set(BACKUP_DAILY_CRON="* * * * *")
    stack.sh("docker-compose up -d")
    in_the_middle(stack)
    starts = stack.logs("backend").count("ready.")
    stack.kill("backend")
    eventually("the engine starts it again", lambda: stack.logs("backend").count("ready.") > starts, 60)
    eventually("the day's backup is there", lambda: stack.backups("daily/*"), 400, 5)
    assert stack.partials() == []
    stack.sh("docker-compose exec -T backend residency-backup verify --all")
    story = stack.sh("docker-compose logs backend beat | grep -i backup")
    assert "backup created" in story
    stack.set(BACKUP_DAILY_CRON="off")
    stack.up()


def test_every_line_is_an_object_where_that_is_wanted(stack: Stack) -> None:
    stack.set(LOG_FORMAT="json")
    stack.up()
    call(stack)
    call(stack, "no.such.task")
    stack.kill("redis")
    eventually("the broker is back", stack.is_healthy("redis"), 60)
    stack.sh("docker-compose restart beat backend")
    eventually("the worker is ready", lambda: stack.logs("backend").count("ready.") > 1, 60)
    stack.sh("docker-compose stop backend beat")
    lines = stack.logs("backend", "beat", "migrate")
    events = [str(each["event"]) for each in objects(lines)]
    assert "backup started" in events
    assert any("ready." in event for event in events)
    assert any("Context impl" in event for event in events)
    assert all({"level", "timestamp"} <= each.keys() for each in objects(lines))
    stack.set(LOG_FORMAT="console")
    stack.up()


def test_a_wrong_password_is_named(new_stack: Stacks) -> None:
    with new_stack() as stack:
        stack.up()
        (stack.folder / "secrets/postgres_password").write_text("another one\n")
        stack.sh("docker-compose up -d --force-recreate backend")
        shown = stack.sh("docker-compose exec -T backend residency-backup check", code=12)
        assert "password authentication failed" in shown
        call(stack)
        story = "docker-compose logs backend | grep -i backup | grep BackupPermissionError"
        eventually("the log tells", lambda: stack.sh(story, code=None), 60)


@pytest.mark.parametrize("secret", [None, ""])
def test_without_a_password_nothing_starts_and_it_is_said_why(new_stack: Stacks, secret: str | None) -> None:
    with new_stack(secret=secret) as stack:
        if secret is not None:
            (stack.folder / "secrets/postgres_password").write_text("")
        shown = stack.up(code=1) + stack.logs()
        assert "postgres_password" in shown
        assert "is missing" in shown or "is empty" in shown or "does not exist" in shown
        assert stack.state("db").split()[0] in {"missing", "created"}


def test_a_password_that_only_its_owner_may_read_is_refused_with_the_uid(new_stack: Stacks) -> None:
    with new_stack() as stack:
        (stack.folder / "secrets/postgres_password").chmod(0o600)
        stack.up(code=1)
        assert "uid 10001, cannot read it" in stack.logs("prepare")
        assert "chmod 644" in stack.logs("prepare")


def test_a_wrong_setting_stops_everything_with_all_of_them_named(new_stack: Stacks) -> None:
    with new_stack(BACKUP_JOBS="many", BACKUP_TIMEZONE="Mars", LOG_FORMAT="json") as stack:
        stack.up(code=1)
        (said,) = objects(stack.logs("migrate"))
        assert said["event"] == "backup settings"
        assert "BACKUP_JOBS" in str(said["message"])
        assert "BACKUP_TIMEZONE" in str(said["message"])
        assert stack.state("migrate") == "exited 2"
        assert stack.state("backend").split()[0] in {"missing", "created"}


def test_a_folder_that_cannot_be_given_to_the_service_is_named_with_the_uid(new_stack: Stacks) -> None:
    with new_stack() as stack:
        override = "services:\n  {}: {{volumes: ['./data/backups:/backups:ro']}}\n"
        names = ("prepare", "migrate", "backend", "beat")
        text = "services:\n" + "".join(override.format(name).removeprefix("services:\n") for name in names)
        (stack.folder / "read-only.yml").write_text(text)
        stack.files = ("docker-compose.yml", "read-only.yml")
        stack.up(code=1)
        assert "cannot be given to uid 10001" in stack.logs("prepare")
        assert "is on a read-only file system" in stack.logs("migrate")
        assert "Traceback" not in stack.logs("migrate")


def test_a_full_disk_is_told_and_leaves_nothing_half_done(new_stack: Stacks) -> None:
    with new_stack(BACKUP_MIN_FREE_MB="0") as stack:
        (stack.folder / "small.yml").write_text(
            "services:\n"
            + "".join(
                f"  {name}: {{volumes: ['small:/backups']}}\n" for name in ("prepare", "migrate", "backend", "beat")
            )
            + "volumes:\n  small:\n    driver: local\n"
            "    driver_opts: {type: tmpfs, device: tmpfs, o: 'size=12m,uid=10001,gid=10001,mode=0700'}\n"
        )
        stack.files = ("docker-compose.yml", "small.yml")
        stack.up()
        stack.sql(LARGE.replace("1500000", "300000"))
        shown = stack.sh("docker-compose exec -T backend residency-backup create manual", code=14)
        assert "space" in shown
        call(stack)
        story = "docker-compose logs backend | grep -i backup | grep BackupStorageError"
        eventually("the log tells", lambda: stack.sh(story, code=None), 60)
        assert stack.partials() == []
        assert stack.backups() == []


def test_the_image_alone_lists_every_setting_that_is_missing(image: str) -> None:
    done = docker("run", "--rm", "-e", "BACKUP_JOBS=0", image, check=False)
    assert done.returncode == 2
    assert "DATABASE_URL: missing" in done.stderr
    assert "BACKUP_JOBS" in done.stderr
    done = docker("run", "--rm", "-e", "LOG_FORMAT=json", image, check=False)
    assert done.returncode == 2
    assert "DATABASE_URL: missing" in json.loads(done.stderr)["message"]
    done = docker("run", "--rm", image, "residency-backup", "create", "manual", check=False)
    assert done.returncode == 2
    assert "no backups yet" in docker("run", "--rm", image, "residency-backup", "list").stdout, "it needs files alone"


def test_the_image_has_clients_of_every_major_and_no_server() -> None:
    for major in range(14, 19):
        for program in ("pg_dump", "pg_dumpall", "psql", "pg_restore", "pg_basebackup", "pg_verifybackup"):
            path = f"/usr/lib/postgresql/{major}/bin/{program}"
            assert f"(PostgreSQL) {major}." in docker("run", "--rm", IMAGE, path, "--version").stdout
    found = docker("run", "--rm", IMAGE, "find", "/", "-name", "postgres", "-type", "f", check=False)
    assert found.stdout == ""


def test_the_service_joins_a_scheduler_that_runs_already(new_stack: Stacks) -> None:
    with new_stack() as theirs, new_stack() as ours:
        theirs.sh("docker-compose up -d db redis")
        eventually("their database is ready", theirs.is_healthy("db"), 60)
        eventually("their broker is ready", theirs.is_healthy("redis"), 60)
        theirs.sql(LARGE.replace("1500000", "1000"))
        ours.set(COMPOSE_FILE="docker-compose.residency.yml", RESIDENCY_NETWORK=f"{theirs.project}_default")
        ours.sh("docker-compose up -d")
        shown = ours.sh("docker-compose exec -T backup residency-backup check", code=3)
        assert "there is no verified backup" in shown
        ours.sh("docker-compose exec -T backup celery -A tasks call backup.daily")
        story = "docker-compose logs backup | grep -i backup"
        eventually("a backup of their database", lambda: "backup verified" in ours.sh(story, code=None), 60)
        services = ours.sh("docker-compose config --services").split()
        assert sorted(services) == ["backup", "backup-beat", "backup-migrate", "backup-prepare"]
        lines = ours.sh("docker-compose exec -T backup residency-backup list --json")
        assert len(json.loads(lines)) == 1
        started = time.monotonic()
        ours.sh("docker-compose stop")
        assert time.monotonic() - started < 60
