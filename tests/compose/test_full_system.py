"""The full-system backup on the stack that is shipped, and a lost server that comes back from it."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from tests.fix_compose import Stack, eventually

pytestmark = pytest.mark.timeout(900)

ROWS = "CREATE TABLE people AS SELECT g AS id, md5(g::text) AS name FROM generate_series(1, 20000) g"
CONTENT = "SELECT md5(string_agg(p::text, ',' ORDER BY id)) FROM people p"


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., contextlib.AbstractContextManager[Stack]]) -> Iterator[Stack]:
    """A running stack with some rows."""
    with new_stack() as made:
        made.up()
        made.sql(ROWS)
        made.sql("CREATE ROLE scheduler LOGIN; GRANT SELECT ON people TO scheduler")
        yield made


def test_a_lost_server_comes_back_from_a_full_backup(stack: Stack) -> None:
    content = stack.sql(CONTENT)
    stack.sh("docker-compose exec -T backend celery -A tasks call backup.full")
    name = f"full/backup-full-{datetime.now(UTC).date()}"
    eventually("a full backup", lambda: stack.backups("full/*") == [f"{name}.tar.gz"], 120)
    eventually("it is told", lambda: "backup created" in stack.sh("docker-compose logs backend | grep -i backup"), 30)
    stack.sh(f"docker-compose exec -T backend residency-backup verify {name}")

    stack.sh("docker-compose down")
    stack.sh("mv data data.before && mkdir data && cp -a data.before/backups data/")
    stack.sh("docker-compose run --rm --no-deps prepare")
    target = "/backups/laid-out"
    stack.sh(
        f"docker-compose run --rm --no-deps -T backend residency-backup restore-full latest-full --target {target}"
    )
    stack.sh("mv data/backups/laid-out/postgres data/postgres")
    stack.up()
    assert stack.sql(CONTENT) == content
    assert stack.sql("SELECT has_table_privilege('scheduler', 'people', 'SELECT')") == "t"
    stack.sh("docker-compose exec -T backend residency-backup create manual")
    stack.sh("docker-compose exec -T backend residency-backup verify --all")


def test_a_dropped_database_is_restored_by_hand_and_the_log_of_the_worker_tells_it(stack: Stack) -> None:
    content = stack.sql(CONTENT)
    stack.sh("docker-compose exec -T backend residency-backup create daily")
    stack.sql("DROP DATABASE residency_scheduler WITH (FORCE)", "postgres")
    restore = "residency-backup restore latest --mode replace --confirm residency_scheduler"
    stack.sh(f"docker-compose exec -T backend {restore}")
    assert stack.sql(CONTENT) == content
    story = stack.sh("docker-compose logs backend | grep -i restore")
    for event in ("restore started", "restore proven", "restore completed"):
        assert event in story


def test_another_password_is_taken_as_documented(stack: Stack) -> None:
    stack.sh("head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \\n' > secrets/postgres_password")
    stack.sh(
        "echo \"ALTER ROLE postgres PASSWORD '$(cat secrets/postgres_password)'\""
        " | docker-compose exec -T db psql -qU postgres"
    )
    stack.sh("docker-compose restart backend beat")
    stack.sh("docker-compose exec -T backend residency-backup create manual")
