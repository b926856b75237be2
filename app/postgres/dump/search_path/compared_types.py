"""Finds functions of users that a restore compares values by: in operator classes, range types and constraints.

No expression calls them. The server calls them to build an index, to find a row's partition, to read a range, and to
check a foreign key. So each is called in the same way, on values in the columns of a table. A type may also be stored
inside of another one: an array of ranges, a domain in a composite type.

The SQL is a part of `query`. In it, `VALUE` is a placeholder for an expression that is known later; the caller replaces
it by a random word, which no name can contain.
"""

from __future__ import annotations

from app.postgres.server_facts import DUMPED

VALUE = "<the value>"
_DEEPEST = 32  # nesting of composite types
# A table's largest partition.
LEAF = """(SELECT l.relid FROM pg_partition_tree(c.oid) l JOIN pg_class k ON k.oid = l.relid AND k.relkind = 'r'
            ORDER BY pg_relation_size(l.relid) DESC NULLS LAST LIMIT 1)"""


def _as_taken(value: str) -> str:
    """A value cast to the type of an operator class; a polymorphic class (anyarray) takes it unchanged."""
    return f"CASE typtype WHEN 'p' THEN '{value}' ELSE format('CAST({value} AS %s)', format_type(opcintype, NULL)) END"


def _unless_null(values: str, call: str) -> str:
    """A call for values that are not NULL: NULL is not compared."""
    return f"format('CASE WHEN pg_catalog.num_nulls({values}) = 0 THEN %s END', {call})"


_ONE = _as_taken(VALUE)
_TWO = f"{_ONE}, {_as_taken(f'coalesce(pg_catalog.lag({VALUE}) OVER (), {VALUE})')}"
_ENDS = f"pg_catalog.upper({VALUE}), pg_catalog.lower({VALUE})"
_BY_NUMBER = f"""CASE WHEN pronargs = 1 THEN format('%s(%s)', p.oid::regproc, {_ONE})
                    WHEN amname = 'hash' THEN format('%s(%s, 0)', p.oid::regproc, {_ONE})
                    ELSE format('%s(%s, %s)', p.oid::regproc, {_TWO}) END"""
_BY_OPERATOR = f"format('%s(%s, %s)', r.oid::regproc, {_TWO})"
_OF_ENDS = _unless_null(_ENDS, f"format('%s({_ENDS})', p.oid::regproc)")
_WITH_ITSELF = _unless_null(VALUE, f"format('%s({VALUE}, {VALUE})', r.oid::regproc)")
_SUPPORT = f"""
    support(opclass, method, type, usual, function, call) AS (
        SELECT c.oid, amname, opcintype, opcdefault, p.oid,
               CASE WHEN amname = 'btree' AND amprocnum = 4 THEN format('%s(%s::oid)', p.oid::regproc, opcintype)
                    ELSE {_unless_null(VALUE, _BY_NUMBER)} END
        FROM risky JOIN pg_proc p ON p.oid = risky.oid JOIN pg_amproc ON amproc = p.oid
            JOIN pg_opclass c ON opcfamily = amprocfamily AND opcintype = amproclefttype AND opcintype = amprocrighttype
            JOIN pg_type t ON t.oid = opcintype JOIN pg_am m ON m.oid = opcmethod
        WHERE pronargs <= 2 AND 'internal'::regtype <> ALL (proargtypes)
        UNION ALL
        SELECT c.oid, amname, opcintype, false, r.oid,
               {_unless_null(VALUE, _BY_OPERATOR)}
        FROM risky r JOIN pg_operator o ON oprcode = r.oid JOIN pg_amop ON amopopr = o.oid
            JOIN pg_opclass c ON opcfamily = amopfamily AND opcintype = amoplefttype AND opcintype = amoprighttype
            JOIN pg_type t ON t.oid = opcintype JOIN pg_am m ON m.oid = opcmethod AND amname = 'brin'),
    part(type, usage, function, call) AS (  -- of a type, where it is kept inside of another one too
        SELECT type, method, function, call FROM support WHERE usual
        UNION ALL SELECT rngtypid, 'gist', p.oid, {_OF_ENDS} FROM pg_range JOIN risky p ON p.oid = rngsubdiff
        UNION ALL SELECT rngtypid, 'read', r.oid, format('%s({VALUE})', r.oid::regproc)
        FROM pg_range JOIN risky r ON r.oid = rngcanonical
        UNION ALL SELECT rngtypid, 'read', p.oid, {_OF_ENDS}
        FROM pg_range JOIN support ON opclass = rngsubopc JOIN pg_proc p ON p.oid = function AND pronargs = 2)"""
