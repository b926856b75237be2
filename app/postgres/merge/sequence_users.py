"""Finds the tables that draw from each sequence, by the catalogs and by the text of functions.

The server records the owner of a sequence (serial, identity), and defaults, domains, rules and SQL functions that name
it as a sequence. It does not record names in text (``nextval('s'::text)``, the body of a trigger's function). That text
is read here, and is used if it can mean one sequence only.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from app.archive.index import TableName
from app.postgres.merge.session import MergeSession
from app.postgres.quoting import unquoted_name

_NAME = r'(?:"(?:[^"]|"")+"|[^\s".,();]+)'
_PARTS = re.compile(_NAME)
_CALL = re.compile(r"\bnextval\s*\(", re.IGNORECASE)
_NAMED = re.compile(r"\bnextval\s*\(\s*(?:\(\s*)?'((?:[^']|'')+)'(::regclass)?", re.IGNORECASE)
# A partition is represented by its root, as everywhere in a merge.
_ROOT = "(CASE WHEN c.relispartition THEN pg_partition_root(c.oid) ELSE c.oid END)"
_RECORDED = f"""
    WITH RECURSIVE domain(type, source) AS (
        SELECT oid, oid FROM pg_type WHERE typtype = 'd'
        UNION SELECT d.type, t.typbasetype FROM domain d JOIN pg_type t ON t.oid = d.source WHERE t.typtype = 'd'),
    call(relation, function) AS (
        SELECT adrelid, d.refobjid FROM pg_attrdef a
            JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
                AND d.refclassid = 'pg_proc'::regclass
        UNION SELECT tgrelid, tgfoid FROM pg_trigger WHERE NOT tgisinternal),
    named(class, object, sequence) AS (
        SELECT classid, objid, refobjid FROM pg_depend JOIN pg_sequence ON seqrelid = refobjid
        WHERE refclassid = 'pg_class'::regclass),
    uses(sequence, relation) AS (
        SELECT objid, refobjid FROM pg_depend JOIN pg_sequence ON seqrelid = objid
            WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i')
                AND refobjsubid > 0
        UNION SELECT sequence, adrelid FROM named JOIN pg_attrdef a ON class = 'pg_attrdef'::regclass AND a.oid = object
        UNION SELECT sequence, refobjid FROM named JOIN pg_depend
            ON class = 'pg_rewrite'::regclass AND classid = class AND objid = object
                AND refclassid = 'pg_class'::regclass
        UNION SELECT sequence, attrelid FROM named JOIN domain d ON class = 'pg_type'::regclass AND d.source = object
            JOIN pg_attribute ON atttypid = d.type AND NOT attisdropped
        UNION SELECT sequence, relation FROM named JOIN call ON class = 'pg_proc'::regclass AND function = object)
    SELECT DISTINCT sequence::bigint, n.nspname, t.relname
    FROM uses JOIN pg_class c ON c.oid = relation JOIN pg_class t ON t.oid = {_ROOT}
        JOIN pg_namespace n ON n.oid = t.relnamespace"""
_TEXTS = f"""
    WITH text(relation, what, says, parsed) AS (
        SELECT adrelid, 'the default of ' || attname, pg_get_expr(adbin, adrelid), true FROM pg_attrdef
            JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum WHERE attgenerated = ''
        UNION SELECT adrelid, 'the default of ' || attname || ' calls ' || f.oid::regproc || ', which', prosrc, false
            FROM pg_attrdef a
            JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
            JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
                AND d.refclassid = 'pg_proc'::regclass
            JOIN pg_proc f ON f.oid = d.refobjid
        UNION SELECT tgrelid, 'trigger ' || tgname || ' calls ' || f.oid::regproc || ', which', prosrc, false
            FROM pg_trigger JOIN pg_proc f ON f.oid = tgfoid WHERE NOT tgisinternal)
    SELECT n.nspname, t.relname, what, says, parsed
    FROM text JOIN pg_class c ON c.oid = relation JOIN pg_class t ON t.oid = {_ROOT}
        JOIN pg_namespace n ON n.oid = t.relnamespace
    WHERE says ~* 'nextval' ORDER BY 1, 2, 3"""
# Functions that no default or trigger calls: any session may call them.
_OTHERS = """
    SELECT prosrc FROM pg_proc f WHERE prosrc ~* 'nextval' AND pronamespace <> 'pg_catalog'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgfoid = f.oid)
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = f.oid AND deptype = 'e')
        AND NOT EXISTS (SELECT FROM pg_depend WHERE refclassid = 'pg_proc'::regclass AND refobjid = f.oid
            AND classid = 'pg_attrdef'::regclass)"""
_SEQUENCES = """
    SELECT c.oid::bigint, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'S'"""
_ANYBODY = TableName("", "")


@dataclass(slots=True)
class SequenceUsers:
    """The tables that draw from each sequence.

    Attributes:
        tables: by the sequence's oid; a nameless table stands for a function that any session may call.
        unknown: by table, expressions that draw from an unknown sequence, in words.
    """

    tables: defaultdict[int, set[TableName]] = field(default_factory=lambda: defaultdict(set))
    unknown: defaultdict[TableName, set[str]] = field(default_factory=lambda: defaultdict(set))

    def used_by(self, sequence: int, chosen: Collection[TableName]) -> bool:
        """Whether one of these tables draws from the sequence."""
        return not self.tables[sequence].isdisjoint(chosen)

    def used_by_others(self, sequence: int, chosen: Collection[TableName]) -> bool:
        """Whether another table draws from the sequence, or may."""
        unknown_elsewhere = any(table not in chosen for table in self.unknown)
        return unknown_elsewhere or not self.tables[sequence] <= set(chosen)


def sequence_users(session: MergeSession) -> SequenceUsers:
    """Read the users of all sequences."""
    users = SequenceUsers()
    for sequence, *table in session.query(_RECORDED, "sequences"):
        users.tables[sequence].add(TableName(*table))
    known: dict[TableName, int] = {
        TableName(schema, name): oid for oid, schema, name in session.query(_SEQUENCES, "sequences")
    }
    for schema, name, what, source, parsed in session.query(_TEXTS, "sequences"):
        _read(users, known, TableName(schema, name), (what, source), parsed=parsed)
    for (source,) in session.query(_OTHERS, "sequences"):
        _read(users, known, _ANYBODY, ("a function", source), parsed=False)
    return users


def _read(
    users: SequenceUsers, known: dict[TableName, int], table: TableName, text: tuple[str, str], *, parsed: bool
) -> None:
    """Note the sequences that a text names, given with its description. `parsed`: casts to regclass are recorded."""
    what, source = text
    matches = _NAMED.findall(source)
    sequences = [_meant(name.replace("''", "'"), known) for name, cast in matches if not (parsed and cast)]
    for sequence in sequences:
        if sequence is not None:
            users.tables[sequence].add(table)
    if None in sequences or len(_CALL.findall(source)) > len(matches):
        users.unknown[table].add(f"{what} draws from a sequence that it names as text")


def _meant(text: str, known: dict[TableName, int]) -> int | None:
    """The sequence that a text names; None if it may mean several, or none."""
    parts = [unquoted_name(part) if part.startswith('"') else part.lower() for part in _PARTS.findall(text)]
    candidates = [oid for name, oid in known.items() if parts and list(name)[-len(parts) :] == parts]
    return candidates[0] if len(candidates) == 1 else None
