"""The verbs of restores."""

from __future__ import annotations

from typing import Unpack

import click

from app.cli.output import restores as show
from app.cli.output.progress import progress
from app.cli.session import WARNINGS, Session, as_json
from app.domain.restore import Mode, Policy
from app.errors import MergeConflictError
from app.operations.backups.inventory import inventory
from app.operations.backups.no_return import lost_undos
from app.operations.restore.preview import Preview
from app.operations.restore.preview import diff as diff_backups
from app.operations.restore.preview import preview as preview_restore
from app.operations.restore.request import RestoreOptions, RestoreRequest
from app.operations.restore.rollback import rollback as roll_back
from app.operations.restore.run import restore as run_restore


@click.command()
@click.argument("backup", metavar="ID|PATH")
@click.option("--mode", required=True, metavar=f"[{'|'.join(Mode)}]", help="What to do with the present rows.")
@click.option("--confirm", metavar="DBNAME", help="The name of the database that changes, typed out.")
@click.option("--table", "tables", multiple=True, metavar="T", help="Only this table; may be given again.")
@click.option("--dependents", is_flag=True, help="With the tables that refer to these.")
@click.option("--parents", is_flag=True, help="With the tables that these refer to; with --where: the rows.")
@click.option("--where", metavar="SQL", help="Merge only the rows of --table that meet a condition.")
@click.option(
    "--on-conflict",
    default=str(Policy.TAKE_BACKUP),
    show_default=True,
    metavar="POLICY",
    help="If a row differs: take-backup, keep-live, newest:COLUMN or fail.",
)
@click.option("--into", metavar="DB", help="Restore into another database, made if it is missing.")
@click.option("--search-path", metavar="SCHEMAS", help="Schemas that functions search for names without a schema.")
@click.option("--as", "as_role", metavar="ROLE", help="Load a stranger's dump as a role with few rights.")
@click.option("--skip-table", "skip_tables", multiple=True, metavar="T", help="Leave a table of the backup out.")
@click.option("--skip-column", "skip_columns", multiple=True, metavar="T.C", help="Leave a column of the backup out.")
@click.option("--map-table", "map_tables", multiple=True, metavar="OLD=NEW", help="A table has another name now.")
@click.option("--map-column", "map_columns", multiple=True, metavar="T.OLD=NEW", help="A column has another name now.")
@click.option("--fill", "fills", multiple=True, metavar="T.C=SQL", help="What new rows get in a new column.")
@click.option("--migrate", metavar="COMMAND", help="Merge a copy of the backup that this has brought up to date.")
@click.option("--allow-missing", is_flag=True, help="Replace, though the file lacks tables or rows.")
@click.option("--dry-run", is_flag=True, help="Report what would change; nothing is changed.")
@as_json
@click.pass_obj
def restore(session: Session, *, backup: str, dry_run: bool, as_json: bool, **options: Unpack[RestoreOptions]) -> int:
    """Restore a backup, or the file of any plain dump: all of it, or nothing.

    replace makes the database what the backup holds; merge adds the backup's rows to those that are there.
    """
    request = RestoreRequest.parse(session.service, backup, **options)
    if dry_run:
        return _preview(session, request, as_json=as_json)
    with progress(quiet=as_json) as bars:
        outcome = run_restore(session.service, request, bars)
    show.restored(outcome, as_json=as_json)
    return WARNINGS if outcome.warnings else 0


def _preview(session: Session, request: RestoreRequest, *, as_json: bool) -> int:
    with progress(quiet=as_json) as bars:
        plan: Preview = preview_restore(session.service, request, bars)
    show.previewed(plan, as_json=as_json)
    if plan.refused:
        return MergeConflictError.exit_code
    return WARNINGS if plan.warnings else 0


@click.command()
@click.argument("restore_id", metavar="RESTORE_ID")
@as_json
@click.pass_obj
def rollback(session: Session, restore_id: str, *, as_json: bool) -> int:
    """Undo a restore, or finish one that a crash left half done."""
    with progress(quiet=as_json) as bars:
        outcome = roll_back(session.service, restore_id, bars)
    show.rolled_back(outcome, as_json=as_json)
    return WARNINGS if outcome.warnings else 0


@click.command()
@click.argument("one", metavar="ID")
@click.argument("other", metavar="[ID2]", required=False)
@as_json
@click.pass_obj
def diff(session: Session, one: str, other: str | None, *, as_json: bool) -> int:
    """Show what differs between two backups, or a backup and the live database.

    Sample rows are shown of each table that differs.
    """
    with progress(quiet=as_json) as bars:
        changes = diff_backups(session.service, one, other, bars)
    show.differences(changes, one, other, as_json=as_json)
    return 0


@click.command()
@as_json
@click.pass_obj
def restores(session: Session, *, as_json: bool) -> int:
    """List the restores, newest first, and until when each can be rolled back."""
    service = session.service
    records = service.restores.restores(service.database)
    lost = lost_undos(service, records, inventory(service, looking=True)) if records else {}
    show.listing(service, records, lost, as_json=as_json)
    return 0


COMMANDS: tuple[click.Command, ...] = (restore, rollback, diff, restores)
