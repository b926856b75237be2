"""The request of a restore, checked and typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

from app.domain.adaptation import Adaptation
from app.domain.changes import MergeRequest
from app.domain.restore import NAME_BYTES, Mode, OnConflict, Policy
from app.errors import RestoreValidationError
from app.operations.service import Service

_SCHEMA = r'\s*(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)\s*'
_SCHEMAS = re.compile(f"{_SCHEMA}(?:,{_SCHEMA})*")
_OF_THE_SERVER = {"postgres", "template0", "template1"}


class RestoreOptions(TypedDict, total=False):
    """Options of a restore or a preview, as the command line or a task's message gives them: nothing is checked yet.

    Attributes:
        mode: ``replace`` or ``merge``.
        confirm: the name of the database that changes, typed out; a preview needs none.
        tables: only these; None or empty means all.
        dependents: with the tables that refer to them.
        parents: with the tables that all of these refer to.
        where: only rows of the tables that meet this SQL condition.
        on_conflict: ``take-backup``, ``keep-live``, ``newest:<column>`` or ``fail``.
        into: another database than the live one.
        search_path: schemas that functions look in meanwhile.
        as_role: the role that loads the dump.
        migrate: the command line that brings a copy of the backup to the live schema before a merge.
        skip_tables, skip_columns, map_tables, map_columns, fills: how a merge fits the backup to the live schema.
        allow_missing: tables and rows may go that the file lacks.
    """

    mode: str
    confirm: str | None
    tables: Sequence[str] | None
    dependents: bool
    parents: bool
    where: str | None
    on_conflict: str
    into: str | None
    search_path: str | None
    as_role: str | None
    skip_tables: Sequence[str] | None
    skip_columns: Sequence[str] | None
    map_tables: Sequence[str] | None
    map_columns: Sequence[str] | None
    fills: Sequence[str] | None
    migrate: str | None
    allow_missing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRequest:
    """The request of a restore, or of a preview.

    Attributes:
        backup: its id or alias, or the path of a file.
        database: the live database's name.
        merge: what a merge, a replace of chosen tables, or a preview brings by rows.
        confirm: the name of the database that changes, typed out; no restore runs without it.
        as_role: the role that loads the dump; None leaves that to the settings.
        allow_missing: whether tables and rows of the live database may go that the file lacks.
        migrate: the command that brings a copy of the backup to the live schema; None: as the settings say; empty: the
            backup is merged as it is.
        request_key: tells a message that is delivered twice.
    """

    mode: Mode
    backup: str
    database: str
    merge: MergeRequest
    confirm: str | None = None
    as_role: str | None = None
    allow_missing: bool = False
    migrate: tuple[str, ...] | None = None
    request_key: str | None = None

    @classmethod
    def parse(
        cls, service: Service, backup: str, request_key: str | None = None, **options: Unpack[RestoreOptions]
    ) -> RestoreRequest:
        """Check and type what was asked for.

        Raises:
            RestoreValidationError: it makes no sense.
        """
        mode = Mode.parse(options.get("mode", Mode.REPLACE))
        as_role = options.get("as_role") or None
        merge = _merge_request(service, backup, mode, options)
        if mode is Mode.REPLACE and merge.on_conflict != OnConflict():
            message = f"--on-conflict {merge.on_conflict} belongs to a merge: a replace takes all from the backup"
            raise RestoreValidationError(message, "use --mode merge, or leave it out")
        if (merge.where or merge.dependents or merge.parents) and not merge.tables:
            message = "--where, --dependents and --parents need to know of which table"
            raise RestoreValidationError(message, "name it with --table")
        _require_rows_to_fit(merge)
        migrate = _command(options.get("migrate"))
        if migrate and mode is Mode.REPLACE:
            message = "--migrate belongs to a merge: a replace runs RESTORE_POST_COMMAND on the restored database"
            raise RestoreValidationError(message, "set RESTORE_POST_COMMAND, or use --mode merge")
        if as_role and not migrate and (mode is Mode.MERGE or merge.tables):
            message = "--as belongs to a replace of the whole database: else no statement of the file is run"
            raise RestoreValidationError(message, _without_as(mode, merge, as_role))
        if options.get("allow_missing") and (mode is Mode.MERGE or merge.tables):
            message = "--allow-missing belongs to a replace of the whole database: else tables that the file lacks stay"
            raise RestoreValidationError(message, "leave it out")
        return cls(
            mode=mode,
            backup=backup,
            database=service.database,
            merge=merge,
            confirm=options.get("confirm"),
            as_role=as_role,
            allow_missing=bool(options.get("allow_missing")),
            migrate=migrate,
            request_key=request_key,
        )

    @property
    def into(self) -> str | None:
        """Name of the database to restore into; None for the live one."""
        return self.merge.into

    @property
    def changes(self) -> str:
        """Name of the database that changes."""
        return self.into or self.database

    @property
    def search_path(self) -> str | None:
        """Schemas that functions look in meanwhile; None leaves the path alone."""
        return self.merge.search_path

    @property
    def by_rows(self) -> bool:
        """Whether rows are brought into existing tables."""
        return self.mode is Mode.MERGE or bool(self.merge.tables)

    @property
    def of_chosen_tables(self) -> bool:
        """Whether only rows of tables that it names can come."""
        return bool(self.merge.tables)

    def require_confirmation(self) -> None:
        """Make sure that the name of the database that will change was typed out.

        Raises:
            RestoreValidationError: the name of the database was not typed out.
        """
        if self.confirm == self.changes:
            return
        wrong = f"the confirmation {self.confirm!r} is not the name of the database"
        hint = f"a restore changes database {self.changes}: say so with --confirm {shlex.quote(self.changes)}"
        raise RestoreValidationError(wrong if self.confirm else "nothing is confirmed", hint)


def _command(line: object) -> tuple[str, ...] | None:
    """The words of a command, split as a shell would; no shell runs it.

    Raises:
        RestoreValidationError: it is none.
    """
    if line is None:
        return None
    try:
        words = tuple(shlex.split(line)) if isinstance(line, str) else ("",)
    except ValueError:
        words = ("",)
    if words[:1] == ("",):
        hint = "write --migrate 'alembic upgrade head'; what needs a shell is its own: --migrate 'sh -c \"…\"'"
        raise RestoreValidationError("--migrate is given no command line", hint)
    return words


def _merge_request(service: Service, backup: str, mode: Mode, options: RestoreOptions) -> MergeRequest:
    on_conflict = OnConflict.parse(options.get("on_conflict", Policy.TAKE_BACKUP))
    tables = _names(options.get("tables") or None)
    into = options.get("into")
    into = None if into == service.database else into
    _require_name(into)
    return MergeRequest(
        on_conflict=on_conflict,
        tables=tables,
        dependents=bool(options.get("dependents")),
        parents=bool(options.get("parents")),
        where=options.get("where"),
        exact=mode is Mode.REPLACE,
        version_tables=service.options.version_tables,
        backup=backup,
        into=into,
        search_path=_path(options.get("search_path")),
        migrate=options.get("migrate"),
        adaptation=Adaptation.parse(
            skip_tables=options.get("skip_tables"),
            skip_columns=options.get("skip_columns"),
            map_tables=options.get("map_tables"),
            map_columns=options.get("map_columns"),
            fills=options.get("fills"),
        ),
    )


def _require_rows_to_fit(merge: MergeRequest) -> None:
    """Refuse options that fit rows to the live schema, if the backup's own schema is restored.

    Raises:
        RestoreValidationError: it is a replace of the whole database.
    """
    if merge.whole and merge.adaptation:
        message = "a replace of the whole database brings the backup's own schema: there is nothing to fit"
        options = ", ".join(dict.fromkeys(word.split()[0] for word in merge.adaptation.words))
        raise RestoreValidationError(message, f"leave {options} out, or use --mode merge, or name tables with --table")


def _without_as(mode: Mode, merge: MergeRequest, role: str) -> str:
    """The same by rows, without --as; or all of the file beside the live database, as that role."""
    tables = "".join(f" --table {shlex.quote(table)}" for table in merge.tables)
    file = shlex.quote(str(merge.backup))
    return (
        f"leave it out: residency-backup restore {file} --mode {mode}{tables} --dry-run; or look at the file in"
        f" a database of its own: residency-backup restore {file} --mode replace --into staging --confirm staging"
        f" --as {shlex.quote(str(role))}"
    )


def _require_name(into: object) -> None:
    """Refuse a name that the server would change, and the server's own databases.

    Raises:
        RestoreValidationError: it is such a name.
    """
    if into is None:
        return
    if not isinstance(into, str) or not into or "\0" in into or len(into.encode()) > NAME_BYTES:
        hint = f"name the database to restore into, in up to {NAME_BYTES} bytes"
        raise RestoreValidationError(f"{into!r} is no database's name", hint)
    if into in _OF_THE_SERVER:
        raise RestoreValidationError(f"database {into} is the server's own", "restore into a database of another name")


def _path(text: object) -> str | None:
    """A list of schemas, as SET search_path takes it.

    Raises:
        RestoreValidationError: it is none.
    """
    if text is None or (isinstance(text, str) and _SCHEMAS.fullmatch(text)):
        return text
    raise RestoreValidationError(
        f"{text!r} is no list of schemas", "write --search-path public, or --search-path app,public"
    )


def _names(tables: object) -> tuple[str, ...]:
    """Names of tables, as the message of a task or the command line gives them.

    Raises:
        RestoreValidationError: they are no list of texts.
    """
    if tables is None:
        return ()
    if isinstance(tables, Sequence) and not isinstance(tables, str) and all(isinstance(name, str) for name in tables):
        return tuple(tables)
    raise RestoreValidationError(f"tables are named in a list, not {tables!r}", 'write "tables": ["public.people"]')
