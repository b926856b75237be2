"""Beside a scheduler's own stack: docs/beside-a-scheduler.md is followed to the letter, then everything is tried."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fix_compose import ROOT, Stack, docker, eventually

pytestmark = pytest.mark.timeout(900)

DOCUMENT = (ROOT / "docs/beside-a-scheduler.md").read_text()
THEIRS = "/srv/residency-scheduler"
DB_PASSWORD, REDIS_PASSWORD = "p@ss/w:rd#1%", "r3dis?p@ss"
TABLES = """
    CREATE TABLE heartbeats (id bigserial PRIMARY KEY, at timestamptz NOT NULL, by text NOT NULL DEFAULT 'backend');
    CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO people SELECT g, md5(g::text) FROM generate_series(1, 5000) g;
    CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
    INSERT INTO alembic_version VALUES ('a1b2c3');"""
CONTENT = "SELECT count(*), md5(string_agg(p::text, ',' ORDER BY id)) FROM people p"
VECTORS = """
    CREATE EXTENSION IF NOT EXISTS vector;
    CREATE TABLE embeddings (id int PRIMARY KEY, v vector(3));
    INSERT INTO embeddings SELECT g, ARRAY[g, g + 1, g + 2]::vector FROM generate_series(1, 200) g;
    CREATE INDEX ON embeddings USING hnsw (v vector_l2_ops);"""


def commands(heading: str) -> list[str]:
    """The lines of the code blocks below a heading of the document, up to the next one."""
    section = re.split(rf"^#+ {re.escape(heading)}$", DOCUMENT, flags=re.MULTILINE)[1]
    section = re.split(r"^#+ ", section, maxsplit=1, flags=re.MULTILINE)[0]
    return [line.strip() for line in section.splitlines() if line.startswith("    ") and line.strip()]


@dataclass
class Beside:
    """The scheduler's stack, and ours."""

    scheduler: Stack
    ours: Stack

    def follow(self, lines: list[str], *, code: int | None = 0) -> str:
        """Run lines of the document in our folder."""
        return "".join(self.ours.sh(self._placed(line), code=code) for line in lines)

    def sql(self, statement: str, database: str = "residency_scheduler") -> str:
        """What a query on the scheduler's server gives."""
        quoted = statement.replace('"', '\\"').replace("$", "\\$")
        line = f'docker-compose exec -T db psql -XqtA -v ON_ERROR_STOP=1 -U scheduler -c "{quoted}" {database}'
        return self.scheduler.sh(line).strip()

    def cli(self, words: str, *, code: int | None = 0) -> str:
        """A verb of ours."""
        return self.ours.sh(f"docker-compose exec -T backup residency-backup {words}", code=code)

    def _placed(self, line: str) -> str:
        return line.replace(THEIRS, str(self.scheduler.folder))


