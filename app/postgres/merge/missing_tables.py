"""Hints about tables of the backup that the live database lacks: a merge creates no tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from shlex import quote

from app.archive.index import TableName
from app.domain.changes import MergeRequest
from app.postgres.quoting import quoted

_BARE = re.compile(r"[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*")  # a name that pg_dump -t takes literally without quotes
_MOST = 0.5  # of the backup's tables; with more missing, it is another database, or one that lost everything


def way_to_tables(
    lacking: Sequence[TableName], absent: Sequence[TableName], of: int, request: MergeRequest, database: str
) -> str:
    """The hint of a merge that is refused because of missing tables.

    Args:
        lacking: missing tables with rows.
        absent: all missing tables.
        of: number of tables in the backup.
        request: the merge.
        database: name of the live one.
    """
    restore = f"residency-backup restore {quote(request.backup or 'latest')} --mode replace"
    if len(absent) > _MOST * of:
        check = "is --into right?" if request.into else "is DATABASE_URL right?"
        into = f" --into {quote(request.into)}" if request.into else ""
        question = f"{database} lacks {len(absent)} of the backup's {of} tables: {check} If it is: "
        return f"{question}{restore}{into} --confirm {quote(database)}"
    named = (str(table) if _BARE.fullmatch(str(table)) else quoted(*table) for table in lacking)
    options = " ".join(f"-t {quote(table)}" for table in named)
    # These commands create empty tables, which the merge then fills.
    return (
        f"create them first (docs/restore.md, 'One table'): {restore} --into staging --confirm staging; "
        f"pg_dump -s -d staging {options} -f table.sql; "
        f"psql -X -v ON_ERROR_STOP=1 -1 -d {quote(database)} -f table.sql; "
        "then merge again. Or choose other tables (--table)"
    )
