"""The kinds of statement that pg_dump writes, and of objects that they are about: what is not here is in no dump.

What belongs to the whole server is missing on purpose: a dump of one database has no business there.

Source: pg_dump.c, pg_backup_archiver.c and dumputils.c of PostgreSQL 9.1 to 18.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

ObjectKind = tuple[bytes, ...]


def _kinds(text: str) -> frozenset[ObjectKind]:
    return frozenset(tuple(each.encode().split()) for each in text.split(","))


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
# What dumps of a whole cluster, or `pg_dump --create`, have and one database's contents do not.
OF_SERVER = _kinds("DATABASE,GROUP,PARAMETER,ROLE,SYSTEM,TABLESPACE,USER")
# Words between CREATE and the kind.
MANNERS = _words("CONSTRAINT DEFAULT OR PROCEDURAL RECURSIVE REPLACE TRUSTED UNIQUE UNLOGGED")
# They change how one session reads or writes, and nothing that stays; time limits go by their last word.
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
    """The longest kind that some words begin with; None where they begin with none of them."""
    for length in range(min(_LONGEST, len(words)), 0, -1):
        if (found := tuple(words[:length])) in kinds:
            return found
    return None
