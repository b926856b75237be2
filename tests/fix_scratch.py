"""Where a test run writes: in memory, if there is enough of it.

A database is 300 files, made and removed for each test, and a disk takes half a millisecond for one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

MEMORY = Path("/dev/shm")
WANTED_BYTES = 4 << 30
PREFIX = "residency-backup-tests-"
_JANITOR = pytest.StashKey[subprocess.Popen[bytes]]()


def has_room(folder: Path) -> bool:
    """Whether a folder in memory takes what a test run writes, programs that are to be run among it."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    room = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available)
    return room >= WANTED_BYTES and not found.f_flag & os.ST_NOEXEC and os.access(folder, os.W_OK)


@contextmanager
def folder_of_run(where: Path) -> Iterator[Path]:
    """A folder for the length of a block; what a killed run left there goes too."""
    for left in where.glob(f"{PREFIX}*"):
        with suppress(OSError), _locked(left):
            shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=where))
    folder.chmod(0o755)  # servers run as somebody else
    with _locked(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises BlockingIOError while a run uses the folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before anything asks where temporary files go; the run's other processes inherit the answer."""
    chosen = os.environ.get("TEST_FOLDER")
    if hasattr(config, "workerinput"):
        return
    folder = folder_of_run(Path(chosen) if chosen else MEMORY if has_room(MEMORY) else Path(tempfile.gettempdir()))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder.__enter__())
    config.stash[_JANITOR] = _have_cleaned(tempfile.tempdir)
    config.add_cleanup(lambda: folder.__exit__(None, None, None))


def _have_cleaned(folder: str) -> subprocess.Popen[bytes]:
    """Whatever ends this run, a time limit or kill -9 too, what it started is ended."""
    reading, _writing = os.pipe()  # closed by the kernel, when this process has ended
    argv = [sys.executable, str(Path(__file__).with_name("janitor.py")), folder]
    with open(reading) as end:  # noqa: PTH123 -- a descriptor
        nowhere = subprocess.DEVNULL
        return subprocess.Popen(argv, stdin=end, stdout=nowhere, stderr=nowhere, start_new_session=True)


def pytest_report_header() -> str:
    return f"temporary files: {tempfile.gettempdir()}"
