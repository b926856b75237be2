"""What migration tools recorded is read off an archive's rows."""

from __future__ import annotations

import io

from app.archive import reader
from app.archive.inspect.versions import recorded_versions
from app.archive.reader import Archive
from app.domain.backup import Codec

DUMP = rb"""--
-- PostgreSQL database dump
--

SET client_encoding = 'UTF8';

COPY public.alembic_version (version_num) FROM stdin;
a1
b2
\.

COPY public.flyway_schema_history (installed_rank, version, script) FROM stdin;
1	1	V1.sql
2	\N	R__\\x\ty.sql
3	2.1\tx	V2.sql
4
\.

COPY public.migrations (id, title) FROM stdin;
1	of the birds
\.

--
-- PostgreSQL database dump complete
--

"""


def archive(text: bytes) -> Archive:
    return Archive(lambda: io.BytesIO(text), Codec.NONE, reader.build_index(io.BytesIO(text), Codec.NONE))


def test_tables_of_tools_are_read_and_others_are_not() -> None:
    found = {
        str(table.name): (table.tool.tool, table.column, table.versions) for table in recorded_versions(archive(DUMP))
    }
    assert found == {
        "public.alembic_version": ("Alembic", "version_num", {"a1", "b2"}),
        "public.flyway_schema_history": ("Flyway", "version", {"1", "2.1\tx"}),
    }
