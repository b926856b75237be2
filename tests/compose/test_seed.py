"""The documented procedures, to the letter, on the stack that is shipped."""

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.fix_compose import Stack, docker, eventually

pytestmark = pytest.mark.timeout(900)

TABLES = """
CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, note text);
INSERT INTO people SELECT g, 'name ' || g, CASE g % 3 WHEN 0 THEN NULL ELSE E'a\\tb\\nc ü ' || g END
    FROM generate_series(1, 20000) g;
CREATE TABLE shifts (id bigserial PRIMARY KEY, person int REFERENCES people, day date);
INSERT INTO shifts (person, day) SELECT g % 20000 + 1, date '2025-01-01' + g % 365 FROM generate_series(1, 30000) g;
CREATE FUNCTION double(int) RETURNS int LANGUAGE sql AS $$ SELECT $1 * 2 $$;
"""
CONTENT = (
    "SELECT md5(string_agg(p::text, ',' ORDER BY id)) || (SELECT count(*) FROM shifts) || double(21) FROM people p"
)


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., contextlib.AbstractContextManager[Stack]]) -> Iterator[Stack]:
    """A running stack with some rows, and no .env: the defaults must do."""
    with new_stack() as made:
        made.up()
        made.sql(TABLES)
        yield made


@pytest.fixture
def content(stack: Stack) -> str:
    """What the rows are, before something happens to them."""
    return stack.sql(CONTENT)


def lose_everything(stack: Stack) -> None:
    stack.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def restored(stack: Stack, file: str) -> str:
    """The content of a backup, restored by psql into an empty database."""
    stack.sql("DROP DATABASE IF EXISTS proof", "postgres")
    stack.sql("CREATE DATABASE proof TEMPLATE template0", "postgres")
    read = f"docker-compose exec -T backend cat /backups/{file}"
    stack.sh(f"{read} | docker-compose exec -T db psql -X -q -v ON_ERROR_STOP=1 -U postgres proof")
    return stack.sql(CONTENT, "proof")


def test_everything_is_healthy_and_what_runs_once_has_ended_well(stack: Stack) -> None:
    for service in ("db", "redis", "backend", "beat"):
        eventually(f"{service} is healthy", stack.is_healthy(service), 150)
    assert [stack.state(each) for each in ("prepare", "migrate")] == ["exited 0"] * 2


def test_ours_run_as_an_ordinary_user_who_can_write_nothing_but_backups(stack: Stack) -> None:
    for service in ("backend", "beat"):
        inside = f"docker-compose exec -T {service} sh -c"
        assert stack.sh(f"{inside} 'id -u; id -g'").split() == ["10001", "10001"]
        assert "Read-only file system" in stack.sh(f"{inside} 'touch /srv/residency-backup/x'", code=1)
        assert "CapEff:\t0000000000000000" in stack.sh(f"{inside} 'cat /proc/1/status'")
        assert "NoNewPrivs:\t1" in stack.sh(f"{inside} 'cat /proc/1/status'")
    assert stack.sh("docker-compose exec -T backend stat -c '%u %a' /backups").split() == ["10001", "700"]


def test_nothing_is_published_so_no_port_can_be_taken(stack: Stack) -> None:
    for service in ("db", "redis", "backend", "beat"):
        ports = docker("inspect", "-f", "{{json .HostConfig.PortBindings}}", stack.container(service)).stdout.strip()
        assert ports in {"{}", "null"}


def test_the_password_is_in_no_environment(stack: Stack) -> None:
    for service in ("db", "backend", "beat"):
        assert "4711" not in docker("inspect", stack.container(service)).stdout


def test_a_manual_backup_restores(stack: Stack, content: str) -> None:
    stack.at_a_terminal("docker-compose exec db pg_dump -U postgres residency_scheduler > backup.sql")
    lose_everything(stack)
    stack.sh("docker-compose exec -T db psql -U postgres residency_scheduler < backup.sql")
    assert stack.sql(CONTENT) == content


def test_a_manual_backup_is_exact_without_a_terminal(stack: Stack, content: str) -> None:
    stack.sh("docker-compose exec -T db pg_dump -U postgres residency_scheduler > exact.sql")
    assert b"\r" not in (stack.folder / "exact.sql").read_bytes()
    lose_everything(stack)
    stack.sh("docker-compose exec -T db psql -v ON_ERROR_STOP=1 -U postgres residency_scheduler < exact.sql")
    assert stack.sql(CONTENT) == content


