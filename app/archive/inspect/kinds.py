"""The kinds of objects that pg_dump creates, alters, drops or comments on. Other kinds are in no dump.

Objects of the whole server are missing on purpose: a dump of one database does not contain them.

Source: pg_dump.c, pg_backup_archiver.c and dumputils.c of PostgreSQL 9.1 to 18.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

ObjectKind = tuple[bytes, ...]


def _kinds(text: str) -> frozenset[ObjectKind]:
    return frozenset(tuple(kind.encode().split()) for kind in text.split(","))


def _words(text: str) -> frozenset[bytes]:
    return frozenset(text.encode().split())


_ALL = _kinds(
    "AGGREGATE,COLLATION,CONVERSION,DOMAIN,EVENT TRIGGER,FOREIGN DATA WRAPPER,FOREIGN TABLE,FUNCTION,INDEX,LANGUAGE,"
    "PROCEDURAL LANGUAGE,MATERIALIZED VIEW,OPERATOR,OPERATOR CLASS,OPERATOR FAMILY,PROCEDURE,PUBLICATION,SCHEMA,"
    "SEQUENCE,SERVER,STATISTICS,SUBSCRIPTION,TABLE,TEXT SEARCH CONFIGURATION,TEXT SEARCH DICTIONARY,TRIGGER,TYPE,VIEW"
)
_NOT_ALTERED = _kinds("ACCESS METHOD,CAST,EXTENSION,POLICY,RULE,TEXT SEARCH PARSER,TEXT SEARCH TEMPLATE,TRANSFORM")
CREATED = _ALL | _NOT_ALTERED | _kinds("USER MAPPING FOR,USER MAPPING IF NOT EXISTS FOR")
ALTERED = _ALL | _kinds("DEFAULT PRIVILEGES,LARGE OBJECT")
DROPPED = _ALL | _NOT_ALTERED | _kinds("USER MAPPING FOR,USER MAPPING IF EXISTS FOR")
COMMENTED = _ALL | _NOT_ALTERED | _kinds("COLUMN,CONSTRAINT,LARGE OBJECT,ROUTINE")
LABELLED = COMMENTED
GRANTED = _kinds(
    "TABLE,SEQUENCE,FUNCTION,PROCEDURE,ROUTINE,SCHEMA,LANGUAGE,TYPE,DOMAIN,FOREIGN DATA WRAPPER,FOREIGN SERVER,"
    "LARGE OBJECT"
)
# In dumps of a whole server and of `pg_dump --create`, but not in those of one database.
OF_SERVER = _kinds("DATABASE,GROUP,PARAMETER,ROLE,SYSTEM,TABLESPACE,USER")
# Words between CREATE and the kind.
MODIFIERS = _words("CONSTRAINT DEFAULT OR PROCEDURAL RECURSIVE REPLACE TRUSTED UNIQUE UNLOGGED")
# Settings that only change how the session reads or writes. Time limits count too, by the ending of their names.
SETTINGS = _words(
    "bytea_output check_function_bodies client_encoding client_min_messages datestyle default_table_access_method"
    " default_tablespace default_transaction_read_only default_with_oids escape_string_warning extra_float_digits"
    " intervalstyle maintenance_work_mem quote_all_identifiers row_security search_path session_replication_role"
    " standard_conforming_strings synchronous_commit timezone work_mem xmloption"
)
TIME_LIMIT = b"_timeout"
FUNCTIONS = _words("lo_close lo_creat lo_create lo_from_bytea lo_open lo_put lo_unlink lowrite set_config setval")
STATISTICS = re.compile(rb"pg_restore_\w+_stats")
_LONGEST = 6


def kind_of(words: Sequence[bytes], kinds: Iterable[ObjectKind]) -> ObjectKind | None:
    """The longest of these kinds that the words begin with; None if there is none."""
    for length in range(min(_LONGEST, len(words)), 0, -1):
        if (found := tuple(words[:length])) in kinds:
            return found
    return None