# The first element that is not NULL: nothing is evaluated for NULL.
_ELEMENT = f"'(SELECT e FROM (SELECT pg_catalog.unnest({VALUE})) u(e) WHERE e IS DISTINCT FROM NULL LIMIT 1)'"
# Types, a type that is stored inside of each, and the expression that reads it; then columns of such types.
HOLDS = f"""{_SUPPORT},
    holds(type, kept, path, depth) AS (
        SELECT t, t, '{VALUE}' COLLATE "C", 0 FROM (
            SELECT type FROM part
            UNION SELECT contypid FROM object JOIN pg_constraint k ON class = 'pg_constraint'::regclass AND k.oid = id
            WHERE contypid <> 0) kept(t)
        UNION SELECT around.type, kept, replace(path, '{VALUE}', way COLLATE "C"), depth + 1
        FROM holds CROSS JOIN LATERAL (
            SELECT oid, '{VALUE}' FROM pg_type WHERE typbasetype = holds.type
            UNION ALL SELECT typarray, {_ELEMENT} FROM pg_type
            WHERE oid = holds.type AND typarray <> 0
            UNION ALL SELECT rngtypid, 'pg_catalog.lower({VALUE})' FROM pg_range WHERE rngsubtype = holds.type
            UNION ALL SELECT rngmultitypid, 'pg_catalog.range_merge({VALUE})' FROM pg_range WHERE rngtypid = holds.type
            UNION ALL SELECT reltype, format('({VALUE}).%I', attname)
            FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
            WHERE atttypid = holds.type AND attnum > 0 AND NOT attisdropped AND reltype <> 0) around(type, way)
        WHERE depth < {_DEEPEST}),
    stored(kept, path, relation, attname, size) AS (
        SELECT kept, path, c.oid, attname, coalesce(pg_relation_size(c.oid), 0)
        FROM holds JOIN pg_attribute ON atttypid = type
            JOIN pg_class c ON c.oid = attrelid AND relkind = 'r' JOIN pg_namespace n ON n.oid = relnamespace
        WHERE attnum > 0 AND NOT attisdropped AND {DUMPED})"""
_KEYS = f"""
    key(id, opclass, method, general, value, type) AS (
        SELECT indexrelid, c.oid, amname, typtype = 'p', '(' || pg_get_indexdef(indexrelid, at, true) || ')',
               coalesce(a.atttypid, e.atttypid)
        FROM pg_index CROSS JOIN LATERAL generate_series(1, indnkeyatts) at
            JOIN pg_opclass c ON c.oid = indclass[at - 1] JOIN pg_am m ON m.oid = opcmethod
            JOIN pg_type t ON t.oid = opcintype JOIN pg_attribute e ON e.attrelid = indexrelid AND e.attnum = at
            LEFT JOIN pg_attribute a ON a.attrelid = indrelid AND a.attnum = indkey[at - 1]
        WHERE indisvalid AND CASE WHEN typtype = 'p' THEN EXISTS (SELECT FROM part)
                             ELSE c.oid IN (SELECT opclass FROM support) END),
    key_call(id, function, call) AS (
        SELECT id, function, replace(call, '{VALUE}', value) FROM key JOIN support USING (opclass)
        UNION SELECT id, function, replace(call, '{VALUE}', replace(path, '{VALUE}', value))
        FROM key JOIN holds USING (type) JOIN part ON part.type = kept
            AND usage = CASE method WHEN 'gin' THEN 'btree' ELSE method END  -- which sorts an array's elements
        WHERE general)"""
