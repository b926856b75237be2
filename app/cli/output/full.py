"""What the command line prints of full backups."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from app import documents
from app.archive.tar.layout import GLOBALS, PATHS, POSTGRES, SETTINGS
from app.cli.output.messages import document, warn
from app.cli.output.text import say
from app.operations.full_restore.run import FullRestoreOutcome

_PG_SUBSCRIPTION = "6100"  # its oid, and so its file until somebody rewrites it


def laid_out(done: FullRestoreOutcome, *, as_json: bool) -> None:
    """Where everything stands, what to start, and what to do next."""
    start = shlex.join(done.start)
    if as_json:
        document(documents.full_restore(done, start, list(_next(done))))
        return
    proof = "its manifest and " if done.source.manifest else ""
    say(f"{done.target}: laid out, and checked by {proof}pg_verifybackup {done.verified_by}")
    for line in ("", "start a server on it:", "", f"    {start}", "", "next:"):
        say(line)
    for number, line in enumerate(_next(done), start=1):
        say(f"  {number}. {line}")
    warn(done.warnings)


def may_subscribe(data: Path) -> bool:
    """Whether a server on this folder may have subscriptions; the file is empty if there never were any."""
    try:
        return (data / "global" / _PG_SUBSCRIPTION).stat().st_size > 0
    except OSError:
        return True


def _next(done: FullRestoreOutcome) -> Iterator[str]:
    data = done.target / POSTGRES
    if may_subscribe(data):
        yield (
            "subscriptions go to work as the server starts, and take rows from their publishers that the old server "
            "then never gets: unless that is gone for good, start with -o '-c max_logical_replication_workers=0'"
        )
    if os.geteuid() == 0:
        yield (
            f"PostgreSQL does not run as root: chown postgres {shlex.quote(str(done.target))}; "
            f"chown -R postgres {shlex.quote(str(data))}; "
            "let that user enter the folders above it, and start the server as postgres"
        )
    if not (data / "postgresql.conf").exists():
        yield f"its configuration stood elsewhere: put postgresql.conf, pg_hba.conf and pg_ident.conf into {data}"
    yield "if the old server still runs, give this one another port: add -o '-p 5433'"
    yield "look at the data, then let the application use this server"
    beside = done.target / PATHS
    for path in done.paths:
        yield f"put {path} back in its place, {path.as_posix().removeprefix(beside.as_posix())}"
    if not done.paths and beside.is_dir():
        yield f"put back in its place what is in {beside}: each stands there under its whole path"
    if not done.owners_kept:
        yield f"not all in {beside} has its owner, whom this user may not set: 'tar -tvf' of the backup shows each"
    yield f"the service's settings are in {done.target / SETTINGS}: fill in the secrets"
    yield f"{done.target / GLOBALS} is for another server; this one has its roles"