def test_a_compressed_manual_backup_restores(stack: Stack, content: str) -> None:
    stack.at_a_terminal("docker-compose exec db pg_dump -U postgres residency_scheduler | gzip > backup.sql.gz")
    lose_everything(stack)
    stack.sh("gzip -dc backup.sql.gz | docker-compose exec -T db psql -U postgres residency_scheduler")
    assert stack.sql(CONTENT) == content


def test_a_task_is_called_and_its_story_is_in_the_log(stack: Stack, content: str) -> None:
    stack.at_a_terminal("docker-compose exec backend celery -A tasks call backup.daily")
    day = datetime.now(UTC).date()
    eventually("a daily backup", lambda: stack.backups("daily/*.sql") == [f"daily/backup-{day}.sql"], 60)
    story = "docker-compose logs backend | grep -i backup"
    eventually("it is told", lambda: "backup verified" in stack.sh(story), 30)
    for event in ("backup started", "backup created", "Task backup.daily"):
        assert event in stack.sh(story)
    assert restored(stack, f"daily/backup-{day}.sql") == content


def test_a_restore_through_the_worker_and_its_story(stack: Stack, content: str) -> None:
    stack.sql("DELETE FROM shifts")
    words = '{"backup": "latest", "mode": "replace", "confirm": "residency_scheduler"}'
    stack.sh(f"docker-compose exec -T backend celery -A tasks call restore.run --kwargs '{words}'")
    story = "docker-compose logs backend | grep -i restore"
    eventually("it is told", lambda: "restore completed" in stack.sh(story), 60)
    assert "restore started" in stack.sh(story)
    assert stack.sql(CONTENT) == content


def test_migrations_run_by_the_documented_command(stack: Stack) -> None:
    shown = stack.at_a_terminal("docker-compose exec backend alembic upgrade head")
    assert "Traceback" not in shown
    assert "(head)" in stack.sh("docker-compose exec -T backend alembic current")


def test_beat_makes_the_daily_backup_when_it_is_due(stack: Stack, content: str) -> None:
    due = datetime.now(UTC) + timedelta(seconds=75)
    stack.sql(f"INSERT INTO shifts (person, day) SELECT 1, '{due.date()}'")
    content = stack.sql(CONTENT)
    stack.set(BACKUP_DAILY_CRON=f"{due.minute} {due.hour} * * *", BACKUP_COMPRESSION="gzip")
    stack.sh("docker-compose up -d")
    name = f"daily/backup-{due.date()}.sql.gz"
    eventually("beat's backup", lambda: name in stack.backups(), 180)
    assert "backup created" in stack.sh("docker-compose logs backend | grep -i backup")
    assert name.removesuffix(".gz") not in stack.backups()  # that of the same day is replaced
    read = f"docker-compose exec -T backend gzip -dc /backups/{name}"
    stack.sql("DROP DATABASE IF EXISTS proof", "postgres")
    stack.sql("CREATE DATABASE proof TEMPLATE template0", "postgres")
    stack.sh(f"{read} | docker-compose exec -T db psql -X -q -v ON_ERROR_STOP=1 -U postgres proof")
    assert stack.sql(CONTENT, "proof") == content


def test_a_full_backup_of_the_folder_brings_everything_back(stack: Stack, content: str) -> None:
    listed = stack.sh("docker-compose exec -T backend residency-backup list --json")
    stack.sh("docker-compose down")
    stack.sh("tar -czvf backup-full.tar.gz ./data")
    stack.up()
    lose_everything(stack)
    stack.sh("docker-compose exec -T backend sh -c 'rm -rf /backups/daily'")

    stack.sh("docker-compose down")
    stack.sh("mv data data.before")
    stack.sh("tar -xzvf backup-full.tar.gz")
    stack.up()
    stack.at_a_terminal("docker-compose exec backend alembic upgrade head")
    assert stack.sql(CONTENT) == content
    assert stack.sh("docker-compose exec -T backend residency-backup list --json") == listed
    stack.sh("docker-compose exec -T backend residency-backup verify --all")


def test_a_full_backup_unpacked_by_another_user_gets_its_owners_back(stack: Stack, content: str) -> None:
    """As an ordinary user tar makes all files that user's."""
    stack.sh("docker-compose down")
    stack.sh("mv data data.owned && tar -xzf backup-full.tar.gz --no-same-owner")
    docker("run", "--rm", "--user", "root", "--entrypoint", "chown", "-v", f"{stack.folder}/data:/data",
           "residency-backup:under-test", "-R", "4242:4242", "/data")  # fmt: skip
    stack.up()
    assert stack.sql(CONTENT) == content
    stack.sh("docker-compose exec -T backend residency-backup verify --all")
    started = time.monotonic()
    stack.sh("docker-compose exec -T backend residency-backup create manual")
    assert time.monotonic() - started < 60
