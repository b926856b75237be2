-- What a server spells otherwise once it was restored, and what looks like it and is not: see app/archive/words.py.
CREATE DOMAIN reworded_code AS varchar(5) DEFAULT 'x' CHECK (VALUE IN ('x', 'y'));
CREATE DOMAIN reworded_share AS numeric CHECK (VALUE BETWEEN 0 AND 10 AND VALUE <> 5);
CREATE TABLE reworded (
    id int PRIMARY KEY,
    v varchar(20) NOT NULL DEFAULT 'a',
    tx text,
    n numeric(10, 2) DEFAULT 0,
    f float8,
    sm smallint,
    arr varchar(10)[] DEFAULT ARRAY['a', 'b'],
    code reworded_code CHECK (code IN ('x', 'y')),
    codes reworded_code[] CHECK (codes = ARRAY['x'::varchar, 'y']::reworded_code[]),
    ok bool,
    made text GENERATED ALWAYS AS (CASE WHEN v IN ('a', 'b') THEN 'x' ELSE v END) STORED,
    CHECK (v IN ('a', 'b')),
    CHECK (v NOT IN ('a', 'b') AND v LIKE ANY (ARRAY['a%', 'b%'])),
    CHECK (v IN ('a''b', 'e\f', 'ünï', '(ARRAY[', ')::text[]', '$a$')),
    CHECK (v = ANY (ARRAY['a', 'b']::varchar[]) AND v = ANY ('{a,b}'::varchar[]) AND v = ANY (arr || 'x'::varchar)),
    CHECK (tx::varchar(3) IN ('a', 'b') AND upper(v)::varchar IN ('A', 'B') AND tx IN ('a', 'b')),
    CHECK (n = ANY (ARRAY[1, 2]) AND n IN (1, 2, 3.5) AND f = ANY (ARRAY[1, -2]) AND n = ANY (ARRAY[id, sm])),
    CHECK (n = ANY (ARRAY[ARRAY[1, 2], ARRAY[3, id]]) AND v = ANY (ARRAY[lower(tx)::varchar, NULL, v])),
    CHECK (id BETWEEN 1 AND 5 AND n > 0),
    CHECK (n > 0 AND id BETWEEN 1 AND 5),
    CHECK (id NOT BETWEEN SYMMETRIC 5 AND 1 OR n > 0 AND (sm > 0 AND f > 0)),
    CHECK ((id, sm) = (1, 2) AND n > 0),
    CHECK (v IN ('a', tx, lower(tx)) OR (v IN ('c', 'd') AND tx IS NOT NULL)),
    CHECK ((v IN ('a', 'b')) = ok AND (n IS NULL) <> (tx IS NULL) AND NOT (id BETWEEN 3 AND 4 AND ok)),
    EXCLUDE USING btree (id WITH =) WHERE (v IN ('a', 'b'))
);
CREATE INDEX ON reworded (lower(v)) WHERE v IN ('a', 'b');
CREATE UNIQUE INDEX ON reworded ((v IN ('a', 'b')), (coalesce(v, 'a'))) WHERE id BETWEEN 1 AND 2 AND v IN ('a', 'b') AND ok;
CREATE FUNCTION reworded_trigger() RETURNS trigger LANGUAGE plpgsql AS $f$BEGIN  RETURN  NEW; END$f$;
CREATE TRIGGER reworded BEFORE UPDATE OF v ON reworded FOR EACH ROW
    WHEN (new.v IN ('a', 'b') AND (old.id BETWEEN 1 AND 2 AND new.n > 0)) EXECUTE FUNCTION reworded_trigger('x');
CREATE POLICY reworded ON reworded USING (v IN ('a', 'b')) WITH CHECK (id BETWEEN 1 AND 2 AND ok AND current_user = v);
CREATE RULE reworded AS ON UPDATE TO reworded WHERE new.v IN ('a', 'b')
    DO ALSO DELETE FROM reworded WHERE v IN ('q') OR id BETWEEN 1 AND 2 AND new.ok;
CREATE VIEW reworded_view AS
    WITH q AS MATERIALIZED (SELECT v, ok FROM reworded WHERE v IN ('a', 'b'))
    SELECT v IN ('a', 'b') AS one, count(*) FILTER (WHERE v IN ('c', 'd')) AS two,
           sum(count(*)) OVER (ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS three
    FROM q WHERE EXISTS (SELECT FROM reworded r WHERE r.v IN ('e', 'f') AND r.v = q.v) AND ok
    GROUP BY v HAVING max(v) IN ('a', 'b');
CREATE MATERIALIZED VIEW reworded_kept AS SELECT v, count(*) FROM reworded WHERE v IN ('a', 'b') GROUP BY v;
CREATE TABLE reworded_parts (k varchar(5), n int CHECK (k IN ('a', 'b') AND n BETWEEN 1 AND 2 AND n <> 3))
    PARTITION BY LIST (k);
CREATE TABLE reworded_part PARTITION OF reworded_parts FOR VALUES IN ('a', 'b');
CREATE FUNCTION reworded_atomic(x int, y varchar, w text[] DEFAULT ARRAY['a', 'b']::varchar[]) RETURNS bool LANGUAGE sql
    BEGIN ATOMIC SELECT y IN ('a', 'b') AND x BETWEEN 1 AND 2 AND y = ANY (w); END;
