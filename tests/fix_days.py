"""A site's backups of several days, and what a check says of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from app.domain.backup import Tier
from app.domain.checks import Severity
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import inventory
from app.operations.health.check import check
from app.operations.service import Service

DAILY = BackupRequest(tier=Tier.DAILY)
START = datetime(2025, 1, 10, 2, tzinfo=UTC)


def take_days(service: Service, days: int) -> None:
    """A daily backup on each of so many days."""
    for day in range(days):
        now = START + timedelta(days=day)
        take_backup(replace(service, clock=lambda now=now: now), DAILY)


def periods(service: Service) -> list[str]:
    """Of all backups, oldest first."""
    return sorted(each.period for each in inventory(service))


def warnings(service: Service) -> list[str]:
    """What a check complains of."""
    return [each.message for each in check(service) if each.severity is not Severity.OK]