_CALLS = f"""
    call(class, id, function, kind, name, relation, call, needs) AS (
        SELECT 'pg_class'::regclass::oid, i.oid, function, 'index', format('%I.%I', n.nspname, i.relname), c.oid, call,
               ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum = ANY (indkey))
        FROM key_call JOIN pg_index ON indexrelid = id JOIN pg_class i ON i.oid = id
            JOIN pg_class c ON c.oid = indrelid AND c.relkind IN ('r', 'm')
            JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {DUMPED}
        UNION ALL
        SELECT 'pg_type'::regclass, t.oid, function, 'range type', format('%I.%I', s.nspname, typname), u.relation,
               replace(call, '{VALUE}', replace(path, '{VALUE}', quote_ident(attname))), ARRAY[attname::text]
        FROM part JOIN pg_type t ON t.oid = part.type JOIN pg_namespace s ON s.oid = typnamespace
            JOIN LATERAL (SELECT * FROM stored WHERE kept = t.oid ORDER BY size DESC, relation LIMIT 1) u ON true
        WHERE usage = 'read'
        UNION ALL
        SELECT 'pg_class'::regclass, c.oid, function, 'partitions', format('of %I.%I', n.nspname, c.relname), {LEAF},
               replace(call, '{VALUE}', coalesce(quote_ident(attname), '(' || pg_get_expr(partexprs, c.oid) || ')')),
               ARRAY[attname::text]
        FROM pg_partitioned_table CROSS JOIN LATERAL generate_series(1, partnatts) at
            JOIN support ON opclass = partclass[at - 1]
            JOIN pg_class c ON c.oid = partrelid JOIN pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN pg_attribute ON attrelid = c.oid AND attnum = partattrs[at - 1]
        WHERE {DUMPED} AND (attnum IS NOT NULL OR partnatts = 1)
        UNION ALL
        SELECT 'pg_constraint'::regclass, k.oid, r.oid, 'foreign key',
               format('%I of %I.%I', conname, n.nspname, c.relname), c.oid,
               format('%s(%I, %I)', r.oid::regproc, attname, attname), ARRAY[attname::text]
        FROM pg_constraint k CROSS JOIN LATERAL unnest(conffeqop, conkey) key(operator, at)
            JOIN pg_operator o ON o.oid = operator JOIN risky r ON r.oid = oprcode
            JOIN pg_class c ON c.oid = conrelid AND relkind = 'r' JOIN pg_namespace n ON n.oid = relnamespace
            JOIN pg_attribute ON attrelid = conrelid AND attnum = at
        WHERE contype = 'f' AND convalidated AND {DUMPED}
        UNION ALL  -- hash, and what finds inexactly, asks of each row whether it is the one
        SELECT 'pg_constraint'::regclass, k.oid, r.oid, 'exclusion constraint',
               format('%I of %I.%I', conname, n.nspname, c.relname), c.oid,
               replace({_WITH_ITSELF}, '{VALUE}', pg_get_indexdef(conindid, at::int, true)), ARRAY[]::text[]
        FROM pg_constraint k CROSS JOIN LATERAL unnest(conexclop) WITH ORDINALITY key(operator, at)
            JOIN pg_operator o ON o.oid = operator JOIN risky r ON r.oid = oprcode
            JOIN pg_class c ON c.oid = conrelid AND c.relkind = 'r' JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE contype = 'x' AND {DUMPED})"""
CALLS = f"""{_KEYS}, {_CALLS},
    compared(class, id, functions, kind, name, relation, says, needs) AS (
        SELECT class, id, array_agg(DISTINCT function), kind, name, relation, string_agg(DISTINCT call, ', '), needs
        FROM call GROUP BY class, id, kind, name, relation, needs)"""
