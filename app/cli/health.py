"""The verbs that check and repair the whole system."""

from __future__ import annotations

import click

from app.cli.output import checks as show
from app.cli.output.progress import progress
from app.cli.session import WARNINGS, Session, as_json
from app.domain.checks import Severity, first_error
from app.operations.backups.sync import sync as sync_catalog
from app.operations.health.check import check as check_system
from app.operations.health.check import repair as repair_system


@click.command()
@click.option("--repair", is_flag=True, help="Clean up what crashes left, and rebuild the catalog from the files.")
@as_json
@click.pass_obj
def check(session: Session, *, repair: bool, as_json: bool) -> int:
    """Check that the whole backup system is healthy."""
    service = session.of_files()
    done = repair_system(service) if repair else []
    broker = session.program.ask_broker()
    findings = [*check_system(service), *broker()]
    show.findings(findings, done, as_json=as_json)
    if error := first_error(findings):
        return error.exit_code
    return WARNINGS if any(finding.severity is Severity.WARNING for finding in findings) else 0


@click.command()
@as_json
@click.pass_obj
def sync(session: Session, *, as_json: bool) -> int:
    """Rebuild the catalog from the files, and missing manifests from their backups."""
    service = session.of_files()
    with progress(quiet=as_json) as bars:
        outcome = sync_catalog(service, bars)
    show.synced(outcome, as_json=as_json)
    return WARNINGS if outcome.problems else 0


COMMANDS: tuple[click.Command, ...] = (check, sync)
