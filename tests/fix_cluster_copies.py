"""Servers whose clusters are copies: `initdb` and the residency scheduler's rows cost once a test run, not once a test.

A copy is a cluster of its own: it gets an identifier that no other server has, as `initdb` would give it.
"""

from __future__ import annotations

import fcntl
import secrets
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg import sql

from app.embedded.postgres import EmbeddedPostgres, Launcher
from demo.residency import fill

SMALL = "residency_small"  # the filled database of the clusters that have one
SCALE = 0.01
_ID_BYTES = 8
_ID_IN_WAL = slice(24, 24 + _ID_BYTES)  # XLogLongPageHeaderData: each segment begins with one
_CASTAGNOLI = 0x82F63B78


class CopiedPostgres(EmbeddedPostgres):
    """A server that begins with a copy of a cluster that was made once a test run."""

    filled = False

    def _initialise(self, launcher: Launcher, programs: Path) -> None:  # noqa: ARG002 -- the server's shape
        made = filled_cluster() if self.filled else empty_cluster()
        subprocess.run(["cp", "-a", made / "password", self._password_file], check=True)
        fresh = self.folder / "data.new"
        subprocess.run(["rm", "-rf", fresh], check=True)
        subprocess.run(["cp", "-a", made / "data", fresh], check=True)
        give_identity(fresh)
        fresh.rename(self._data)
        self._take_folder(launcher)


class FilledPostgres(CopiedPostgres):
    """Likewise, with the small residency scheduler in a database."""

    filled = True


def empty_cluster() -> Path:
    """The folder of a server as `initdb` makes it."""

    def make(folder: Path) -> None:
        with (
            EmbeddedPostgres(folder, fast=True) as server,
            psycopg.connect(server.url(), autocommit=True) as connection,
        ):
            # A password is hashed 4096 times for each connection, which is most of what one costs a test.
            connection.execute("SET scram_iterations = 1")
            connection.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(server.password))

    return once("cluster", make)


def filled_cluster() -> Path:
    """The folder of a server with a small residency scheduler."""

    def make(folder: Path) -> None:
        with CopiedPostgres(folder, fast=True) as server:
            make_small(server)

    return once("cluster-filled", make)


def make_small(server: EmbeddedPostgres, name: str = SMALL) -> None:
    """A small residency scheduler in a new database."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
    with psycopg.connect(server.url(name)) as connection:
        fill_small(connection)
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        connection.execute("VACUUM FULL assignments")


def fill_small(connection: psycopg.Connection) -> None:
    """The residency scheduler with few rows and half of its tables: each of them adds to what a restore costs."""
    fill(connection, scale=SCALE)
    connection.execute(
        "DROP TABLE absences, activities, activity_requirements, conflict_alerts, credentials, procedures,"
        " procedure_logs, rotation_templates, schedule_runs, template_half_days, audit_log_2025_02, audit_log_2025_03,"
        " audit_log_2025_04, audit_log_2025_05, audit_log_2025_06 CASCADE;"
        " SET CONSTRAINTS ALL IMMEDIATE; ALTER TABLE assignments DISABLE TRIGGER USER;"
        " DELETE FROM assignments one WHERE hashtext(id::text) % 10 <> 0 AND supersedes_id IS NULL"
        " AND NOT EXISTS (SELECT FROM assignments newer WHERE newer.supersedes_id = one.id)"
        " AND NOT EXISTS (SELECT FROM swap_requests asked"
        "                 WHERE (asked.block_id, asked.source_person_id) = (one.block_id, one.person_id));"
        " SET CONSTRAINTS ALL IMMEDIATE; ALTER TABLE assignments ENABLE TRIGGER USER"
    )


def once(name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first process of the test run which wants it makes, and the others take as it is."""
    folder = Path(tempfile.gettempdir(), name)
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fresh = Path(f"{folder}.new")
            make(fresh)
            fresh.rename(folder)
    return folder


def give_identity(data: Path) -> None:
    """Give a cluster that was shut down an identifier of its own, in its control file and its log."""
    control = data / "global" / "pg_control"
    content = bytearray(control.read_bytes())
    old, new = bytes(content[:_ID_BYTES]), secrets.randbits(62).to_bytes(_ID_BYTES, "little")
    end = _end_of_control(content)
    content[:_ID_BYTES] = new
    content[end : end + 4] = crc32c(content[:end]).to_bytes(4, "little")
    control.write_bytes(content)
    for segment in (each for each in (data / "pg_wal").iterdir() if each.is_file()):
        with segment.open("r+b") as file:
            if file.read(_ID_IN_WAL.stop)[_ID_IN_WAL] == old:
                file.seek(_ID_IN_WAL.start)
                file.write(new)


def _end_of_control(content: bytes) -> int:
    """Where the checksum of the control file stands: its place differs from major to major."""
    crc = 0xFFFFFFFF
    for end, byte in enumerate(content):
        if end > _ID_BYTES and content[end : end + 4] == (crc ^ 0xFFFFFFFF).to_bytes(4, "little"):
            return end
        crc = _next(crc, byte)
    raise ValueError("pg_control has no checksum of its content")


def crc32c(content: bytes) -> int:
    """The checksum that PostgreSQL uses."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _next(crc, byte)
    return crc ^ 0xFFFFFFFF


def _next(crc: int, byte: int) -> int:
    crc ^= byte
    for _ in range(8):
        crc = (crc >> 1) ^ (_CASTAGNOLI if crc & 1 else 0)
    return crc
