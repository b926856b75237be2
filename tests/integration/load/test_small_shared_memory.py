"""A server in a container with Docker's little shared memory: what is built in parallel is built without workers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.domain.backup import Tier
from app.domain.restore import Method, Mode
from app.embedded.postgres import Launcher, default_launcher
from app.embedded.server import environment
from app.errors import RestoreStorageError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.restore.job import RestoreOutcome
from app.operations.restore.request import RestoreRequest
from app.operations.restore.run import restore
from app.postgres.database import Database
from app.postgres.programs import ProgramError, output_of
from app.postgres.session import restore_session
from tests.fix_archives import as_role
from tests.fix_cluster_copies import CopiedPostgres
from tests.fix_postgres import TestDatabase, scratch_database
from tests.fix_service import make_site
from tests.tiers import THOROUGH

pytestmark = THOROUGH  # few have what it takes

# A /dev/shm of its own for the server, as a container has; then the server's user, who is not root.
_SMALL = 'mount -t tmpfs -o size=16m tmpfs /dev/shm && exec unshare --user --map-user=1000 --map-group=1000 "$@"'
_IN_A_CONTAINER = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _SMALL, "sh")
_CONTENT = """
    CREATE EXTENSION vector;
    CREATE TABLE notes (id int PRIMARY KEY, near vector(3));
    INSERT INTO notes SELECT g, ARRAY[g, g % 7, 1]::vector FROM generate_series(1, 200) g;
    CREATE TABLE said (id int PRIMARY KEY, note int REFERENCES notes);
    INSERT INTO said SELECT g, g FROM generate_series(1, 200) g;
    SET max_parallel_maintenance_workers = 0;
    CREATE INDEX by_nearness ON notes USING hnsw (near vector_l2_ops)"""


class ContainedPostgres(CopiedPostgres):
    """A server that takes a table of any size for large enough to build its indexes in parallel."""

    def _options(self, sockets: Path) -> list[str]:
        parallel = ("min_parallel_table_scan_size=0", "parallel_setup_cost=0", "parallel_tuple_cost=0")
        # Its socket would stand in our /dev/shm, which it does not see.
        return [*super()._options(sockets), "--unix_socket_directories=", *(f"--{each}" for each in parallel)]


@pytest.fixture(scope="module")
def contained() -> Iterator[TestDatabase]:
    """A database with an index that is built in parallel."""
    try:
        output_of([*_IN_A_CONTAINER, "true"], environment())
    except ProgramError as error:
        pytest.skip(f"no /dev/shm of its own can be made for a server here: {error.message}")
    launcher = Launcher(prefix=_IN_A_CONTAINER, owner=default_launcher().owner)
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as folder,
        ContainedPostgres(Path(folder) / "pg", fast=True, launcher=launcher) as server,
        scratch_database(server) as database,
    ):
        Path(folder).chmod(0o755)
        database.execute(_CONTENT)
        database.execute(f"CREATE ROLE keeper LOGIN PASSWORD 'secret'; ALTER DATABASE {database.name} OWNER TO keeper")
        database.execute("ALTER TABLE notes OWNER TO keeper; ALTER TABLE said OWNER TO keeper")
        yield database


def test_what_is_built_in_parallel_is_built_again_without_workers(contained: TestDatabase, tmp_path: Path) -> None:
    site = make_site(contained, tmp_path / "backups", filled=False)
    taken = take_backup(site.service(), BackupRequest(tier=Tier.MANUAL))
    assert taken is not None

    def lose() -> None:
        contained.execute("DELETE FROM said WHERE id <= 50")

    def run(mode: Mode, url: str = contained.url) -> RestoreOutcome:
        service = site.service(DATABASE_URL=url)
        done = restore(service, RestoreRequest.parse(service, taken.backup.id, mode=mode, confirm=contained.name))
        assert contained.query("SELECT count(*) FROM said") == [(200,)]
        assert contained.query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_nearness'::regclass") == [
            (True,)
        ]
        return done

    lose()
    with capture_logs() as logged:
        assert run(Mode.REPLACE).restore.method is Method.SHADOW
    (warned,) = [line for line in logged if line["event"] == "restore goes on without parallel workers"]
    assert "could not resize shared memory segment" in warned["reason"]
    assert "shm_size" in warned["hint"]

    lose()
    run(Mode.MERGE)

    # All in one transaction, which the failure of a part must not end.
    lose()
    assert run(Mode.REPLACE, as_role(contained.url, "keeper")).restore.method is Method.IN_PLACE


def test_where_nothing_else_can_be_done_the_hint_is_not_the_disk(contained: TestDatabase) -> None:
    with (
        restore_session(Database.from_url(contained.url), 1) as found,
        pytest.raises(RestoreStorageError) as caught,
        found.translated("index by_nearness"),
    ):
        found.connection.execute("REINDEX INDEX by_nearness")
    assert "shm_size" in caught.value.hint
    assert "disk" not in caught.value.hint
