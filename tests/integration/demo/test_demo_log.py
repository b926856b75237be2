"""The demo shows what the service logs of its backups and restores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from demo.stack import story

# A process of its own, because logging is a state of the whole process.
SCRIPT = """
import sys
from app.alerts.log import write_line
from app.domain.backup import Tier
from app.domain.events import BackupEvent, RestoreEvent
from app.log import configure_logging
from app.ports.events import Event
import structlog

configure_logging("INFO", "console", stream=sys.stdout)
write_line(Event(BackupEvent.STARTED, tier=Tier.DAILY))
write_line(Event(RestoreEvent.COMPLETED, restore="abc"))
structlog.get_logger("celery").info("backup of nothing")
"""


def test_the_lines_of_events_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "backend.log"
    with log.open("wb") as output:
        subprocess.run([sys.executable, "-c", SCRIPT], stdout=output, check=True)
    (backup,) = story(log, "backup")
    assert "backup started" in backup
    (restore,) = story(log, "restore")
    assert "restore completed" in restore