@pytest.fixture(scope="module")
def beside(
    image: str, compose_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Beside]:
    """Both stacks, ours as the document's five minutes leave it."""
    folder = tmp_path_factory.mktemp("scheduler")
    for name in ("docker-compose.yml", "application.py"):
        shutil.copy(Path(__file__).parent / "scheduler" / name, folder)
    (folder / ".env").write_text(
        f"COMPOSE_FILE=docker-compose.yml\nDB_PASSWORD={DB_PASSWORD}\nREDIS_PASSWORD={REDIS_PASSWORD}\n"
    )
    if docker("image", "inspect", "pgvector/pgvector:pg15", check=False).returncode:
        docker("tag", "postgres:17", "pgvector/pgvector:pg15")  # no registry: what stands in for it knows no vectors
    scheduler = Stack(folder, f"rbscheduler{os.getpid()}", compose_environment)
    ours_folder = tmp_path_factory.mktemp("beside")
    for name in ("docker-compose.yml", "docker-compose.residency.yml"):
        shutil.copy(ROOT / name, ours_folder)
    shutil.copytree(ROOT / "deploy", ours_folder / "deploy")
    ours = Stack(ours_folder, f"rbbeside{os.getpid()}", compose_environment)
    both = Beside(scheduler, ours)
    try:
        scheduler.sh("docker-compose up -d")
        eventually("its database answers", scheduler.is_healthy("db"), 120)
        both.sql(TABLES)
        steps = commands("Adopt it in five minutes")
        at = next(number for number, line in enumerate(steps) if "up -d" in line)
        both.follow(steps[:at])
        network = f"{scheduler.project}_app-network"
        ours.sh(f"sed -i 's/^RESIDENCY_NETWORK=.*/RESIDENCY_NETWORK={network}/' .env")
        both.follow(steps[at : at + 1])
        eventually("the worker is ready", lambda: "ready." in docker("logs", ours.container("backup")).stdout, 90)
        shown = both.follow(steps[at + 1 : at + 2], code=None)
        assert "no backup yet" in shown or "warning" in shown, shown
        yield both
    finally:
        with contextlib.suppress(AssertionError):
            ours.sh("docker-compose down --volumes --remove-orphans --timeout 5", code=None)
            docker("run", "--rm", "--user", "root", "--entrypoint", "sh", "-v", f"{ours_folder}:/folder", image,
                   "-c", "rm -rf /folder/data*", check=False)  # fmt: skip
        scheduler.sh("docker-compose down --volumes --remove-orphans --timeout 5", code=None)


def test_the_five_minutes_end_with_a_backup_that_was_restored(beside: Beside) -> None:
    steps = commands("Adopt it in five minutes")
    at = next(number for number, line in enumerate(steps) if "create manual" in line)
    beside.follow([line for line in steps[at:] if "exec -T backup" in line])
    assert beside.sql(CONTENT, "proof") == beside.sql(CONTENT)
    (drop,) = [line for line in steps[at:] if "dropdb" in line]
    beside.scheduler.sh(drop)


def test_a_replace_and_a_merge_beside_the_working_application(beside: Beside) -> None:
    content = beside.sql(CONTENT)
    beside.cli("create manual")
    beside.sql("DELETE FROM people WHERE id > 2500; UPDATE people SET name = 'wrong' WHERE id < 10")
    beside.cli("restore latest-manual --mode merge --table people --confirm residency_scheduler", code=None)
    assert beside.sql(CONTENT) == content
    beside.sql("DROP TABLE people CASCADE")
    beside.cli("restore latest-manual --mode replace --confirm residency_scheduler", code=None)
    assert beside.sql(CONTENT) == content
    before = beside.sql("SELECT count(*) FROM heartbeats")
    eventually("it works on", lambda: int(beside.sql("SELECT count(*) FROM heartbeats")) > int(before), 60)
    story = beside.ours.sh("docker-compose logs --no-log-prefix backup | grep -i restore", code=None)
    assert "restore completed" in story or "restore completed" in beside.ours.logs("backup")


def test_the_scheduler_s_workers_are_paused_meanwhile_and_go_on(beside: Beside) -> None:
    section = commands("Pause the scheduler while the database is restored")
    settings = [line for line in section if line.startswith("RESTORE_") and "celery-workers" in line]
    with (beside.ours.folder / ".env").open("a") as env:
        env.write("".join(f"{line}\n" for line in settings))
    beside.ours.sh("docker-compose up -d")
    eventually("the worker is ready", lambda: "ready." in docker("logs", beside.ours.container("backup")).stdout, 90)
    worker = f"celery@{beside.scheduler.container('celery-worker')[:12]}"
    content = beside.sql(CONTENT)
    beside.cli("create manual")
    beside.sql("DELETE FROM people WHERE id > 2500")
    plan = beside.cli("restore latest-manual --mode replace --dry-run", code=None)
    assert "RESTORE_BEFORE_COMMAND runs /usr/local/bin/celery-workers" in plan
    before = beside.sql("SELECT max(id) FROM heartbeats WHERE by = 'worker'")
    beside.cli("restore latest-manual --mode replace --confirm residency_scheduler")
    assert beside.sql(CONTENT) == content
    printed = beside.ours.sh('docker-compose logs --no-log-prefix backup | grep "restore command"')
    assert f"{worker}: no longer consuming from celery" in printed
    assert f"{worker}: add consumer celery" in printed
    later = f"SELECT count(*) > 0 FROM heartbeats WHERE by = 'worker' AND id > {before}"
    eventually("the worker goes on", lambda: beside.sql(later) == "t", 60)
    (resume,) = [line for line in section if line.endswith("celery-workers resume") and line.startswith("docker")]
    assert worker in beside.follow([resume])


