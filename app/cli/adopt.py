"""The verb that says which server, and which folder, is meant."""

from __future__ import annotations

import click

from app import documents
from app.cli.output.messages import document
from app.cli.output.text import say
from app.cli.session import Session, as_json
from app.operations.backups.adopt import adopt as take


@click.command()
@click.option("--confirm", metavar="DBNAME", help="The name of the database, typed out.")
@click.option("--new-folder", is_flag=True, help="BACKUP_DIR is really a new folder, although it held backups before.")
@as_json
@click.pass_obj
def adopt(session: Session, *, confirm: str | None, new_folder: bool, as_json: bool) -> int:
    """Say that this server is the new one: its backups follow those of the server before."""
    service = session.service
    outcome = take(service, confirm, new_folder=new_folder)
    if as_json:
        document(documents.adoption(service.database, outcome))
        return 0
    if outcome.before is not None and outcome.changed:
        say(f"until now the backups of {service.database} were of {outcome.before}")
    say(f"the backups of {service.database} are of this server: {outcome.now}")
    if outcome.forgotten:
        say(f"the catalog has forgotten {len(outcome.forgotten)} backups whose files are gone")
    return 0


COMMANDS: tuple[click.Command, ...] = (adopt,)
