"""Runs an operator's command on a database, which the command finds by its environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

from app.domain.redaction import redacted, worth_hiding
from app.errors import RestoreError, RestorePostCommandError
from app.postgres.database import Database
from app.postgres.programs import ProgramError, guard, running

_TAIL = 4000
_IN_URL = ("host", "port", "user", "dbname")


@dataclass(frozen=True, slots=True)
class CommandPlace:
    """Where the operator's commands run.

    Attributes:
        environment: that they inherit.
        scheme: of DATABASE_URL, as the application needs it: ``postgresql+psycopg``.
        folder: their working directory; None for this process's own.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    scheme: str = "postgresql"
    folder: Path | None = None


HERE = CommandPlace()


def run_on(  # noqa: PLR0913 -- how a command is run
    database: Database,
    argv: Sequence[str],
    place: CommandPlace = HERE,
    setting: str = "RESTORE_POST_COMMAND",
    failed: type[RestoreError] = RestorePostCommandError,
    *,
    guarded: bool = False,
) -> None:
    """Run a command to its end; it is ended if the restore is.

    Args:
        database: the one to work on.
        argv: program and arguments; no shell is used.
        place: its environment and working directory.
        setting: that it is from, for messages.
        failed: the error of a command that fails.
        guarded: whether it is ended even if this process is killed.

    Raises:
        RestoreError: of the class `failed`; it cannot be started, or failed; has the end of its output.
    """
    output = b""
    try:
        with ExitStack() as stack:
            watch = stack.enter_context(guard()) if guarded else lambda _: None
            program = stack.enter_context(running(argv, environment_on(database, place), folder=place.folder))
            watch(program)
            for block in program.blocks():
                output = (output + block)[-_TAIL:]
            program.check()
    except ProgramError as error:
        printed = f"; it printed: {output.decode(errors='replace').strip()}" if output.strip() else ""
        message = f"{setting} on database {database.name}: {error.message}{printed}"
        # URLs too: the command knows the broker's and the catalog's.
        message = redacted(message, worth_hiding(secrets_of(database, place)))
        hint = "the live database is as before; correct the command, or restore without it"
        raise failed(message, hint) from error


def environment_on(database: Database, place: CommandPlace) -> dict[str, str]:
    """The environment of a command that is to find a database."""
    url = url_of(database, place.scheme)
    env = {**place.environment, "DATABASE_URL": url, "POSTGRES_DB": database.name, "PGDATABASE": database.name}
    env.pop("DATABASE_URL_FILE", None)
    return env


def secrets_of(database: Database, place: CommandPlace) -> tuple[str, ...]:
    """What that environment shows of a database's password, however it is written."""
    return (url_of(database, place.scheme), quote(database.password or "", safe=""), database.password or "")


def url_of(database: Database, scheme: str = "postgresql") -> str:
    """The database's URL with its password: for an environment, never for an argument list."""
    known = database.own_parameters
    secret = f":{quote(database.password, safe='')}" if database.password is not None else ""
    userinfo = f"{quote(known['user'], safe='')}{secret}@" if "user" in known else ""
    host = known.get("host", "")
    others = {name: value for name, value in known.items() if name not in _IN_URL}
    plain = "/" not in host and "," not in host
    if plain:
        netloc = f"[{host}]" if ":" in host else host
        netloc += f":{known['port']}" if "port" in known else ""
    else:  # the folder of a socket, or several hosts
        netloc = ""
        others = {"host": host, **({"port": known["port"]} if "port" in known else {}), **others}
    query = f"?{urlencode(others, quote_via=quote)}" if others else ""
    return f"{scheme}://{userinfo}{netloc}/{quote(database.name, safe='')}{query}"
