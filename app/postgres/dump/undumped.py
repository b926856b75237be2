"""Objects and rows of users that no dump holds, because pg_dump takes them for an extension's or the server's.

- Rows of an extension's tables that the extension has not declared for dumps (`pg_extension_config_dump`); queues of
  pgmq were such tables. A row that the extension's own scripts wrote has the xmin of a transaction in which they also
  created an object of the extension; other rows are taken for the users'.
- Objects that were added to an extension (`ALTER EXTENSION … ADD`) and that users' tables, views or functions depend
  on. Such an object is older than its membership; one that the extension's scripts created is not.
- Functions that somebody created in a schema of the server, and that tables, views or functions of users depend on.

Source: pg_dump.c, selectDumpableTable, selectDumpableNamespace; PostgreSQL documentation, "Extension Configuration
Tables".
"""

import psycopg
import structlog

from app.domain.psql import in_psql
from app.postgres.questions import Question, Rows, ask
from app.postgres.server_messages import message_of

log = structlog.get_logger(__name__)
_FIRST_OF_USERS = 16384  # FirstNormalObjectId
_TABLES = """
    SELECT e.extname, format('%I.%I', n.nspname, c.relname), format('%I', e.extname),
           e.xmin::text || ARRAY(SELECT DISTINCT x.xmin::text FROM pg_depend x
               WHERE x.refclassid = 'pg_extension'::regclass AND x.refobjid = e.oid AND x.deptype = 'e')
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_class c ON c.oid = d.objid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
      AND c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid <> ALL (coalesce(e.extconfig, '{}'))
      AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
      AND NOT row_security_active(c.oid)
    ORDER BY 1, 2"""
_ROWS = "SELECT EXISTS (SELECT FROM {} t WHERE t.xmin::text <> ALL (%s))"
_FUNCTIONS = f"""
    SELECT DISTINCT p.oid::regprocedure::text
    FROM pg_proc p JOIN pg_depend d ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid AND d.deptype <> 'e'
        JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname IN ('pg_catalog', 'information_schema')
    WHERE p.oid >= {_FIRST_OF_USERS} AND d.classid <> 'pg_cast'::regclass
      AND NOT EXISTS (SELECT FROM pg_depend m
                      WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid AND m.deptype = 'e')
    ORDER BY 1"""
_MEMBERS = f"""
    WITH made(class, id, since) AS (
        SELECT 'pg_proc'::regclass::oid, oid, xmin FROM pg_proc
        UNION ALL SELECT 'pg_type'::regclass, oid, xmin FROM pg_type
        UNION ALL SELECT 'pg_class'::regclass, oid, xmin FROM pg_class
        UNION ALL SELECT 'pg_namespace'::regclass, oid, xmin FROM pg_namespace)
    SELECT DISTINCT o.type, o.identity, format('%I', e.extname)
    FROM pg_depend m JOIN pg_extension e ON m.refclassid = 'pg_extension'::regclass AND e.oid = m.refobjid
        JOIN made ON class = m.classid AND id = m.objid AND age(since) > age(m.xmin)
        CROSS JOIN LATERAL pg_identify_object(m.classid, m.objid, 0) o
    WHERE m.deptype = 'e' AND m.objid >= {_FIRST_OF_USERS} AND EXISTS (
        SELECT FROM pg_depend d WHERE d.refclassid = m.classid AND d.refobjid = m.objid AND d.deptype IN ('n', 'a')
            AND NOT EXISTS (SELECT FROM pg_depend i WHERE i.classid = d.classid AND i.objid = d.objid
                            AND i.deptype = 'e'))
    ORDER BY 1, 2"""
# Nobody should wait long for this check.
_PATIENCE = "SET LOCAL lock_timeout = '200ms'; SET LOCAL statement_timeout = '1s'"


def undumped(connection: psycopg.Connection) -> list[str]:
    """Objects and rows of users that no dump holds, a sentence each with what helps."""
    return described(connection, ask(connection, undumped_question()))


def undumped_question() -> Question[list[Rows]]:
    """What `described` needs, as a question of one round trip."""
    return (yield (_TABLES, _MEMBERS, _FUNCTIONS))


def described(connection: psycopg.Connection, found: list[Rows]) -> list[str]:
    """Look into the tables that were found, and say what no dump holds."""
    tables, members, functions = found
    sentences, database, rows_of = [], connection.info.dbname, set()
    for extension, table, named, own in tables:
        if _has_others(connection, table, own):
            rows_of.add(("table", table))
            detached = in_psql(database, f"ALTER EXTENSION {named} DROP TABLE {table}")
            copied = in_psql(database, f"\\copy {table} TO rows.copy")
            sentences.append(
                f"rows of {table} are in no backup, because the table belongs to extension {extension}: if somebody"
                f" added it to that, this brings it into the next backup: {detached}; if the extension made it, keep"
                f" its rows: {copied}"
            )
    for kind, name, extension in members:
        if (kind, name) in rows_of:
            continue
        detached = in_psql(database, f"ALTER EXTENSION {extension} DROP {kind} {name}")
        sentences.append(
            f"{kind} {name} was added to extension {extension}, so no backup has it, and objects that depend on it are"
            f" not restored: {detached}"
        )
    for (function,) in functions:
        moved = in_psql(database, f"ALTER FUNCTION {function} SET SCHEMA public")
        sentences.append(
            f"function {function} is in a schema of the server, so no backup has it, and objects that call it are not"
            f" restored: {moved}"
        )
    return sentences


def _has_others(connection: psycopg.Connection, table: str, own: list[str]) -> bool:
    """Whether a table has rows that no script of its extension wrote. If that is unknown, False and a warning.

    Raises:
        psycopg.Error: the connection was lost.
    """
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(_PATIENCE)
            row = connection.execute(_ROWS.format(table.replace("%", "%%")).encode(), (own,)).fetchone()
            return bool(row and row[0])
    except psycopg.Error as error:
        if connection.closed:
            raise
        event = "backup does not know whether a table of an extension has rows of users"
        log.warning(event, table=table, reason=message_of(error))
        return False
