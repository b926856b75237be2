"""The text of a small dump with every kind of segment, and archives of it."""

from __future__ import annotations

import io

from app.archive.index import Index
from app.archive.scanner import scan
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec

DUMP = b"""--
-- PostgreSQL database dump
--

SET client_encoding = 'UTF8';
CREATE TABLE public.a (x int, y text);

--
-- Data for Name: a; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.a (x, y) FROM stdin;
1\tone
2\t\\\\.
\\.


--
-- Data for Name: e; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.e () FROM stdin;


\\.


--
-- Data for Name: n; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.n (x) FROM stdin;
\\.


--
-- Name: s; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.s', 1, true);


--
-- Name: a a_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.a ADD PRIMARY KEY (x);


--
-- PostgreSQL database dump complete
--

"""
PACKED = [Codec.GZIP, Codec.ZSTD]


def write(codec: Codec, text: bytes = DUMP, level: int | None = None) -> tuple[bytes, Index]:
    out = io.BytesIO()
    archive = ArchiveWriter(out, codec, level)
    archive.add(scan([text]))
    index = archive.finish()
    return out.getvalue(), index
