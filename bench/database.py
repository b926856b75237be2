"""The database that is measured: pgbench's accounts, and wide rows as a hospital's schedule has them."""

from __future__ import annotations

import psycopg

from demo.residency import fill

ACCOUNTS = 6_000_000  # pgbench -s 60
ASSIGNMENTS = 1_500_000
_SCHEMA = """
CREATE TABLE accounts (aid int NOT NULL, bid int, abalance int, filler char(84));
CREATE TABLE assignments (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  person_id uuid NOT NULL, supervisor_id uuid, block_id integer NOT NULL, rotation text NOT NULL, site text NOT NULL,
  status text NOT NULL, shift smallint NOT NULL, on_call boolean NOT NULL, night boolean NOT NULL,
  starts_at timestamptz NOT NULL, ends_at timestamptz NOT NULL, hours numeric(5,2) NOT NULL, credit numeric(8,3),
  score double precision, load double precision, notes text, tags text[], details jsonb, external_ref text,
  version integer NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, created_on date NOT NULL)
"""
_ACCOUNTS = "INSERT INTO accounts SELECT i, (i - 1) / 100000 + 1, 0, '' FROM generate_series(1, %s) i"
_ASSIGNMENTS = """
INSERT INTO assignments (person_id, supervisor_id, block_id, rotation, site, status, shift, on_call, night, starts_at,
  ends_at, hours, credit, score, load, notes, tags, details, external_ref, version, created_at, updated_at, created_on)
SELECT md5((i %% 1200)::text)::uuid, md5((i %% 97)::text)::uuid, i %% 730,
  (ARRAY['Intensive care','Ward A','Ward B','Clinic','Night float','Emergency','Elective','Research'])[1 + i %% 8],
  (ARRAY['Main hospital','North campus','Children''s'])[1 + i %% 3],
  (ARRAY['planned','confirmed','worked','swapped'])[1 + i %% 4],
  i %% 3, i %% 5 = 0, i %% 7 = 0, t, t + (8 + i %% 17) * interval '1 hour', 8 + i %% 17,
  (i %% 9973) / 7.0, sqrt(i), sin(i),
  'Handover to the ' || (ARRAY['day','evening','night'])[1 + i %% 3] || ' team at ' || (i %% 24) || ':00; pager '
    || (1000 + i %% 8999) || CASE WHEN i %% 11 = 0 THEN E'\\nAsked for a swap: see message ' || i ELSE '' END,
  ARRAY['pgy' || (1 + i %% 5), 'block ' || i %% 26],
  jsonb_build_object('source', 'import', 'row', i, 'approved', i %% 2 = 0),
  'EXT-' || lpad(to_hex(i * 2654435761 %% 4294967296), 8, '0'), 1 + i %% 4,
  t - interval '30 days', t - (i %% 30) * interval '1 day', (t - interval '30 days')::date
FROM (SELECT i, timestamptz '2019-01-01 07:00+00' + i * interval '131.25 seconds' AS t
      FROM generate_series(1::bigint, %s) i) AS g
"""
_AFTER = """
ALTER TABLE accounts ADD PRIMARY KEY (aid);
CREATE INDEX assignments_person_starts ON assignments (person_id, starts_at);
CREATE INDEX assignments_block ON assignments (block_id)
"""
_SMALL = """
DO $$ BEGIN FOR i IN 1..124 LOOP
  EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, a text, b timestamptz DEFAULT ''2025-01-01'')', i);
  EXECUTE format('INSERT INTO t%s SELECT j, repeat(md5(j::text), 2) FROM generate_series(1, 900) j', i);
  EXECUTE format('CREATE INDEX ON t%s (a)', i);
END LOOP; END $$
"""
_MEGABYTES = 50.6  # of SQL that the demo's rows are at scale 1
_TABLES = 124
# What the demo lacks beside a real scheduler: the many small tables.
_MORE = """
DO $$ BEGIN FOR i IN 1..%s LOOP
  EXECUTE format('CREATE TABLE catalog_%%s (id int PRIMARY KEY, name text, at timestamptz DEFAULT ''2025-01-01'')', i);
  EXECUTE format('INSERT INTO catalog_%%s SELECT j, md5(j::text) FROM generate_series(1, 50) j', i);
  EXECUTE format('CREATE INDEX ON catalog_%%s (name)', i);
END LOOP; END $$
"""
_COUNT = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname <> 'information_schema'
"""


def build(url: str, scale: float) -> int:
    """Fill an empty database; return its number of rows. Scale 1: 1.2 GB of SQL, 7.5 million rows."""
    rows = int(ACCOUNTS * scale), int(ASSIGNMENTS * scale)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off; SET TimeZone = 'UTC'")
        connection.execute(_SCHEMA)
        connection.execute(_ACCOUNTS, (rows[0],))
        connection.execute(_ASSIGNMENTS, (rows[1],))
        for statement in _AFTER.split(";"):
            connection.execute(statement)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    return sum(rows)


def build_scheduler(url: str, megabytes: float) -> None:
    """Fill an empty database with a residency scheduler of 124 tables, about so many megabytes of SQL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        fill(connection, scale=megabytes / _MEGABYTES)
        counted = connection.execute(_COUNT).fetchone()
        connection.execute(_MORE % (_TABLES - (counted[0] if counted else 0)))
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def build_small(url: str) -> None:
    """Add 124 tables, 10 MB of SQL, which stand beside what is measured."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_SMALL)
        connection.execute("VACUUM ANALYZE")