def test_an_address_of_the_network_is_a_command_too_and_its_failure_a_warning(beside: Beside) -> None:
    env = beside.ours.folder / ".env"
    was = env.read_text()
    page = re.search(r"^    mkdir -p hooks .*?>> \.env$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert page is not None
    beside.ours.sh(re.sub(r"^    ", "", page[0], flags=re.MULTILINE))
    beside.ours.sh("docker-compose up -d")
    eventually("the worker is ready", lambda: "ready." in docker("logs", beside.ours.container("backup")).stdout, 90)
    merge = "restore latest-manual --mode merge --table people --confirm residency_scheduler"
    beside.cli(merge)
    beside.scheduler.sh("docker-compose stop --timeout 1 backend")
    assert "RESTORE_AFTER_COMMAND: after failed" in beside.cli(merge, code=3)
    beside.scheduler.sh("docker-compose start backend")
    env.write_text(was)


def test_a_task_that_is_called_makes_the_daily_backup(beside: Beside) -> None:
    beside.ours.sh("docker-compose exec -T backup celery -A tasks call backup.daily")
    eventually("a daily backup", lambda: "daily/backup-" in beside.cli("list", code=None), 120)


def test_a_full_backup_after_the_documented_line(beside: Beside) -> None:
    for line in commands("What to change in the scheduler's stack"):
        beside.scheduler.sh(line)
    beside.cli("create full", code=None)
    assert "full/backup-full-" in beside.cli("list", code=None)
    beside.cli("verify latest-full")


def test_vectors_come_back_with_docker_s_little_shared_memory(beside: Beside) -> None:
    if beside.sql("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'") == "0":
        pytest.skip("the stand-in's server has no pgvector")
    beside.sql(VECTORS)
    content = beside.sql("SELECT md5(string_agg(v::text, ',' ORDER BY id)) FROM embeddings")
    beside.cli("create manual")
    beside.sql("DROP TABLE embeddings")
    beside.cli("restore latest-manual --mode replace --confirm residency_scheduler", code=None)
    assert beside.sql("SELECT md5(string_agg(v::text, ',' ORDER BY id)) FROM embeddings") == content


def test_passwords_in_files(beside: Beside) -> None:
    kept = re.compile(r"^(POSTGRES_PASSWORD|POSTGRES_PASSWORD_FILE|SECRET_POSTGRES_PASSWORD|CELERY_BROKER_PASSWORD)=")
    env = beside.ours.folder / ".env"
    env.write_text("".join(line for line in env.read_text().splitlines(keepends=True) if not kept.match(line)))
    beside.follow(commands("Passwords in files")[:5])
    beside.ours.sh("docker-compose up -d")
    eventually("the worker is ready", lambda: "ready." in docker("logs", beside.ours.container("backup")).stdout, 90)
    beside.cli("create manual")
    assert DB_PASSWORD not in beside.ours.sh("docker-compose config", code=None)


def test_a_lost_database_server_is_restored_into_a_new_one(beside: Beside) -> None:
    content = beside.sql(CONTENT)
    beside.cli("create daily")
    beside.scheduler.sh("docker-compose stop db && docker-compose rm -f -v db")
    docker("volume", "rm", f"{beside.scheduler.project}_postgres_data")
    beside.scheduler.sh("docker-compose up -d db")
    eventually("its database answers", beside.scheduler.is_healthy("db"), 120)
    beside.cli("restore latest --mode replace --confirm residency_scheduler", code=None)
    assert beside.sql(CONTENT) == content
