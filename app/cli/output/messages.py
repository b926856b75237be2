"""What every verb may have to print: one JSON document for programs, warnings, and a failure with what to do now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from app import documents
from app.cli.output.text import say
from app.errors import ResidencyBackupError
from app.last_words import without_secrets


def document(content: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(content, indent=2, default=str))


def warn(warnings: Sequence[str]) -> None:
    """Warnings, on standard error."""
    for warning in warnings:
        say(f"warning: {warning}", colour="yellow", error=True)


def error(failure: ResidencyBackupError, *, as_json: bool) -> None:
    """A failure, and what to do now."""
    if as_json:
        document(documents.failure(failure))
        return
    say(f"{type(failure).__name__}: {without_secrets(failure.message)}", colour="red", error=True)
    for line in _said_by_server(failure):
        say(line, error=True)
    if failure.hint:
        say(f"what to do: {without_secrets(failure.hint)}", error=True)


def misuse(error: click.ClickException, exit_code: int) -> None:
    """A command that cannot be run as it was given, as a document like that of a failure."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"{context.command_path if context else 'residency-backup'} --help"
    message = without_secrets(error.format_message())
    document({"error": type(error).__name__, "message": message, "hint": hint, "exit_code": exit_code})


def _said_by_server(failure: ResidencyBackupError) -> list[str]:
    """What the server said beside its message: key, row, function."""
    from app.postgres.server_messages import details_behind  # noqa: PLC0415 -- the driver, which only a failure is worth

    return [without_secrets(line) for line in details_behind(failure)]
