"""Finds changes of the server outside of one database, by comparing shared catalogs before and after a load.

The queries run as the role that restores, in another database, where no code of the file is called. Other sessions may
change the server meanwhile. Such a change is named too, and fails the restore: nobody can tell who made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import structlog

from app.archive.pg_dump import python_encoding
from app.domain.listed import listed
from app.errors import BackupError, RestoreError, RestoreValidationError
from app.postgres.database import Database
from app.postgres.maintenance import maintenance

log = structlog.get_logger(__name__)
_SHOWN = 10
_UNKNOWN = "it is not known whether the file has changed something outside of the database: {}"
_ROLES = "SELECT oid::text, 'role ' || quote_ident(rolname), NULL::oid, to_jsonb(r)::text FROM {roles} r"
# A line of a configuration file that the server cannot parse has an error and no name.
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
# As bytes: in a database without an encoding (SQL_ASCII), names may have any.
_STATE = """
    SELECT convert_to(id, here), convert_to(said, here), ofdatabase, sha256(convert_to(concat(said, value), here))
    FROM ({parts}) found (id, said, ofdatabase, value), getdatabaseencoding() here
    WHERE ofdatabase IS NULL OR ofdatabase <> coalesce((SELECT oid FROM pg_database WHERE datname = %s), 0)"""
_MAY = """
    SELECT getdatabaseencoding(), current_setting('is_superuser') = 'on',
        has_function_privilege('pg_show_all_file_settings()', 'EXECUTE'),
        to_regclass('pg_parameter_acl') IS NOT NULL"""
_DATABASES = "SELECT oid FROM pg_database"


class _SharedObject(NamedTuple):
    id: bytes
    description: str
    database: int | None


class _State(NamedTuple):
    things: dict[_SharedObject, bytes]
    databases: set[int]


def _state(database: Database, excluded: str) -> _State:
    with maintenance(database, excluded) as ours:
        ((encoding, superuser, files, parameters),) = ours.query(_MAY)
        parts = [_ROLES.format(roles="pg_authid" if superuser else "pg_roles"), _OTHERS]
        parts += [_SETTINGS_OF_SERVER] * files + [_PARAMETERS] * parameters
        query = _STATE.format(parts=" UNION ALL ".join(parts).replace("%", "%%"))
        codec = python_encoding(encoding)
        things = {
            _SharedObject(bytes(identity), bytes(description).decode(codec, errors="backslashreplace"), of): bytes(
                digest
            )
            for identity, description, of, digest in ours.query(query, excluded)
        }
        return _State(things, {oid for (oid,) in ours.query(_DATABASES)})


def _changed(before: _State, after: _State) -> list[str]:
    """Names of changed objects, without those of databases that somebody created or dropped meanwhile."""
    stayed = before.databases & after.databases
    either = before.things.items() ^ after.things.items()
    return sorted({thing.description for thing, _ in either if thing.database is None or thing.database in stayed})


@contextmanager
def _changes_during(database: Database, loaded: str) -> Iterator[Callable[[], list[str]]]:
    """A block in which a foreign dump is loaded. Yields a function that returns the changes so far.

    Raises:
        RestoreError, BackupError: the block's error, with the changes in its message.
    """
    before = _state(database, loaded)

    def changed() -> list[str]:
        return _changed(before, _state(database, loaded))

    try:
        yield changed
    except (RestoreError, BackupError) as error:
        if changes := _changes_or_none(changed):
            raise type(error)(f"{error.message}; {_changes_message(changes)}", _hint(error.hint)) from error
        raise
    except BaseException:  # somebody stopped the worker or typed ^C: the changes can only be logged
        if changes := _changes_or_none(changed):
            log.warning(
                "restore was ended, and the server is not as before",
                changed=_changes_message(changes),
                hint=_hint(None),
            )
        raise


@contextmanager
def refuse_server_changes(database: Database, loaded: str) -> Iterator[None]:
    """A block in which a foreign dump is loaded. Raises if it changed the server outside of the database.

    Args:
        database: any database of the server.
        loaded: name of the database that the file is loaded into.

    Raises:
        RestoreValidationError: the server was changed; names what.
        RestoreError, BackupError: the block's error, with the changes in its message.
    """
    with _changes_during(database, loaded) as changed:
        yield
    if changes := changed():
        raise RestoreValidationError(_changes_message(changes), _hint(None))


@contextmanager
def remark_server_changes(database: Database, remarks: list[str]) -> Iterator[None]:
    """A block in which a foreign dump is loaded into the live database, and committed: changes can only be remarked.

    Args:
        database: the live one.
        remarks: get the changes of the server, or why they are not known: the role may not connect to other databases.

    Raises:
        RestoreError, BackupError: the block's error, with the changes in its message.
    """
    with ExitStack() as stack:
        changed: Callable[[], list[str]] = list
        try:
            changed = stack.enter_context(_changes_during(database, database.name))
        except (RestoreError, BackupError) as error:
            remarks.append(_UNKNOWN.format(error.message))
        yield
        try:
            if changes := changed():
                remarks.append(f"{_changes_message(changes)}; {_hint(None)}")
        except (RestoreError, BackupError) as error:
            remarks.append(_UNKNOWN.format(error.message))


def _changes_or_none(changed: Callable[[], list[str]]) -> list[str]:
    try:
        return changed()
    except (RestoreError, BackupError):  # the block's error says more
        return []


def _changes_message(changed: list[str]) -> str:
    return f"while the file was loaded, this was changed outside of its database: {listed(changed, _SHOWN)}"


def _hint(hint: str | None) -> str:
    ours = "look at it and revert it: functions in the file may have done it; if somebody else did it, restore again"
    return f"{ours}; {hint}" if hint else ours
