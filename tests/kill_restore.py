"""A process that restores, or rolls back, and is killed at one point of it: the main program of `tests.fix_fork`.

Its argument is JSON: `verb`, `asked`, and where to die: `record` (which save of the restore's record, from 1), `when`
(before or after it is saved), or `phase` (in the middle of that).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from app.bootstrap import bootstrap
from app.domain.restore import Restore
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from app.operations.restore.run import restore
from app.operations.service import SILENT, Service
from tests.fix_service import At


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(service: Service, number: int, when: str) -> None:
    """Die at one of the saves; a rollback's claim counts as one."""
    saved = 0

    def counted(save: Any) -> Any:
        def hooked(record: Restore, *more: Restore) -> Any:
            nonlocal saved
            saved += 1
            if saved == number and when == "before":
                die()
            result = save(record, *more)
            if saved == number:
                die()
            return result

        return hooked

    for name in ("save_restore", "replace_restore"):
        setattr(service.restores, name, counted(getattr(service.restores, name)))


def main() -> None:
    given = json.loads(sys.argv[1])
    service = bootstrap().service()
    progress = At(die, phase=given["phase"]) if given.get("phase") else SILENT
    if given.get("record"):
        die_at(service, given["record"], given["when"])
    if given["verb"] == "rollback":
        rollback(service, given["asked"]["restore"], progress)
    else:
        restore(service, RestoreRequest.parse(service, **given["asked"]), progress)
