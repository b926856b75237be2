"""The query that finds objects which a restore evaluates, or compares by, with functions of users."""

from __future__ import annotations

from app.postgres.dump.search_path.compared_types import CALLS, HOLDS, LEAF, VALUE
from app.postgres.dump.search_path.seeds import CHECKED, NAMED, NAMING, NO_COLUMNS, OWN, SEEDS, SPEAKING
from app.postgres.server_facts import DUMPED

# Functions that may rely on search_path: not the server's own, not most in C, and not those that set it themselves.
_RISKY = f"""
    SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace JOIN pg_language l ON l.oid = prolang
    WHERE nspname NOT IN ('pg_catalog', 'information_schema') AND nspname !~ '^pg_temp' AND prokind IN ('f', 'w')
        AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)  -- no expression can call these
        AND lanname <> 'internal' AND (lanname <> 'c' OR {SPEAKING})
        AND NOT EXISTS (SELECT FROM unnest(proconfig) setting WHERE setting LIKE 'search_path=%')"""
ANY = f"SELECT EXISTS ({_RISKY}) OR EXISTS ({SEEDS}) OR EXISTS ({NAMING})"
_USED = f"""
    risky AS ({_RISKY}),
    seed AS ({SEEDS}),
    called(class, id, function) AS (
        SELECT 'pg_proc'::regclass::oid, oid, oid FROM risky
        UNION ALL SELECT 'pg_operator'::regclass, o.oid, r.oid FROM pg_operator o JOIN risky r ON r.oid = oprcode
        UNION ALL SELECT 'pg_operator'::regclass, amopopr, r.oid FROM risky r JOIN pg_amproc ON amproc = r.oid
            JOIN pg_amop ON amopfamily = amprocfamily  -- to sort and to group
        UNION ALL SELECT 'pg_proc'::regclass, aggfnoid, r.oid FROM pg_aggregate
            JOIN risky r ON r.oid IN (aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn,
                                      aggmtransfn, aggminvtransfn, aggmfinalfn)),  -- the last three of a moving frame
    used(class, id, part, function) AS (
        (SELECT classid, objid, objsubid, function
         FROM pg_depend JOIN called ON refclassid = class AND refobjid = called.id
         UNION ALL SELECT class, id, 0, function FROM seed)
        UNION SELECT classid, objid, objsubid, function FROM used
            CROSS JOIN LATERAL (
                SELECT 'pg_class'::regclass, ev_class FROM pg_rewrite r
                WHERE class = 'pg_rewrite'::regclass AND r.oid = id
                UNION ALL SELECT 'pg_type'::regclass, contypid FROM pg_constraint k
                WHERE class = 'pg_constraint'::regclass AND k.oid = id AND contypid <> 0
                UNION ALL SELECT 'pg_type'::regclass, id WHERE class = 'pg_type'::regclass) source(class, id)
            JOIN pg_depend ON refclassid = source.class AND refobjid = source.id
                AND (classid <> used.class OR objid <> used.id)),
    object(class, id, part, functions) AS (
        SELECT class, id, part, array_agg(DISTINCT function) FROM used GROUP BY class, id, part)"""
