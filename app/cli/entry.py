"""The command line, for people and, with --json, for programs."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FrameType
from typing import Any

import click

from app import __version__, streams
from app.cli.plain_structlog import import_structlog
from app.errors import BackupCancelledError, Cancelled, ResidencyBackupError

USAGE, WARNINGS = 2, 3
_SIGNALS: dict[int, str] = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
_OBJECTS = 20_000  # made between two looks for cycles; with the default, imports alone cause hundreds of looks
_AGAIN = "start it again when you want it"
EXIT_CODES = """\b
Exit codes:
  0 ok                           13 content is not what it should be
  1 any other failure            14 disk full or too little space
  2 settings or usage            15 backup could not be created
  3 done, with warnings          16 backup cannot be read
 10 no such backup or restore    17 backup cannot be written
 11 already running              18 data does not load, or conflicts
 12 a right is missing           19 rollback failed
                                130 cancelled
"""


# Each verb's module, which is imported when the verb is called, and the first line of its help.
VERBS = {
    "adopt": ("adopt", "Say that this server is the new one: its backups follow those of the server before."),
    "check": ("health", "Check that the whole backup system is healthy."),
    "create": ("backups", "Take a backup now."),
    "delete": ("backups", "Delete a backup that nothing needs, for a reason."),
    "diff": (
        "restores",
        "Show what differs between two backups, or a backup and the live database.",
    ),
    "keep": ("backups", "Pin a backup, so that it is never pruned."),
    "list": ("looks", "List the backups, newest first."),
    "prune": ("backups", "Remove the backups that retention does not keep."),
    "restore": ("restores", "Restore a backup, or the file of any plain dump: all of it, or nothing."),
    "restore-full": (
        "full",
        "Lay a full backup out in an empty folder, check it, and say what to start. No running server is touched.",
    ),
    "restores": ("restores", "List the restores, newest first, and until when each can be rolled back."),
    "rollback": ("restores", "Undo a restore, or finish one that a crash left half done."),
    "show": ("looks", "Show what is in a backup: server, tables, rows, digests."),
    "sync": ("health", "Rebuild the catalog from the files, and missing manifests from their backups."),
    "verify": ("backups", "Read backups back and compare them with what was dumped."),
}


class Verbs(click.Group):
    """The verbs. To list them takes no more than their names: whoever asks for help is spared the imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's
        """Their names."""
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- click's
        """A verb by its name."""
        if cmd_name not in VERBS:
            return None
        import_structlog()
        verbs: Sequence[click.Command] = import_module(f"app.cli.{VERBS[cmd_name][0]}").COMMANDS
        return next(verb for verb in verbs if verb.name == cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- click's
        """Write them with the first lines of their help."""
        widest = formatter.width - 6 - max(map(len, VERBS))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, click.Command(name, help=VERBS[name][1]).get_short_help_str(widest)) for name in sorted(VERBS)]
            )


@click.group(None, Verbs, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--env-file", type=click.Path(exists=True, dir_okay=False), help="Settings NAME=value; the environment wins."
)
@click.option("-v", "--verbose", is_flag=True, help="Log each step to standard error.")
@click.version_option(__version__, prog_name="residency-backup")
@click.pass_context
def commands(context: click.Context, env_file: str | None, *, verbose: bool) -> None:
    """Back up the residency scheduler's database, look after the backups, and restore from them.

    ID is a backup's path without extensions, as `list` shows it (daily/backup-2025-01-15), or one of: latest,
    latest-daily, latest-weekly, latest-monthly, latest-manual, latest-safety, latest-full, oldest.
    """
    from app.cli.session import Session  # noqa: PLC0415 -- it takes the whole program

    context.obj = Session(env_file, verbose=verbose)


def run(arguments: Sequence[str]) -> int:
    """Run one verb and return the exit code. Nothing else turns errors into exit codes."""
    for number in _SIGNALS:
        signal.signal(number, _cancel)
    return _exit_code(lambda: commands.main(list(arguments), "residency-backup", standalone_mode=False), arguments)


def main() -> None:
    """The console command."""
    gc.set_threshold(_OBJECTS)
    streams.forgive()
    code = run(sys.argv[1:])
    if lost := streams.what_was_lost():
        from app.cli.output.messages import warn  # noqa: PLC0415 -- by need

        warn([f"standard output cannot be written: {lost}; what was to be done is done all the same"])
    gc.freeze()  # else Python looks through all that is left for cycles, several times: 0.07 s
    sys.exit(WARNINGS if lost and code == 0 else code)


def _exit_code(verb: Callable[[], Any], arguments: Sequence[str]) -> int:
    try:
        return int(verb() or 0)
    except click.ClickException as error:
        return _misused(error, arguments)
    except click.Abort as abort:  # what click makes of a KeyboardInterrupt
        why = abort.__cause__
        cancelled = why.error if isinstance(why, Cancelled) else BackupCancelledError("cancelled", _AGAIN)
        return _failed(cancelled, arguments)
    except ResidencyBackupError as error:
        return _failed(error, arguments)


def _misused(error: click.ClickException, arguments: Sequence[str]) -> int:
    if "--json" in arguments:
        from app.cli.output.messages import misuse  # noqa: PLC0415 -- by need

        misuse(error, USAGE)
    else:
        error.show()
    return USAGE


def _failed(error: ResidencyBackupError, arguments: Sequence[str]) -> int:
    from app.cli.output.messages import error as show  # noqa: PLC0415 -- by need

    show(error, as_json="--json" in arguments)
    return error.exit_code


def _cancel(received: int, _: FrameType | None) -> None:
    for number in _SIGNALS:  # a second one must not interrupt the cleaning up after the first
        signal.signal(number, signal.SIG_IGN)
    raise Cancelled(BackupCancelledError(f"cancelled by {_SIGNALS[received]}", _AGAIN))
