-- Undoes one merge. By hand, all or nothing: psql -X -1 -v ON_ERROR_STOP=1 -d DATABASE -f THIS_FILE
SET transaction_read_only = off;
SET client_encoding = 'UTF8';
SET DateStyle = ISO;
SET IntervalStyle = postgres;
SET extra_float_digits = 3;
SET xmloption = content;
SET row_security = off;
SET array_nulls = on;
SELECT pg_catalog.set_config(name, 'origin', false) FROM pg_catalog.pg_settings
    WHERE name OPERATOR(pg_catalog.=) 'session_replication_role' AND setting OPERATOR(pg_catalog.<>) 'origin';
SELECT pg_catalog.set_config('TimeZone', 'UTC', false);
SELECT pg_catalog.set_config('search_path', '"$user", public', false);
LOCK TABLE ONLY "public"."people" IN SHARE ROW EXCLUSIVE MODE;
CREATE TEMP TABLE pg_temp.undo_old_1 AS SELECT "id", "team", "name", 0 AS residency_backup_wave FROM ONLY "public"."people" WITH NO DATA;
COPY pg_temp.undo_old_1 ("id", "team", "name", residency_backup_wave) FROM stdin;
2	1	nobody	0
\.
CREATE TEMP TABLE pg_temp.undo_new_1 AS SELECT "id", "team", "name" FROM ONLY "public"."people" WITH NO DATA;
COPY pg_temp.undo_new_1 ("id", "team", "name") FROM stdin;
1	1	Ada
2	1	Grace
\.
DO $residency_backup$ BEGIN
IF EXISTS (SELECT FROM pg_temp.undo_new_1 r WHERE NOT EXISTS (SELECT FROM ONLY "public"."people" l WHERE r."id" OPERATOR(pg_catalog.=) l."id" AND ROW(r."id", r."team", r."name")::pg_catalog.record OPERATOR(pg_catalog.*=) ROW(l."id", l."team", l."name")::pg_catalog.record)) THEN RAISE EXCEPTION 'rows of public.people were changed since the merge'; END IF;
END $residency_backup$;
SET CONSTRAINTS ALL DEFERRED;
WITH d1 AS (DELETE FROM ONLY "public"."people" l USING pg_temp.undo_new_1 n WHERE l."id" OPERATOR(pg_catalog.=) n."id" AND NOT EXISTS (SELECT FROM pg_temp.undo_old_1 o WHERE n."id" OPERATOR(pg_catalog.=) o."id") RETURNING 1),
u1_0 AS (UPDATE ONLY "public"."people" l SET "team" = o."team", "name" = o."name" FROM pg_temp.undo_old_1 o JOIN pg_temp.undo_new_1 n ON n."id" OPERATOR(pg_catalog.=) o."id" WHERE l."id" OPERATOR(pg_catalog.=) n."id" AND o.residency_backup_wave OPERATOR(pg_catalog.=) 0 RETURNING 1),
i1 AS (INSERT INTO "public"."people" ("id", "team", "name") OVERRIDING SYSTEM VALUE SELECT o."id", o."team", o."name" FROM pg_temp.undo_old_1 o WHERE NOT EXISTS (SELECT FROM pg_temp.undo_new_1 n WHERE n."id" OPERATOR(pg_catalog.=) o."id") RETURNING 1)
SELECT ARRAY[(SELECT pg_catalog.count(*) FROM d1), (SELECT pg_catalog.count(*) FROM u1_0), (SELECT pg_catalog.count(*) FROM i1)];
SET CONSTRAINTS ALL IMMEDIATE;
DO $residency_backup$ BEGIN
IF EXISTS (SELECT FROM pg_temp.undo_old_1 r WHERE NOT EXISTS (SELECT FROM ONLY "public"."people" l WHERE r."id" OPERATOR(pg_catalog.=) l."id" AND ROW(r."id", r."team", r."name")::pg_catalog.record OPERATOR(pg_catalog.*=) ROW(l."id", l."team", l."name")::pg_catalog.record)) THEN RAISE EXCEPTION 'rows of public.people did not come back'; END IF;
END $residency_backup$;
SELECT pg_catalog.set_config('search_path', '', false);