_BEFORE_15 = (
    "current_setting('server_version_num')::int < 150000"  # there the column depends on what its expression calls
)
# Kind and name of each object, the table whose rows it is tried on, its expressions as SQL, and the columns they need.
_EVALUATED = f"""
    evaluated(class, id, functions, kind, name, relation, says, needs) AS (
        SELECT class, id, functions, 'generated column', format('%I.%I.%I', n.nspname, c.relname, attname), c.oid,
               pg_get_expr(adbin, adrelid), {NO_COLUMNS}
        FROM object o JOIN pg_attrdef d ON class = 'pg_attrdef'::regclass AND d.oid = id
                OR {_BEFORE_15} AND class = 'pg_class'::regclass AND id = adrelid AND part = adnum
            JOIN pg_attribute a ON attrelid = adrelid AND attnum = adnum AND attgenerated <> ''
            JOIN pg_class c ON c.oid = adrelid AND relkind = 'r' JOIN pg_namespace n ON n.oid = relnamespace
        WHERE {DUMPED}
        UNION ALL
        SELECT class, id, functions, 'index', format('%I.%I', n.nspname, i.relname), c.oid, concat_ws(', ',
               (SELECT string_agg(pg_get_indexdef(indexrelid, k, true), ', ') FROM generate_series(1, indnatts) k
                WHERE indkey[k - 1] = 0), pg_get_expr(indpred, indrelid)), {NO_COLUMNS}
        FROM object o JOIN pg_index x ON class = 'pg_class'::regclass AND indexrelid = id AND indisvalid
            JOIN pg_class i ON i.oid = indexrelid JOIN pg_class c ON c.oid = indrelid AND c.relkind IN ('r', 'm')
            JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {DUMPED} AND (indexprs IS NOT NULL OR indpred IS NOT NULL)
        UNION ALL
        SELECT class, id, functions, 'check', format('%I of %I.%I', conname, n.nspname, c.relname), c.oid,
               {CHECKED}, {NO_COLUMNS}
        FROM object o JOIN pg_constraint k ON class = 'pg_constraint'::regclass AND k.oid = id AND contype = 'c'
            AND convalidated  -- else it is made when the rows are there, and they are not looked at
            JOIN pg_class c ON c.oid = conrelid AND relkind = 'r' JOIN pg_namespace n ON n.oid = relnamespace
        WHERE {DUMPED}
        UNION ALL
        SELECT class, id, functions, 'statistics', format('%I.%I', s.nspname, stxname), c.oid,
               array_to_string(pg_get_statisticsobjdef_expressions(x.oid), ', '), {NO_COLUMNS}
        FROM object o JOIN pg_statistic_ext x ON class = 'pg_statistic_ext'::regclass AND x.oid = id
            JOIN pg_namespace s ON s.oid = stxnamespace
            JOIN pg_class c ON c.oid = stxrelid AND relkind IN ('r', 'm') JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {DUMPED}
        UNION ALL
        SELECT class, id, functions, 'partitions', format('of %I.%I', n.nspname, c.relname), {LEAF},
               pg_get_expr(partexprs, partrelid), {NO_COLUMNS}
        FROM object o JOIN pg_partitioned_table p ON class = 'pg_class'::regclass AND partrelid = id AND part = 0
            JOIN pg_class c ON c.oid = partrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {DUMPED} AND partexprs IS NOT NULL
        UNION ALL
        SELECT class, id, functions, 'materialized view', format('%I.%I', n.nspname, c.relname), c.oid,
               pg_get_viewdef(c.oid), {NO_COLUMNS}
        FROM object o JOIN pg_rewrite r ON class = 'pg_rewrite'::regclass AND r.oid = id
            JOIN pg_class c ON c.oid = ev_class AND relkind = 'm' AND relispopulated
            JOIN pg_namespace n ON n.oid = relnamespace
        WHERE {DUMPED}
        UNION ALL
        SELECT class, id, functions, 'domain', format('%I.%I', n.nspname, typname), u.relation,
               format('CAST(CAST(%s AS %s) AS %I.%I)', replace(path, '{VALUE}', quote_ident(attname)),
                      format_type(typbasetype, typtypmod), n.nspname, typname), ARRAY[attname::text]
        FROM object o JOIN pg_constraint k ON class = 'pg_constraint'::regclass AND k.oid = id AND convalidated
            JOIN pg_type t ON t.oid = contypid JOIN pg_namespace n ON n.oid = typnamespace
            JOIN LATERAL (SELECT * FROM stored WHERE kept = t.oid ORDER BY size DESC, relation LIMIT 1) u ON true
        UNION ALL {NAMED})"""
QUERY = f"""
    WITH RECURSIVE {_USED}, {HOLDS}, {_EVALUATED}, {CALLS},
    found AS (SELECT * FROM evaluated UNION ALL SELECT * FROM compared)
    SELECT kind, name, says, n.nspname, c.relname,
           (SELECT array_agg(DISTINCT attname::text) FROM pg_attribute
            WHERE attrelid = relation AND attgenerated = '' AND NOT attisdropped AND attnum > 0
                AND (attname = ANY (needs)
                     OR attnum IN (SELECT refobjsubid FROM pg_depend WHERE classid = class AND objid = id
                                   AND refclassid = 'pg_class'::regclass AND refobjid = relation))),
           ARRAY(SELECT f::regprocedure::text FROM unnest(functions) f WHERE f <> 0 ORDER BY 1),
           ARRAY(SELECT pg_get_userbyid(owner)::text FROM (
                     SELECT c.relowner AS owner, 0 AS at
                     UNION ALL SELECT proowner, 1 FROM pg_proc p WHERE p.oid = ANY (functions)) o ORDER BY at, owner),
           coalesce(pg_partition_root(c.oid), c.oid)::bigint,
           coalesce(pg_relation_size(c.oid) / current_setting('block_size')::int, 0), {OWN}
    FROM found JOIN pg_class c ON c.oid = relation JOIN pg_namespace n ON n.oid = c.relnamespace
    ORDER BY 10 DESC, name"""
