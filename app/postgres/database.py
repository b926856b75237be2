"""A database as a value, and how to connect to it. Every driver error that leaves this module is translated."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from app.domain.psql import in_psql, quoted
from app.errors import (
    BackupCreationError,
    BackupError,
    BackupPermissionError,
    DatabaseMissingError,
    ServerUnavailableError,
    TableLockedError,
)
from app.postgres.causes import known_cause
from app.postgres.connect_sqlstate import with_sqlstate
from app.postgres.cursor import CopyCursor, interruption
from app.postgres.login_triggers import refusal_of_trigger, refused_by_trigger
from app.postgres.pooler import require_own_session
from app.postgres.programs import bare_environment
from app.postgres.server_messages import details_of, message_of
from app.postgres.session_settings import every_session
from app.urls import ENCODED, require_port, require_text, scheme_of

log = structlog.get_logger(__name__)
CONNECT_SECONDS = 10
_WANTED = "postgresql://user:password@host:port/database is wanted"
_OTHER_SERVERS = frozenset({"mysql", "mariadb", "sqlite", "mssql", "oracle", "mongodb", "redis", "http", "https"})
_DRIVER = re.compile(r"^(postgres(?:ql)?)\+\w+://")
_DEFAULTS = {
    "connect_timeout": str(CONNECT_SECONDS),
    # A server that vanishes is noticed within a minute; with the defaults, after two hours.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",  # no keepalives are sent while data waits to be acknowledged
}
_CHOOSING = frozenset({"host", "hostaddr", "port", "load_balance_hosts", "target_session_attrs"})
# Secrets that libpq reads from the connection string only.
_UNFIT = ("sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
# libpq gives no SQLSTATE for a refused connection, only the server's text; see `connect_sqlstate` for other languages.
_REFUSED = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|pg_hba\.conf rejects|role .* does not exist"
    r"|is not permitted to log in|permission denied for database"
)
_NO_CONNECT = "User does not have CONNECT privilege"  # beside "permission denied for database"
_NOT_LET_IN = (psycopg.errors.InvalidAuthorizationSpecification, psycopg.errors.InvalidPassword)
# No connection is left: of the server, the database or the role. A refused connection has no SQLSTATE.
FULL = re.compile(r"too many (?:clients|connections)|remaining connection slots")
_BACKSLASHED = r"\\\g<0>"
_ESCAPED = re.compile(r"[\s\\]")  # within a word of libpq's "options"
_NO_CONVERSION = re.compile(r"conversion between \S+ and \S+ is not supported")
_NO_UTF8 = re.compile(r"invalid byte sequence for encoding \"UTF8\"")
_NO_DATABASE = re.compile(r"database \"?.*\"? does not exist")


@dataclass(frozen=True, slots=True)
class Database:
    """How to reach a database, and as which role.

    Attributes:
        name: the database's name.
        parameters: libpq's connection parameters, without the password.
        password: kept out of `parameters`, so that it never gets into an argument list or a message.
    """

    name: str
    parameters: Mapping[str, str]
    password: str | None = field(repr=False)

    @classmethod
    def from_url(cls, url: str) -> Database:
        """Read a libpq URL or conninfo string. SQLAlchemy's ``postgresql+driver://`` is accepted.

        Raises:
            ValueError: it is neither, or names no database.
        """
        require_text(url)
        if scheme := scheme_of(url):
            _require_url(scheme, url.partition("://")[2])
        try:
            parameters = conninfo_to_dict(_DRIVER.sub(r"\1://", url))
        except (psycopg.Error, ValueError):
            # The driver's message may quote the URL, and so the password.
            raise ValueError(f"not a PostgreSQL URL; {_WANTED}; {ENCODED}") from None
        require_port(str(parameters.get("port", "")))
        if secret := next((name for name in _UNFIT if name in parameters), None):
            raise ValueError(f"{secret} is not supported: it would show in the argument list of pg_dump")
        password = parameters.pop("password", None)
        name = parameters.get("dbname")
        if not name:
            raise ValueError(f"names no database; {_WANTED}")
        return cls(
            str(name),
            _DEFAULTS | {key: str(value) for key, value in parameters.items()},
            None if password is None else str(password),
        )

    @classmethod
    def of_parts(cls, name: str, password: str | None, **parameters: str) -> Database:
        """A database from single parameters, which may hold any character."""
        return cls(name, _DEFAULTS | parameters | {"dbname": name}, password)

    def named(self, name: str) -> Database:
        """Another database of the same server, as the same role."""
        return Database(name, {**self.parameters, "dbname": name}, self.password)

    def as_role(self, role: str, password: str | None) -> Database:
        """The same database as another role. Without a password, libpq looks for one as usual."""
        return Database(self.name, {**self.parameters, "user": role}, password)

    def same_server(self, connection: psycopg.Connection) -> Database:
        """The same database on the server that a session is connected to.

        The connection parameters may lead to one of several servers. Only the server that exported a snapshot knows it,
        and each standby has its own replay position.
        """
        info = connection.info
        given = {name: value for name, value in self.parameters.items() if name not in _CHOOSING}
        place = {"host": info.host, "hostaddr": info.hostaddr, "port": str(info.port)}
        return Database(self.name, given | {name: value for name, value in place.items() if value}, self.password)

    def with_settings(self, settings: Mapping[str, str]) -> Database:
        """The same database, for sessions that start with these settings, whatever role and database have set."""
        words = [f"-c {name}={_ESCAPED.sub(_BACKSLASHED, value)}" for name, value in settings.items()]
        options = " ".join(filter(None, [self.parameters.get("options", ""), *words]))
        return Database(
            self.name, {**self.parameters, "options": options} if options else self.parameters, self.password
        )

    @property
    def role(self) -> str:
        """The role that libpq connects as: from the parameters, or else from the environment."""
        given = {option.keyword: option.val for option in Conninfo.get_defaults()}
        return self.parameters.get("user") or (given.get(b"user") or b"").decode()

    @property
    def own_parameters(self) -> dict[str, str]:
        """The parameters as given, without the defaults that this module adds."""
        return {name: value for name, value in self.parameters.items() if _DEFAULTS.get(name) != value}

    @property
    def conninfo(self) -> str:
        """The libpq connection string without the password, for an argument list."""
        return make_conninfo(**self.parameters)

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The environment of a PostgreSQL program that connects to this database.

        Args:
            inherited: the caller's environment; only what such a program needs is passed on.
        """
        ours = {
            key: value for key, value in inherited.items() if key.startswith(("LC_", "KRB5")) or _LIBPQ.fullmatch(key)
        }
        kept = bare_environment(inherited) | ours
        kept.pop("PGCLIENTENCODING", None)  # a dump has its database's encoding
        kept.pop("LC_ALL", None)  # it overrides LC_MESSAGES, and messages are parsed in English
        # PGTZ: the text of timestamps, and so a row's digest, must not depend on the time zone of role or machine.
        return (
            kept
            | {"PGTZ": "UTC", "LC_MESSAGES": "C"}
            | ({"PGPASSWORD": self.password} if self.password is not None else {})
        )

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """An autocommitting connection for the length of a block.

        Raises:
            ServerUnavailableError: the server does not answer or goes away.
            DatabaseMissingError: there is no such database.
            BackupPermissionError: the server refuses the role, or the role lacks a right.
            PoolerError: a pooler assigns another session to each transaction.
        """
        with self.translated():
            connection = self._connected()
            with connection, self.translated(connection.info.user):
                require_own_session(connection, self._connected)
                connection.execute(every_session(connection.info.server_version).encode())
                yield connection

    @property
    def _whole_conninfo(self) -> str:
        more = {"fallback_application_name": "residency-backup", "client_encoding": "UTF8"}
        secret = {} if self.password is None else {"password": self.password}
        return make_conninfo(self.conninfo, **more, **secret)

    def _connected(self) -> psycopg.Connection:
        conninfo = self._whole_conninfo
        try:
            return psycopg.connect(conninfo, autocommit=True, cursor_factory=CopyCursor)
        except psycopg.OperationalError as error:
            raise with_sqlstate(error, conninfo) from None

    @contextmanager
    def translated(self, role: str | None = None) -> Iterator[None]:
        """Turn the driver's errors into ours.

        Args:
            role: the session's; None for the role of the parameters.
        """
        try:
            yield
        except psycopg.Error as error:
            if signal := interruption(error):
                raise signal from None
            raise self._typed(error, role or self.role) from error

    def _typed(self, error: psycopg.Error, role: str) -> BackupError:
        text = message_of(error)
        if beside := details_of(error):  # it may quote rows
            log.debug("backup refused by the server", database=self.name, said=beside)
        if isinstance(error, psycopg.errors.LockNotAvailable):
            message = f"a table of database {self.name} stayed locked: {text}"
            return TableLockedError(message, "find the session in pg_locks; try again when it has ended")
        if refused_by_trigger(error, text):
            return refusal_of_trigger(self.name, self._whole_conninfo, text)
        if refusal := self._refusal(text, error):
            return refusal
        if _NO_CONVERSION.search(text) or _NO_UTF8.search(text):
            what = "its encoding cannot be read" if _NO_CONVERSION.search(text) else "a name in it is not UTF-8"
            return BackupCreationError(
                f"database {self.name}: {what}: {text}",
                f"dump it by hand, without a conversion: pg_dump -d {shlex.quote(self.name)} -f dump.sql",
            )
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return BackupPermissionError(
                f"the role lacks a right in database {self.name}: {text}",
                f"as a superuser: {in_psql('postgres', f'GRANT pg_read_all_data TO {quoted(role)}')}",
            )
        return known_cause(str(error), self.name, error, role=role) or _otherwise(text, self.name, error)

    def _refusal(self, text: str, error: psycopg.Error) -> BackupError | None:
        """The error for a refused connection; None if the error is another."""
        if _NO_CONNECT in text and (role := self.parameters.get("user")):
            grant = f"GRANT CONNECT ON DATABASE {quoted(self.name)} TO {quoted(str(role))}"
            message = f"the server refuses the role for database {self.name}: {text}"
            return BackupPermissionError(message, f"as a superuser or the owner: {in_psql('postgres', grant)}")
        if _REFUSED.search(text) or isinstance(error, _NOT_LET_IN):
            return BackupPermissionError(
                f"the server refuses the role for database {self.name}: {text}",
                "check user and password in DATABASE_URL (or POSTGRES_*), and the server's pg_hba.conf",
            )
        if _NO_DATABASE.search(text) or isinstance(error, psycopg.errors.InvalidCatalogName):
            return DatabaseMissingError(
                f"database {self.name} does not exist: {text}",
                "check the name in DATABASE_URL (or POSTGRES_DB)",
            )
        if isinstance(error, psycopg.errors.TooManyConnections) and not FULL.search(text):
            return ServerUnavailableError(
                f"the server of database {self.name} has too many connections: {text}", "try again when fewer are open"
            )
        return None


