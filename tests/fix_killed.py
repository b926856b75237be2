"""A restore or rollback in a process that is killed at one of its points."""

from __future__ import annotations

import json
import signal
from typing import Any

from tests.fix_damaged import Damaged
from tests.fix_fork import run_forked

Point = dict[str, Any]


PATIENCE = 60.0


def killed(damaged: Damaged, verb: str, asked: dict[str, Any], point: Point) -> bool:
    """Run a restore in a process that dies at a point; False where it came to its end before."""
    confirmed = {"backup": damaged.backup, "confirm": damaged.name, **asked} if verb == "restore" else asked
    given = json.dumps({"verb": verb, "asked": confirmed, **point})
    env = damaged.site.process_env(LOG_LEVEL="ERROR")
    done = run_forked("tests.kill_restore:main", [given], env, timeout=PATIENCE)
    assert done.code in {0, -signal.SIGKILL}, done.stderr
    return done.code != 0
