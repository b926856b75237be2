"""What every verb of the command line works with."""

from __future__ import annotations

import functools
import sys

import click

from app.bootstrap import Program, bootstrap
from app.cli.entry import WARNINGS
from app.errors import SettingsError
from app.log import configure_logging
from app.operations.service import Service
from app.settings.environment import process_environment

__all__ = ["WARNINGS", "Session", "as_json"]
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


class Session:
    """What one call of the program works with; the service is put together when a verb first needs it."""

    def __init__(self, env_file: str | None, *, verbose: bool) -> None:
        self._env_file = env_file
        self._verbose = verbose
        self._serverless = False

    def of_files(self) -> Service:
        """The service for a verb that needs only the files: it works without a database."""
        self._serverless = True
        return self.service

    def to_look(self) -> Service:
        """Likewise, for a verb that only looks at backups."""
        self._serverless = True
        return self.program.service(looking=True)

    @functools.cached_property
    def program(self) -> Program:
        """The configured program, logging to standard error."""
        environ = dict(process_environment())
        if self._env_file:
            environ = _file_values(self._env_file) | {name: value for name, value in environ.items() if value}
        program = bootstrap(environ, serverless=self._serverless)
        asked = "log_level" in program.settings.model_fields_set
        level = "DEBUG" if self._verbose else program.settings.log_level if asked else "WARNING"
        program.start_logging(level=level, stream=sys.stderr, errors=asked or self._verbose)
        program.log_commands()
        return program

    def log_plainly(self) -> None:
        """Log to standard error without settings, for a verb that needs none."""
        configure_logging("DEBUG" if self._verbose else "WARNING", "console", stream=sys.stderr, errors=self._verbose)

    @functools.cached_property
    def service(self) -> Service:
        """The service."""
        return self.program.service()


def _file_values(path: str) -> dict[str, str]:
    from dotenv import dotenv_values  # noqa: PLC0415 -- by need

    try:
        values = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is no text", "a line of it reads NAME=value") from None
    return {name: value or "" for name, value in values.items()}
