"""Large tables as a dump sees them, made up."""

from __future__ import annotations

from app.archive.index import TableName
from app.postgres.dump.ranges import LargeTable


def table(pages: int, size: int | None = None) -> LargeTable:
    return LargeTable(
        table=TableName("public", "t"),
        columns=("a", "b c"),
        relfilenode=4711,
        pages=pages,
        size=pages * 8192 if size is None else size,
        qualified=b"public.t",
        listed=b'a, "b c"',
        pattern=b'"public"."t"',
        title=b"Name: t; Type: TABLE DATA; Schema: public; Owner: o",
    )
