"""Fixtures live in one module for each thing; test modules import the same modules by the same names."""

import gc
import os
import signal
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.tiers import ALL

# Until everything is imported and collected, nothing is to be looked for that may go: see the end.
gc.disable()

# A shell ignores SIGINT in what it runs in the background, and tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The shell may be set up for a real service, whose database, broker and backups are not the tests' to touch.
for name in list(os.environ):
    if name.startswith(("BACKUP_", "RESTORE_", "CELERY_", "DATABASE_URL", "LOG_", "PG", "POSTGRES_")):
        del os.environ[name]

# A test that says no number of its own makes up half of what is usual, or ten times as much.
hypothesis.settings.register_profile("ours", max_examples=1000 if ALL else 40)
hypothesis.settings.load_profile("ours")

# These need a container engine and minutes: make test-compose.
collect_ignore = [] if os.environ.get("TEST_COMPOSE") else ["compose"]

pytest_plugins = [
    "tests.fix_scratch",
    "tests.fix_events",
    "tests.fix_compose",
    "tests.fix_postgres",
    "tests.fix_broker",
    "tests.fix_catalog",
    "tests.fix_celery",
    "tests.fix_service",
    "tests.fix_two_servers",
    "tests.fix_damaged",
    "tests.fix_full",
    "tests.fix_logical",
    "tests.fix_claims",
    "tests.fix_guarded",
    "tests.fix_loads",
    "tests.fix_local_tree",
    "tests.fix_memory_site",
    "tests.fix_memory_restores",
    "tests.fix_parallel_dumps",
    "tests.fix_people",
    "tests.fix_restore_faults",
    "tests.fix_small_site",
]


def pytest_configure(config: pytest.Config) -> None:
    """Each process of a run collects from another file on: one of them compiles a module that is new, not all."""
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    if worker:
        files = [file for each in config.args for file in files_of(each)]
        at = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
        config.args = files[at:] + files[:at]


def files_of(asked: str) -> list[str]:
    """The modules of a folder that are to be collected; what is no folder, as it is."""
    left_out = [Path(__file__).with_name(name) for name in collect_ignore]
    files = sorted(Path(asked).absolute().rglob("test_*.py"))
    return [str(file) for file in files if not any(folder in file.parents for folder in left_out)] or [asked]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests, which have a time limit of their own, begin first: last, they would leave a worker alone."""
    items.sort(key=lambda item: (item.get_closest_marker("timeout") is None, item.path))


def pytest_collection_finish() -> None:
    """What was imported and collected stays: looked through again and again for what may go, it costs a tenth."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()
