"""What a server has beside one of its databases, before and after a stranger's file was loaded into that.

Who looks is the one that everything else is done as, in another database, where nothing of the file is called. Others
may change the server meanwhile: it is named, and the restore fails all the same, because nobody can tell who it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import structlog

from app.archive.pg_dump import python_encoding
from app.errors import BackupError, RestoreError, RestoreValidationError
from app.postgres.database import Database
from app.postgres.maintenance import maintenance

log = structlog.get_logger(__name__)
_SHOWN = 10
_UNKNOWN = "whether the file has changed something outside of the database is not known: {}"
_ROLES = "SELECT oid::text, 'role ' || quote_ident(rolname), NULL::oid, to_jsonb(r)::text FROM {roles} r"
# A line that the server cannot read has no name, but an error.
_SETTINGS_OF_SERVER = """
    SELECT concat(sourcefile, name, setting), format('%s in %s', coalesce(name, error), sourcefile), NULL, setting
    FROM pg_file_settings"""
_PARAMETERS = "SELECT parname, 'rights on setting ' || parname, NULL, paracl::text FROM pg_parameter_acl"
_OTHERS = """
    SELECT concat(roleid, '/', member, '/', grantor),
        format('membership of %s in %s', member::regrole, roleid::regrole), NULL, to_jsonb(m)::text
    FROM pg_auth_members m
    UNION ALL SELECT concat(setdatabase, '/', setrole), CASE
            WHEN setdatabase = 0 THEN format('settings of role %s', setrole::regrole)
            WHEN setrole = 0 THEN format('settings of database %I', datname)
            ELSE format('settings of role %s in database %I', setrole::regrole, datname) END,
        nullif(setdatabase, 0), setconfig::text
    FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = setdatabase
    UNION ALL SELECT oid::text, format('owner of, or rights on, database %I', datname), oid, concat(datdba, datacl)
    FROM pg_database
    UNION ALL SELECT oid::text, format('tablespace %I', spcname), NULL, to_jsonb(t)::text FROM pg_tablespace t
    UNION ALL SELECT concat(classoid, '/', objoid), 'comment on ' || pg_describe_object(classoid, objoid, 0),
        CASE WHEN classoid = 'pg_database'::regclass THEN objoid END, description
    FROM pg_shdescription
    UNION ALL SELECT concat(classoid, '/', objoid, provider), 'label of ' || pg_describe_object(classoid, objoid, 0),
        CASE WHEN classoid = 'pg_database'::regclass THEN objoid END, label
    FROM pg_shseclabel
    UNION ALL SELECT slot_name, format('replication slot %I', slot_name), NULL, concat(plugin, slot_type, datoid)
    FROM pg_replication_slots WHERE NOT temporary"""
# In the bytes that are there: a database without an encoding (SQL_ASCII) shows names of any as they are.
_STATE = """
    SELECT convert_to(id, here), convert_to(said, here), ofdatabase, sha256(convert_to(concat(said, value), here))
    FROM ({parts}) found (id, said, ofdatabase, value), getdatabaseencoding() here
    WHERE ofdatabase IS NULL OR ofdatabase <> coalesce((SELECT oid FROM pg_database WHERE datname = %s), 0)"""
_MAY = """
    SELECT getdatabaseencoding(), current_setting('is_superuser') = 'on',
        has_function_privilege('pg_show_all_file_settings()', 'EXECUTE'),
        to_regclass('pg_parameter_acl') IS NOT NULL"""
_DATABASES = "SELECT oid FROM pg_database"


class _Thing(NamedTuple):
    id: bytes
    said: str
    database: int | None


class _State(NamedTuple):
    things: dict[_Thing, bytes]
    databases: set[int]


def _state(database: Database, but: str) -> _State:
    with maintenance(database, but) as ours:
        ((encoding, superuser, files, parameters),) = ours.query(_MAY)
        parts = [_ROLES.format(roles="pg_authid" if superuser else "pg_roles"), _OTHERS]
        parts += [_SETTINGS_OF_SERVER] * files + [_PARAMETERS] * parameters
        query = _STATE.format(parts=" UNION ALL ".join(parts).replace("%", "%%"))
        codec = python_encoding(encoding)
        things = {
            _Thing(bytes(identity), bytes(said).decode(codec, errors="backslashreplace"), of): bytes(digest)
            for identity, said, of, digest in ours.query(query, but)
        }
        return _State(things, {oid for (oid,) in ours.query(_DATABASES)})


def _changed(before: _State, after: _State) -> list[str]:
    """What is otherwise; databases that others have made or dropped meanwhile bring and take what is theirs."""
    stayed = before.databases & after.databases
    either = before.things.items() ^ after.things.items()
    return sorted({thing.said for thing, _ in either if thing.database is None or thing.database in stayed})


@contextmanager
def _compared(database: Database, loaded: str) -> Iterator[Callable[[], list[str]]]:
    """A block in which a stranger's file is loaded; what it gets tells what was changed beside so far.

    Raises:
        RestoreError, BackupError: the block's own, which says so too.
    """
    before = _state(database, loaded)

    def changed() -> list[str]:
        return _changed(before, _state(database, loaded))

    try:
        yield changed
    except (RestoreError, BackupError) as error:
        if found := _tried(changed):
            raise type(error)(f"{error.message}; {_said(found)}", _hint(error.hint)) from error
        raise
    except BaseException:  # the worker is stopped, somebody has typed ^C: whoever did so is not there to be told
        if found := _tried(changed):
            log.warning("restore was ended, and the server is not as before", changed=_said(found), hint=_hint(None))
        raise


@contextmanager
def refuse_server_changes(database: Database, loaded: str) -> Iterator[None]:
    """Load a stranger's file in a block, and find out what else it has done to the server.

    Args:
        database: any one of the server.
        loaded: the name of the one that the file is loaded into.

    Raises:
        RestoreValidationError: something else was changed; names it.
        RestoreError, BackupError: the block's own, which says so too.
    """
    with _compared(database, loaded) as changed:
        yield
    if found := changed():
        raise RestoreValidationError(_said(found), _hint(None))


@contextmanager
def remark_server_changes(database: Database, remarks: list[str]) -> Iterator[None]:
    """Load a stranger's file into the live database itself in a block, whose commit nothing takes back.

    Args:
        database: the live one.
        remarks: get what was changed beside, or why that is not known: the role may have no other database.

    Raises:
        RestoreError, BackupError: the block's own, which says so too.
    """
    with ExitStack() as stack:
        changed: Callable[[], list[str]] = list
        try:
            changed = stack.enter_context(_compared(database, database.name))
        except (RestoreError, BackupError) as error:
            remarks.append(_UNKNOWN.format(error.message))
        yield
        try:
            if found := changed():
                remarks.append(f"{_said(found)}; {_hint(None)}")
        except (RestoreError, BackupError) as error:
            remarks.append(_UNKNOWN.format(error.message))


def _tried(changed: Callable[[], list[str]]) -> list[str]:
    try:
        return changed()
    except (RestoreError, BackupError):  # what the block raised says more
        return []


def _said(changed: list[str]) -> str:
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return f"while the file was loaded, this was changed outside of its database: {', '.join(changed[:_SHOWN])}{more}"


def _hint(hint: str | None) -> str:
    ours = "look at it and put it back: functions in the file may have done it; if it was somebody else, restore again"
    return f"{ours}; {hint}" if hint else ours
