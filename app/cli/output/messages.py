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
from app.postgres.server_messages import details_behind


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
    for line in details_behind(failure):
        say(without_secrets(line), error=True)
    if failure.hint:
        say(f"what to do: {without_secrets(failure.hint)}", error=True)
