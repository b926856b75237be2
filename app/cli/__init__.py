"""The command line, for people and, with --json, for programs."""

from __future__ import annotations

from app.cli.entry import VERBS, commands, main, run

__all__ = ["VERBS", "commands", "main", "run"]
