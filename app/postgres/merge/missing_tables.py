"""What to do about tables of the backup that the live database lacks: no merge makes a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from shlex import quote

from app.archive.index import TableName
from app.domain.changes import MergeRequest
from app.postgres.quoting import quoted

_BARE = re.compile(r"[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*")  # what pg_dump takes for itself, unquoted
_MOST = 0.5  # of the backup's tables: then it is another database, or one that lost everything


def way_to_tables(
    lacking: Sequence[TableName], absent: Sequence[TableName], of: int, request: MergeRequest, database: str
) -> str:
    """The hint of a merge that is refused for them.

    Args:
        lacking: the tables whose rows have no place.
        absent: all tables of the backup that are not there.
        of: how many the backup has.
        request: the merge.
        database: the one that lacks them.
    """
    restore = f"residency-backup restore {quote(request.backup or 'latest')} --mode replace"
    if len(absent) > _MOST * of:
        right = "is --into right?" if request.into else "is DATABASE_URL right?"
        into = f" --into {quote(request.into)}" if request.into else ""
        told = f"{database} lacks {len(absent)} of the backup's {of} tables: {right} If it is: "
        return f"{told}{restore}{into} --confirm {quote(database)}"
    named = (str(each) if _BARE.fullmatch(str(each)) else quoted(*each) for each in lacking)
    options = " ".join(f"-t {quote(each)}" for each in named)
    # They come back empty: the merge fills them, and what their rows refer to.
    return (
        f"bring them back first (docs/restore.md, 'One table'): {restore} --into staging --confirm staging; "
        f"pg_dump -s -d staging {options} -f table.sql; "
        f"psql -X -v ON_ERROR_STOP=1 -1 -d {quote(database)} -f table.sql; "
        "then merge again. Or choose other tables (--table)"
    )
