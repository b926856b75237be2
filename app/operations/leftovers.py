"""Removes what runs that died have left."""

from __future__ import annotations

import structlog

from app.operations.service import Service

log = structlog.get_logger(__name__)


def find_leftovers(service: Service) -> list[str]:
    """Temporary files of runs that are not under way, as paths in the tree.

    Runs whose holders are dead are ended first, so that theirs count.
    """
    for run in service.catalog.abandon_dead(service.clock()):
        log.warning("backup run abandoned: its process is gone", run=run.id, tier=str(run.tier))
    alive = {run.id for run in service.catalog.running()}
    return [file for file, run_id in service.tree.leftovers() if run_id not in alive]


def remove_leftovers(service: Service) -> list[str]:
    """Remove them; returns what was removed."""
    found = find_leftovers(service)
    for file in found:
        service.tree.remove_leftover(file)
        log.info("backup leftover removed", file=file)
    return found
