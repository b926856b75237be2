"""Full backups told to a real worker, and sent by a real beat."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from celery import Celery

from app.domain.backup import Tier
from app.operations.backups.inventory import inventory
from tests.e2e.test_worker_and_beat import SOON, eventually
from tests.fix_celery import NOTHING_DUE, NodeFactory
from tests.fix_full import FullSite, server_on
from tests.fix_service import require_same_content

pytestmark = pytest.mark.e2e
PATIENCE = 60.0


@pytest.fixture
def env(full_site: FullSite, broker_url: str) -> dict[str, str]:
    """The worker's settings; nothing comes due by itself."""
    return {**full_site.site.env, **NOTHING_DUE, "CELERY_BROKER_URL": broker_url, "LOG_LEVEL": "INFO"}


def test_the_task_makes_one_and_returns_what_the_contract_says(
    full_site: FullSite, env: dict[str, str], celery_node: NodeFactory, sender: Celery, server_folder: Path
) -> None:
    worker = celery_node("worker", env)
    result = sender.send_task("backup.full").get(timeout=PATIENCE)
    assert set(result) == {"backup", "path", "bytes", "rows", "tables", "seconds"}
    assert result["backup"] == f"full/backup-full-{datetime.now(UTC).date()}"
    assert Path(result["path"]).stat().st_size == result["bytes"]
    assert (result["rows"], result["tables"]) == (None, None), "it counts no rows: it is the server as it was"
    assert sender.send_task("backup.verify").get(timeout=PATIENCE)["verified"] == [result["backup"]]
    for event in ("backup started", "backup created", "backup verified"):
        assert event in worker.logs()
    target = server_folder / "target"
    assert full_site.site.cli("restore-full", result["path"], "--target", str(target)).code == 0
    with server_on(target / "postgres", full_site.server, full_site.site.database.name) as copy:
        require_same_content(full_site.site.database, copy)


def test_beat_fires_and_the_slot_is_run_once(
    full_site: FullSite, env: dict[str, str], celery_node: NodeFactory
) -> None:
    settings = {**env, "BACKUP_FULL_CRON": SOON}
    worker, beat = celery_node("worker", settings), celery_node("beat", settings)
    eventually(lambda: list(full_site.site.backups.glob("full/*.json")), "the full backup", PATIENCE)
    eventually(lambda: beat.logs().count("Sending due task full") > 1, "beat to fire twice")
    eventually(lambda: "run already" in worker.logs(), "the other message")
    eventually(lambda: "backup created" in worker.logs(), "the line, which comes after the file and the slot's end")
    assert worker.logs().count("backup created") == 1
    assert [each.tier for each in inventory(full_site.site.service())] == [Tier.FULL]
