"""Loads an archive as its origin requires: ours directly, a foreign dump watched or as a role with few rights."""

from __future__ import annotations

from app.archive.reader import Archive
from app.ports.target import Advance, LoadOptions, LoadResult
from app.postgres.database import Database
from app.postgres.load.as_role import load_as
from app.postgres.load.loader import load
from app.postgres.load.server_changes import refuse_server_changes
from app.postgres.load.watched import watched_session


def load_by_origin(  # noqa: PLR0913 -- what a load takes, and the password of the foreign role
    database: Database,
    archive: Archive,
    options: LoadOptions,
    *,
    jobs: int,
    foreign_password: str | None,
    progress: Advance,
) -> LoadResult:
    """Load an archive into an empty database; see `app.ports.target.Target.load`.

    Args:
        database: the empty one.
        archive: of ours, or any plain dump with the index that was built of it.
        options: whether the archive is foreign, and as which role it is loaded.
        jobs: number of connections.
        foreign_password: of the role in `options`; None leaves it to libpq.
        progress: called with the number of bytes of row data sent.
    """
    path = options.search_path
    if options.role is None and not options.foreign:
        return load(database, archive, jobs, progress, path, analyzed=not options.analyzed_by_proof)
    with refuse_server_changes(database, database.name):
        if options.role is None:
            return load(database, archive, jobs, progress, path, session_factory=watched_session)
        return load_as(database, (options.role, foreign_password), archive, jobs, progress, path)
