"""The composition root: the only file that knows every part. Nothing here runs at import."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import structlog

from app import __version__
from app.alerts.listeners import Listeners
from app.alerts.log import write_line
from app.catalog.glance import Glance
from app.deferred import deferred
from app.domain.callers import user_on
from app.domain.checks import Finding
from app.domain.retention import Retention
from app.domain.revisions import History
from app.errors import ResidencyBackupError, SettingsError
from app.last_words import keep_to_oneself
from app.log import configure_logging, log_also_to, open_for_lines
from app.operations.backups.descriptions import Descriptions
from app.operations.options import Options
from app.operations.schedule import Schedule
from app.operations.service import Service, Tools
from app.settings.environment import environment_of_commands, load_settings, process_environment
from app.settings.file import as_environment_file
from app.settings.model import Settings
from app.storage.folder import LocalFolder
from app.storage.local import LocalTree
from app.storage.memory import FolderMemory
from app.urls import scheme_of, secrets_of

if TYPE_CHECKING:
    from app.catalog.lazy import LazyEngine
    from app.operations.full_restore.run import DataFolderTools
    from app.ports.cluster import Cluster
    from app.ports.commands import Commands
    from app.ports.restores import Restores
    from app.ports.runs import Catalog
    from app.ports.source import Source
    from app.ports.target import Target
    from app.ports.unpacker import Unpacker
    from app.postgres.database import Database
    from app.postgres.post_command import CommandPlace

log = structlog.get_logger(__name__)
EVENTS = Listeners((write_line,))


@dataclass(frozen=True, slots=True)
class Program:
    """A configured process: its settings, and the service itself, built when asked for."""

    settings: Settings
    warnings: tuple[str, ...]
    memory: FolderMemory
    database: Database

    def service(self, *, looking: bool = False, by: str | None = None) -> Service:
        """Put the parts together. Nothing connects, and nothing is made, yet.

        Args:
            looking: whether it is only for looking at backups: then the catalog is read in the quickest way.
            by: who asks for what is done; None for the user whom this process runs as.
        """
        settings, zone = self.settings, self.settings.zone
        tree = LocalTree(settings.backup_dir, self._folder())

        def prepare() -> None:
            """Make sure that a catalog in the tree is only made in the right folder."""
            if settings.catalog_file is not None or engine.is_below(tree.root):
                tree.folder.require_here()
                tree.make_root()

        def lazily() -> LazyEngine:
            from app.catalog.lazy import lazy_engine  # noqa: PLC0415 -- SQLAlchemy, which takes 0.2 s

            return lazy_engine(settings.catalog_url, prepare=prepare)

        def runs() -> Catalog:
            from app.catalog.store import SqlCatalog  # noqa: PLC0415 -- as above

            return SqlCatalog(engine)

        def restores() -> Restores:
            from app.catalog.restore_store import SqlRestores  # noqa: PLC0415 -- as above

            return SqlRestores(engine, self._holds_catalog)

        engine: LazyEngine = deferred(lazily)
        catalog: Catalog = deferred(runs)
        return Service(
            source=deferred(self._source, database=self.database.name),
            target=deferred(self._target),
            cluster=deferred(self._cluster),
            tools=Tools(unpacker=deferred(_unpacker), commands=deferred(self._commands), history=self._history),
            tree=tree,
            catalog=self._glanced_at(catalog, prepare) if looking else catalog,
            restores=deferred(restores),
            options=self._options(by or this_user()),
            events=EVENTS,
            clock=lambda: datetime.now(zone),
        )

    def _glanced_at(self, catalog: Catalog, prepare: Callable[[], None]) -> Catalog:
        file = self.settings.catalog_file
        if file is None:
            return catalog
        glance = Glance(file, prepare, catalog)
        return deferred(lambda: catalog, backups=glance.backups, manifests=glance.manifests)

    def _options(self, by: str) -> Options:
        settings, zone = self.settings, self.settings.zone
        return Options(
            keep=Retention(settings.keep),
            schedules={tier: Schedule(tier, cron, zone) for tier, cron in settings.crons.items()},
            codec=settings.backup_compression,
            level=settings.backup_compression_level,
            min_free_bytes=settings.backup_min_free_mb << 20,
            undo_for=settings.undo_for,
            post_command=settings.post_command,
            migrate_command=settings.migrate_command,
            before_command=settings.before_command,
            after_command=settings.after_command,
            hook_seconds=settings.restore_hook_seconds,
            command_dir=settings.restore_command_dir,
            version_tables=settings.restore_version_tables,
            foreign_role=settings.restore_foreign_role,
            tool=f"residency-backup {__version__}",
            by=by,
            full_paths=settings.backup_full_paths,
            environment=as_environment_file(settings),
        )

    def _history(self) -> History:
        from app.storage.migration_scripts import read_history  # noqa: PLC0415 -- by need: only if revisions differ

        folder = self.settings.restore_command_dir
        return History() if folder is None else read_history(folder)

    def _source(self) -> Source:
        from app.postgres.dump.source import PostgresSource  # noqa: PLC0415 -- by need, as all that talks to a server

        return PostgresSource(self.database, self.settings.backup_jobs)

    def _cluster(self) -> Cluster:
        from app.postgres.cluster import PostgresCluster  # noqa: PLC0415 -- as above

        return PostgresCluster(self.database)

    def _commands(self) -> Commands:
        from app.postgres.hook_command import OperatorCommands  # noqa: PLC0415 -- as above

        environment = environment_of_commands(process_environment(), self.settings)
        return OperatorCommands(self.database, self._place(environment), self.secrets())

    def _place(self, environment: Mapping[str, str]) -> CommandPlace:
        from app.postgres.post_command import CommandPlace  # noqa: PLC0415 -- as above

        settings = self.settings
        url = settings.database_url.get_secret_value() if settings.database_url else ""
        return CommandPlace(environment, scheme_of(url) or "postgresql", settings.restore_command_dir)

    def _target(self) -> Target:
        from app.postgres.target import PostgresTarget  # noqa: PLC0415 -- as above

        settings, secret = self.settings, self.settings.restore_foreign_password
        return PostgresTarget(
            self.database,
            settings.backup_jobs,
            secret.get_secret_value() if secret else None,
            commands=self._place(process_environment()),
        )

    def remember_folder(self) -> None:
        """Look at the folder of backups once, so that the processes which are forked from this one remember it."""
        try:
            self._folder().require_here()
        except ResidencyBackupError as error:  # each run says it, and is refused
            facts = {"error": type(error).__name__, "reason": error.message, "hint": error.hint}
            log.error("backup folder is not what it was", **facts)  # noqa: TRY400 -- a finding

    def _folder(self) -> LocalFolder:
        settings = self.settings
        return LocalFolder(settings.backup_dir, self.memory, self.database.name)

    def _holds_catalog(self, name: str, restore_id: str) -> bool:
        """Whether the PostgreSQL catalog is in the database of that name: by where both URLs lead, or by its rows."""
        from app.catalog.engine import parse_url  # noqa: PLC0415 -- by need

        catalog, ours = parse_url(self.settings.catalog_url), self.database.parameters
        host, port = ours.get("host", ""), ours.get("port", "5432")
        theirs = str(catalog.host or catalog.query.get("host", ""))
        same = host == theirs or (_is_local(host) and _is_local(theirs))
        same = same and catalog.database == name and str(catalog.port or catalog.query.get("port", "5432")) == port
        from app.postgres.target_facts import knows_restore  # noqa: PLC0415 -- as above

        return same or knows_restore(self.database.named(name), restore_id)

    def ask_broker(self) -> Callable[[], list[Finding]]:
        """Begin to ask whether the broker takes messages; what is returned waits for the answer.

        Only worker and beat need it, so a broker that takes none is a warning.
        """
        from app.broker import REDIS, ask  # noqa: PLC0415 -- as above

        broker = self.settings.celery_broker_url.get_secret_value()
        loss = "without it no scheduled backup is run, and no 'celery call'"
        waits = [ask("broker", "CELERY_BROKER_URL", broker, loss)]
        results = self.settings.result_backend
        if results != broker and results.partition("://")[0] in REDIS:
            loss = "without it every task waits long, and its result is lost"
            waits.append(ask("results", "CELERY_RESULT_BACKEND", results, loss))
        return lambda: [found() for found in waits]

    def start_logging(self, *, level: str | None = None, stream: TextIO | None = None, errors: bool = True) -> None:
        """Configure logging by the settings and these arguments, and warn of odd settings."""
        settings = self.settings
        configure_logging(level or settings.log_level, settings.log_format, self.secrets(), stream, errors=errors)
        keep_to_oneself(self.secrets())
        for warning in self.warnings:
            log.warning("backup settings", warning=warning)

    def log_commands(self) -> None:
        """Write the log lines of a command also to LOG_COMMANDS_TO, so that they are seen beside the worker's lines."""
        settings = self.settings
        if settings.log_commands_to is None:
            return
        try:
            stream = open_for_lines(settings.log_commands_to)
        except OSError as error:  # no reason to refuse somebody a restore
            reason = f"{settings.log_commands_to} cannot be written to: {error.strerror}"
            log.warning("backup settings", warning=f"LOG_COMMANDS_TO: {reason}")
            return
        if os.path.samestat(os.fstat(stream.fileno()), os.fstat(1)):
            stream.close()  # a container's first process: on standard output is the answer, and nothing else
            return
        log_also_to(stream, settings.log_level, settings.log_format, self.secrets())

    def secrets(self) -> list[str]:
        """What no line may show: each URL that holds a password, and the password by itself."""
        known = self.settings.secrets
        parts = [part for secret in known for part in secrets_of(secret)]
        return [*known, *parts, *([password] if (password := self.database.password) else [])]


