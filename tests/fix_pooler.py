"""A real pgbouncer in front of a server of the tests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from app.embedded.postgres import EmbeddedPostgres, default_launcher
from app.embedded.server import environment, free_port, wait_until
from tests.fix_postgres import open_folder

_SETTINGS = """
[databases]
{databases}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
logfile = {folder}/log
"""


def pgbouncer() -> str:
    """The program; the test is skipped where the machine has none."""
    found = shutil.which("pgbouncer", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")
    if found is None:
        pytest.skip("no pgbouncer on this machine: apt-get install pgbouncer")
    return found


@contextmanager
def pooled(server: EmbeddedPostgres, databases: dict[str, str]) -> Iterator[str]:
    """A pgbouncer for the length of a block; gives the beginning of a URL that only lacks the database's name.

    Args:
        server: what stands behind it.
        databases: names, with what pgbouncer's settings say of each.
    """
    program = pgbouncer()
    behind = f"host=127.0.0.1 port={server.port} user=postgres password={server.password}"
    lines = "\n".join(f"{name} = {behind} {options}" for name, options in databases.items())
    with open_folder() as folder:
        folder.chmod(0o777)  # it runs as another user, and writes its log
        port = free_port()
        settings = folder / "pgbouncer.ini"
        settings.write_text(_SETTINGS.format(databases=lines, port=port, folder=folder))
        argv = [*default_launcher().prefix, program, "-q", str(settings)]
        with subprocess.Popen(argv, env=environment(), stderr=subprocess.DEVNULL) as process:
            try:
                url = f"postgresql://postgres@127.0.0.1:{port}/"
                if not wait_until(lambda: _answers(url + next(iter(databases))), 10):
                    pytest.fail(f"pgbouncer does not answer: {_said(folder / 'log')}")
                yield url
            finally:
                process.terminate()


def _answers(url: str) -> bool:
    with suppress(psycopg.OperationalError), psycopg.connect(url):
        return True
    return False


def _said(log: Path) -> str:
    return log.read_text() if log.exists() else "it said nothing"
