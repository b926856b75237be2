"""The verbs that make, check and remove backups."""

from __future__ import annotations

import click

from app.cli.output import backups as show
from app.cli.output.progress import progress
from app.cli.session import WARNINGS, Session, as_json
from app.domain.backup import Origin, Tier
from app.errors import BackupValidationError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.delete import delete as delete_backup
from app.operations.backups.inventory import ALIASES
from app.operations.backups.keep import keep as keep_backup
from app.operations.backups.prune import prune as prune_backups
from app.operations.backups.verify import require_all
from app.operations.backups.verify import verify as verify_backups

CREATED = [tier for tier in Tier if tier is not Tier.SAFETY]


@click.command()
@click.argument("tier", default="manual", metavar=f"[{'|'.join(CREATED)}]")
@click.option("--label", help="What it is for.")
@as_json
@click.pass_obj
def create(session: Session, tier: str, label: str | None, *, as_json: bool) -> int:
    """Take a backup now."""
    if tier == Tier.SAFETY:
        raise BackupValidationError(
            "a safety backup is made by a restore", "for a backup now: residency-backup create manual"
        )
    request = BackupRequest(tier=Tier.parse(tier), label=label)
    with progress(quiet=as_json) as bars:
        taken = take_backup(session.service, request, bars)
    if taken is None:
        raise RuntimeError("a backup without a slot cannot have been made already")
    show.created(session.service.tree, taken, as_json=as_json)
    return WARNINGS if taken.warnings else 0


@click.command()
@click.argument("backup", metavar="[ID]", required=False)
@click.option("--all", "everything", is_flag=True, help="All backups (also when no ID is given).")
@as_json
@click.pass_obj
def verify(session: Session, backup: str | None, *, everything: bool, as_json: bool) -> int:
    """Read backups back and compare them with what was dumped."""
    if backup and everything:
        raise click.UsageError("give an ID or --all, not both")
    service = session.of_files()
    with progress(quiet=as_json) as bars:
        outcome = verify_backups(service, backup, bars)
    show.verified(outcome, as_json=as_json)
    if as_json and outcome.failed:
        return outcome.failed[0][1].exit_code if len(outcome.failed) == 1 else BackupValidationError.exit_code
    require_all(outcome)
    unproven = any(backup.origin is Origin.SCAN for backup in outcome.verified)
    return WARNINGS if outcome.warnings or unproven else 0


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and why the rest is kept.")
@as_json
@click.pass_obj
def prune(session: Session, *, dry_run: bool, as_json: bool) -> int:
    """Remove the backups that retention does not keep."""
    outcome = prune_backups(session.service, dry_run=dry_run)
    show.pruned(outcome, dry_run=dry_run, as_json=as_json)
    return WARNINGS if outcome.problems else 0


@click.command()
@click.argument("backup", metavar="ID")
@click.option("--reason", default="", help="Why it is kept.")
@click.option("--release", is_flag=True, help="Release it: retention decides again.")
@as_json
@click.pass_obj
def keep(session: Session, backup: str, reason: str, *, release: bool, as_json: bool) -> int:
    """Pin a backup, so that it is never pruned."""
    if backup in ALIASES and release:
        raise click.UsageError("name the backup to release by its ID: an alias may mean another one by now")
    service = session.of_files()
    show.kept(keep_backup(service, backup, None if release else reason), as_json=as_json)
    return 0


@click.command()
@click.argument("backup", metavar="ID")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is recorded.")
@as_json
@click.pass_obj
def delete(session: Session, backup: str, reason: str, *, as_json: bool) -> int:
    """Delete a backup that nothing needs, for a reason.

    The newest verified backup stays, and so does one that is pinned or that a restore needs.
    """
    if backup in ALIASES:
        raise click.UsageError("name the backup to delete by its ID: an alias may mean another one by now")
    outcome = delete_backup(session.of_files(), backup, reason)
    show.deleted(outcome, as_json=as_json)
    return WARNINGS if outcome.warnings else 0


COMMANDS: tuple[click.Command, ...] = (create, verify, prune, keep, delete)
