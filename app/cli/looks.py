"""The verbs that only look at backups. They import little: a person waits for them."""

from __future__ import annotations

import click

from app.cli.output import backups as show
from app.cli.output.messages import warn
from app.cli.session import Session, as_json
from app.domain.backup import Tier
from app.operations.backups.inventory import find, inventory


@click.command("list")
@click.option("--tier", type=click.Choice(list(Tier)), help="Only this type.")
@as_json
@click.pass_obj
def list_backups(session: Session, tier: str | None, *, as_json: bool) -> int:
    """List the backups, newest first."""
    service = session.to_look()
    backups = inventory(service, looking=True)
    show.listing(service, backups, tier, as_json=as_json)
    warn(backups.other_files())
    return 0


@click.command("show")
@click.argument("backup", metavar="ID")
@as_json
@click.pass_obj
def show_backup(session: Session, backup: str, *, as_json: bool) -> int:
    """Show what is in a backup: server, tables, rows, digests."""
    from app.operations.backups.opened import described  # noqa: PLC0415 -- the archive's format, which `list` is spared

    service = session.to_look()
    found, manifest = described(service, find(service, backup, inventory(service, looking=True)))
    show.details(service.tree, found, manifest, as_json=as_json)
    return 0


COMMANDS: tuple[click.Command, ...] = (list_backups, show_backup)
