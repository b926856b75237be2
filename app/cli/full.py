"""The verb that lays a full backup out. A file's path is enough: it may be all that is left."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import click

from app.bootstrap import EVENTS, full_programs
from app.cli.output import full as show
from app.cli.output.progress import progress
from app.cli.session import WARNINGS, Session, as_json
from app.errors import BackupPermissionError
from app.operations.full_restore.run import FullSource
from app.operations.full_restore.run import restore_full as lay_out
from app.operations.full_restore.source import full_from_file, full_from_tree, no_such
from app.operations.given_file import require_plain


@click.command("restore-full")
@click.argument("file", metavar="FILE|ID")
@click.option("--target", required=True, type=click.Path(path_type=Path), help="A folder that is missing or empty.")
@as_json
@click.pass_obj
def restore_full(session: Session, file: str, *, target: Path, as_json: bool) -> int:
    """Lay a full backup out in an empty folder, check it, and say what to start. No running server is touched."""
    source = _source(session, file)
    with progress(quiet=as_json) as bars:
        done = lay_out(source, target, full_programs(), EVENTS, bars)
    show.laid_out(done, as_json=as_json)
    return WARNINGS if done.warnings else 0


def _source(session: Session, file: str) -> FullSource:
    """A path needs no settings, which may be lost with the server."""
    path = Path(file)
    try:
        found = path.stat()
    except PermissionError as error:
        if path.is_absolute():
            hint = "let this user enter its folder, or become one who may"
            raise BackupPermissionError(f"{path} may not be looked at: {error.strerror}", hint) from error
        found = None  # it may be an id, given in a folder that this user may not enter
    except (OSError, ValueError):
        found = None
    if found is not None and stat.S_ISREG(found.st_mode):
        session.log_plainly()
        return full_from_file(path, EVENTS)
    if found is not None and (path.is_absolute() or not stat.S_ISDIR(found.st_mode)):
        require_plain(path)  # it is none, and this says what it is
    if path.is_absolute() or (file.startswith(".") and os.sep in file):
        raise no_such(file)
    return full_from_tree(session.service, file)


COMMANDS: tuple[click.Command, ...] = (restore_full,)
