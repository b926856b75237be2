r"""Finds calls that pg_depend does not record, because the functions are the server's own.

Functions that look up a name, or whose result may change over time, are found in the trees of expressions only. The
SQL is a part of `query`.
"""

from __future__ import annotations

from app.postgres.dump.search_path.trials import BROKEN
from app.postgres.server_facts import DUMPED

_FIRST_OF_USERS = 16384  # FirstNormalObjectId
# Functions in C with a text argument that may be a name to look up (crosstab). dblink is never called in a trial.
SPEAKING = "(provolatile <> 'i' AND 'text'::regtype = ANY (proargtypes::oid[]) AND proname !~ '^dblink')"
_LOOKING = "^(to_reg|regclass$|ts_stat$|ts_rewrite$|(query|table|schema|cursor|database)_to_xml)"
_LOOKS_UP = f"p.pronamespace = 'pg_catalog'::regnamespace AND proname ~ '{_LOOKING}'"
_REGS = "24|2202|2203|2204|2205|2206|3734|3769|4089|4096|4191"  # oids of regproc … regcollation
_DATED = 1184  # timestamptz
_CALLED = r":(?:funcid|opfuncid) (\d+) "
_SOME_TEXT = r"\{(?:COERCEVIAIO|SQLVALUEFUNCTION) "  # a fast filter
_BY_TEXT = rf"\{{COERCEVIAIO .*type ({_REGS}|{_DATED}) |\{{SQLVALUEFUNCTION "
# Materialized views, and the views that they read.
_FILLED = """
    WITH RECURSIVE filled(relation) AS (
        SELECT oid FROM pg_class WHERE relkind = 'm' AND relispopulated
        UNION SELECT refobjid FROM filled JOIN pg_rewrite r ON ev_class = relation
            JOIN pg_depend ON classid = 'pg_rewrite'::regclass AND objid = r.oid
                AND refclassid = 'pg_class'::regclass)"""
SEEDS = rf"""{_FILLED}
    SELECT 'pg_constraint'::regclass::oid AS class, k.oid AS id, p.oid AS function FROM pg_constraint k
        CROSS JOIN LATERAL regexp_matches(conbin::text, '{_CALLED}', 'g') called(function)
        JOIN pg_proc p ON p.oid = called.function[1]::oid AND provolatile <> 'i'
    WHERE contype = 'c' AND convalidated
    UNION ALL SELECT 'pg_constraint'::regclass, oid, 0 FROM pg_constraint
    WHERE contype = 'c' AND convalidated AND conbin::text ~ '{_SOME_TEXT}' AND conbin::text ~ '{_BY_TEXT}'
    UNION ALL SELECT 'pg_rewrite'::regclass, r.oid, p.oid
    FROM (SELECT oid, ev_action FROM pg_rewrite WHERE ev_class IN (SELECT * FROM filled) OFFSET 0) r  -- no other tree
        JOIN pg_proc p ON {_LOOKS_UP} AND strpos(ev_action::text, format(':funcid %s ', p.oid)) > 0
    WHERE ev_action::text ~ (SELECT format(':funcid (%s) ', string_agg(p.oid::text, '|'))
                               FROM pg_proc p WHERE {_LOOKS_UP})"""
NAMING = f"""
    SELECT FROM pg_attribute WHERE atttypid = 'regclass'::regtype AND attnum > 0 AND NOT attisdropped
        AND attrelid >= {_FIRST_OF_USERS}"""
NO_COLUMNS = "'{}'::text[]"
_BREAKING = f"'CAST(CASE WHEN (%s) IS FALSE THEN ''{BROKEN}'' ELSE ''0'' END AS pg_catalog.int4)'"
# An expression that fails for a row for which a check is false. The database has another name during a restore.
CHECKED = f"""format({_BREAKING}, replace(replace(pg_get_expr(conbin, conrelid),
                   'current_database()', '(''restored''::name)'), 'CURRENT_CATALOG', '(''restored''::name)'))"""
_INDEXES = f"SELECT oid FROM pg_catalog.pg_class WHERE relkind IN (''i'', ''I'') AND oid >= {_FIRST_OF_USERS}"
# A restore creates an index after the rows that name it are loaded.
NAMED = f"""
        SELECT 'pg_class'::regclass, c.oid, ARRAY[]::oid[], 'column', format('%I.%I.%I', n.nspname, c.relname, attname),
               c.oid, format({_BREAKING}, format('NOT %I IN ({_INDEXES})', attname)), ARRAY[attname::text]
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid AND relkind = 'r'
            JOIN pg_namespace n ON n.oid = relnamespace
        WHERE atttypid = 'regclass'::regtype AND attnum > 0 AND NOT attisdropped AND {DUMPED}"""
# Those of the functions that are users' own: a dump holds settings of them.
OWN = f"""ARRAY(SELECT f::regprocedure::text FROM unnest(functions) f WHERE f >= {_FIRST_OF_USERS} AND NOT EXISTS (
               SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = f AND deptype = 'e') ORDER BY 1)"""
