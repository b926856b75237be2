"""The command line, for people and, with --json, for programs."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import click

from app import __version__, cli_adopt, cli_full, cli_restore, show, streams
from app.cli_session import WARNINGS, Session, as_json
from app.domain.backup import Origin, Tier
from app.domain.checks import Severity, first_error
from app.errors import BackupCancelledError, BackupValidationError, Cancelled, ResidencyBackupError
from app.operations.check import check as check_system
from app.operations.check import repair as repair_system
from app.operations.inventory import ALIASES, find, inventory
from app.operations.keep import keep as keep_backup
from app.operations.opened import described
from app.operations.prune import prune as prune_backups
from app.operations.sync import sync as sync_catalog
from app.operations.take_backup import BackupRequest, take_backup
from app.operations.verify import require_all
from app.operations.verify import verify as verify_backups

CREATED = [tier for tier in Tier if tier is not Tier.SAFETY]
USAGE = 2
_SIGNALS: dict[int, str] = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
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


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
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
    context.obj = Session(env_file, verbose=verbose)


@commands.command()
@click.argument("tier", default="manual", metavar=f"[{'|'.join(CREATED)}]")
@click.option("--label", help="A word on what it is for.")
@as_json
@click.pass_obj
def create(session: Session, tier: str, label: str | None, *, as_json: bool) -> int:
    """Take a backup now."""
    if tier == Tier.SAFETY:
        raise BackupValidationError("a safety backup is made by a restore", "'create manual' makes one at any time")
    request = BackupRequest(tier=Tier.parse(tier), label=label)
    with show.progress(quiet=as_json) as bars:
        taken = take_backup(session.service, request, bars)
    if taken is None:
        raise RuntimeError("a backup without a slot cannot have been made already")
    show.created(session.service, taken, as_json=as_json)
    return WARNINGS if taken.warnings else 0


@commands.command("list")
@click.option("--tier", type=click.Choice(list(Tier)), help="Only this type.")
@as_json
@click.pass_obj
def list_backups(session: Session, tier: str | None, *, as_json: bool) -> int:
    """List the backups, newest first."""
    backups = inventory(session.service)
    show.listing(session.service, backups, tier, as_json=as_json)
    show.warn(backups.other_files())
    return 0


@commands.command("show")
@click.argument("backup", metavar="ID")
@as_json
@click.pass_obj
def show_backup(session: Session, backup: str, *, as_json: bool) -> int:
    """Show what is in a backup: server, tables, rows, digests."""
    found, manifest = described(session.service, find(session.service, backup))
    show.details(session.service, found, manifest, as_json=as_json)
    return 0


@commands.command()
@click.argument("backup", metavar="[ID]", required=False)
@click.option("--all", "everything", is_flag=True, help="All backups (also when no ID is given).")
@as_json
@click.pass_obj
def verify(session: Session, backup: str | None, *, everything: bool, as_json: bool) -> int:
    """Read backups back and compare them with what was dumped."""
    if backup and everything:
        raise click.UsageError("give an ID or --all, not both")
    with show.progress(quiet=as_json) as bars:
        outcome = verify_backups(session.service, backup, bars)
    show.verified(outcome, as_json=as_json)
    if as_json and outcome.failed:
        return outcome.failed[0][1].exit_code if len(outcome.failed) == 1 else BackupValidationError.exit_code
    require_all(outcome)
    unproven = any(each.origin is Origin.SCAN for each in outcome.verified)
    return WARNINGS if outcome.warnings or unproven else 0


@commands.command()
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and why the rest is kept.")
@as_json
@click.pass_obj
def prune(session: Session, *, dry_run: bool, as_json: bool) -> int:
    """Remove the backups that retention does not keep."""
    outcome = prune_backups(session.service, dry_run=dry_run)
    show.pruned(outcome, dry_run=dry_run, as_json=as_json)
    return WARNINGS if outcome.problems else 0


@commands.command()
@click.argument("backup", metavar="ID")
@click.option("--reason", default="", help="Why, for whoever wonders later.")
@click.option("--release", is_flag=True, help="Let retention have it again.")
@as_json
@click.pass_obj
def keep(session: Session, backup: str, reason: str, *, release: bool, as_json: bool) -> int:
    """Pin a backup, so that it is never pruned."""
    if backup in ALIASES and release:
        raise click.UsageError("name the backup to release by its ID: an alias may mean another one by now")
    show.kept(keep_backup(session.service, backup, None if release else reason), as_json=as_json)
    return 0


@commands.command()
@click.option("--repair", is_flag=True, help="Clean up what crashes left, and rebuild the catalog from the files.")
@as_json
@click.pass_obj
def check(session: Session, *, repair: bool, as_json: bool) -> int:
    """Check that the whole backup system is healthy."""
    done = repair_system(session.service) if repair else []
    broker = session.program.ask_broker()
    findings = [*check_system(session.service), *broker()]
    show.findings(findings, done, as_json=as_json)
    if error := first_error(findings):
        return error.exit_code
    return WARNINGS if any(each.severity is Severity.WARNING for each in findings) else 0


@commands.command()
@as_json
@click.pass_obj
def sync(session: Session, *, as_json: bool) -> int:
    """Rebuild the catalog from the files, and missing manifests from their backups."""
    with show.progress(quiet=as_json) as bars:
        outcome = sync_catalog(session.service, bars)
    show.synced(outcome, as_json=as_json)
    return WARNINGS if outcome.problems else 0


for verb in (
    cli_adopt.adopt,
    cli_full.restore_full,
    cli_restore.restore,
    cli_restore.rollback,
    cli_restore.diff,
    cli_restore.restores,
):
    commands.add_command(verb)


def run(arguments: Sequence[str]) -> int:
    """Run one verb and return the exit code: the one place where errors become such."""
    for number in _SIGNALS:
        signal.signal(number, _cancel)
    return _exit_code(lambda: commands.main(list(arguments), "residency-backup", standalone_mode=False), arguments)


def main() -> None:
    """The console command."""
    streams.forgive()
    code = run(sys.argv[1:])
    if lost := streams.what_was_lost():
        show.warn([f"standard output cannot be written: {lost}; what was to be done is done all the same"])
    sys.exit(WARNINGS if lost and code == 0 else code)


def _exit_code(verb: Callable[[], Any], arguments: Sequence[str]) -> int:
    try:
        return int(verb() or 0)
    except click.ClickException as error:
        error.show()
        return USAGE
    except click.Abort as abort:  # what click makes of a KeyboardInterrupt
        why = abort.__cause__
        cancelled = why.error if isinstance(why, Cancelled) else BackupCancelledError("cancelled", _AGAIN)
        return _failed(cancelled, arguments)
    except ResidencyBackupError as error:
        return _failed(error, arguments)


def _failed(error: ResidencyBackupError, arguments: Sequence[str]) -> int:
    show.error(error, as_json="--json" in arguments)
    return error.exit_code


def _cancel(received: int, _: FrameType | None) -> None:
    for number in _SIGNALS:  # a second one must not interrupt the cleaning up after the first
        signal.signal(number, signal.SIG_IGN)
    raise Cancelled(BackupCancelledError(f"cancelled by {_SIGNALS[received]}", _AGAIN))