def _otherwise(text: str, name: str, error: psycopg.Error) -> BackupError:
    if isinstance(error, psycopg.OperationalError):
        hint = "check that it runs and can be reached from here"
        return ServerUnavailableError(f"the server of database {name} does not answer: {text}", hint)
    return BackupCreationError(f"database {name}: {text}")


def _require_url(scheme: str, rest: str) -> None:
    """Refuse a URL that libpq would read in another way than it is meant."""
    kind = scheme.partition("+")[0]
    if kind not in {"postgresql", "postgres"}:
        raise ValueError(
            f"{f'{kind} is not PostgreSQL' if kind in _OTHER_SERVERS else 'not a PostgreSQL URL'}; {_WANTED}"
        )
    if rest.partition("/")[0].count("@") > 1:
        # libpq would take the rest of the password for the host name, and print it.
        raise ValueError("an @ in the user's name or password is written %40")
    if "@" in rest.partition("/")[2].partition("?")[0]:
        raise ValueError("a / in the user's name or password is written %2F")


# Variables that libpq and Debian's wrapper of its programs read. Other programs have names with PG too: PGADMIN_….
_LIBPQ = re.compile(
    r"PG(?:APPNAME|CHANNELBINDING|CLUSTER|CONNECT_TIMEOUT|DATABASE|DATESTYLE|GEQO|GSS\w+|HOST(?:ADDR)?|KRBSRVNAME"
    r"|LOADBALANCEHOSTS|LOCALEDIR|(?:MAX|MIN)PROTOCOLVERSION|OAUTH\w+|OPTIONS|PASSFILE|PASSWORD|PORT|REQUIRE\w+"
    r"|SERVICE(?:FILE)?|SSL\w+|SYSCONFDIR|TARGETSESSIONATTRS|TZ|USER)"
)
