"""Which sequences a dump sets, and to what."""

from __future__ import annotations

import io

from app.archive.reader import Archive, build_index
from app.domain.backup import Codec
from app.postgres.merge.sequences import SequencePosition, sequences_in

DUMP = rb"""--
-- PostgreSQL database dump
--

SET client_encoding = 'UTF8';

--
-- Name: it's; Type: SEQUENCE SET; Schema: public; Owner: me
--

SELECT pg_catalog.setval('public."it''s"', 7, true);

--
-- Name: SELECT pg_catalog.setval('public.other', 99, true);; Type: SEQUENCE SET; Schema: public; Owner: me
--

SELECT pg_catalog.setval('public."SELECT pg_catalog.setval(''public.other'', 99, true);"', -1, false);

--
-- PostgreSQL database dump complete
--
"""


def test_a_sequence_is_set_by_its_statement_and_not_by_a_name_in_a_comment() -> None:
    archive = Archive(lambda: io.BytesIO(DUMP), Codec.NONE, build_index(io.BytesIO(DUMP), Codec.NONE))
    assert list(sequences_in(archive)) == [
        ("""public."it's\"""", SequencePosition(7, called=True)),
        ("""public."SELECT pg_catalog.setval('public.other', 99, true);\"""", SequencePosition(-1, called=False)),
    ]
