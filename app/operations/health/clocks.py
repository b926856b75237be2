"""Backups and restores that are dated later than now, because a clock was wrong, and what to do about them."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from app.domain.backup import Backup
from app.domain.checks import Finding
from app.domain.clocks import from_future, is_ahead
from app.operations.backups.inventory import MISSING
from app.operations.service import Service
from app.ports.tree import Tree


def check_clocks(service: Service, backups: Sequence[Backup]) -> list[Finding]:
    """Find backups and restores that are dated later than now."""
    now = service.clock()
    ahead = [backup for backup in backups if from_future(backup, now) and backup.problem != MISSING]
    found = [Finding.warning("clock", _message(service.tree, backup)) for backup in ahead]
    for record in service.restores.restores(service.database):
        ended = record.finished_at or record.started_at
        if record.undo_until is not None and is_ahead(ended, now):
            message = (
                f"restore {record.id} ended at {ended:%Y-%m-%d %H:%M %Z}, which has not come yet: a clock was wrong; "
                f"its undo is kept until {record.undo_until:%Y-%m-%d %H:%M %Z}"
            )
            found.append(Finding.warning("clock", message))
    return found


def _message(tree: Tree, backup: Backup) -> str:
    file = tree.location(backup.file)
    remove = f"rm {quote(f'{file}.json')} {quote(str(file))}; residency-backup sync"
    shows = f"{backup.created_at:%Y-%m-%d %H:%M %Z}"
    return (
        f"{backup.id} is from the future: it shows {shows} and stands for {backup.period}. "
        "A clock was wrong, or this one is: it is kept, but it is not 'latest' and not counted. Look at it: "
        f"residency-backup show {backup.id}; if a newer one stands and it is not wanted: {remove}"
    )