def this_user() -> str:
    """The user of the operating system whom this process runs as."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container may run as any number
        user = str(os.geteuid())
    return user_on(user, os.uname().nodename, os.environ.get("SUDO_USER"))


def _unpacker() -> Unpacker:
    from app.postgres.unpack import PgRestore  # noqa: PLC0415 -- by need

    return PgRestore()


def _is_local(host: str) -> bool:
    return host in {"", "localhost", "127.0.0.1", "::1"} or host.startswith("/")


def full_programs() -> DataFolderTools:
    """The programs that check a full backup and start a server on it; needs no settings."""
    from app.operations.full_restore.run import DataFolderTools  # noqa: PLC0415 -- by need
    from app.postgres.cluster import start_command, verify_copy  # noqa: PLC0415 -- as above

    return DataFolderTools(verify=verify_copy, start=start_command)


def bootstrap(environ: Mapping[str, str] | None = None, *, serverless: bool = False) -> Program:
    """Read the settings.

    Args:
        environ: the environment; the process's own unless given.
        serverless: whether the settings may name no database, because the verb works on files alone.

    Raises:
        SettingsError: something is missing or wrong, all of it listed.
    """
    loaded = load_settings(process_environment() if environ is None else environ, serverless=serverless)
    settings, memory = loaded.settings, FolderMemory(loaded.settings.backup_state_dir)
    return Program(settings, loaded.warnings, memory, _database(settings, memory))


def _database(settings: Settings, memory: FolderMemory) -> Database:
    if settings.database_url is not None:
        return settings.database  # libpq alone can read it
    if settings.leads_to_a_server:
        secret = settings.postgres_password
        password = secret.get_secret_value() if secret else None
        return deferred(lambda: settings.database, name=settings.postgres_db, password=password)
    name = _only_name(settings, memory)

    def unconfigured() -> Database:
        from app.postgres.unconfigured import UnconfiguredDatabase  # noqa: PLC0415 -- by need

        return UnconfiguredDatabase.of_name(name)

    return deferred(unconfigured, name=name, password=None)


def _only_name(settings: Settings, memory: FolderMemory) -> str:
    """The database whose backups stand in the tree, if they are of one alone.

    Raises:
        SettingsError: they are of several.
    """
    if settings.postgres_db:
        return settings.postgres_db
    names = LocalFolder(settings.backup_dir, memory, "").databases() or _named_by_manifests(settings.backup_dir)
    if len(names) > 1:
        listed = ", ".join(names)
        raise SettingsError.of([f"POSTGRES_DB: missing; {settings.backup_dir} has backups of several: {listed}"])
    return names[0] if names else ""


def _named_by_manifests(root: Path) -> list[str]:
    tree = LocalTree(root)
    found = map(Descriptions(tree, EVENTS, recording=False).of, tree.files())
    return sorted({file.described.database for file in found if file.described is not None})
