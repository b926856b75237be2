"""Scripts that undo merges: private, whole or not at all."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from app.errors import BackupNotFoundError, BackupStorageError
from app.storage.scripts import LocalScripts

ID = "0123456789ab"


@pytest.fixture
def scripts(tmp_path: Path) -> LocalScripts:
    return LocalScripts(tmp_path)


def test_a_script_is_kept_and_read_and_removed(scripts: LocalScripts) -> None:
    assert scripts.ids() == []
    with scripts.create(ID) as script:
        script.stream.write(b"SELECT 1;\n")
        script.keep()
        assert scripts.path(ID).read_bytes() == b"SELECT 1;\n"
    assert scripts.path(ID).stat().st_mode & 0o777 == 0o600
    assert scripts.path(ID).parent.stat().st_mode & 0o777 == 0o700
    assert scripts.ids() == [ID]
    with scripts.open(ID) as stream:
        assert stream.read() == b"SELECT 1;\n"
    scripts.remove(ID)
    scripts.remove(ID)
    assert scripts.ids() == []
    with pytest.raises(BackupNotFoundError):
        scripts.open(ID)


def test_nothing_is_left_of_one_that_fails(scripts: LocalScripts) -> None:
    def fail() -> None:
        with scripts.create(ID) as script:
            script.stream.write(b"SELECT 1;\n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert scripts.ids() == []


def test_one_that_is_kept_outlives_what_comes_after(scripts: LocalScripts) -> None:
    def cancel() -> None:
        with scripts.create(ID) as script:
            script.keep()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cancel()
    assert scripts.ids() == [ID]


def test_what_is_no_script_of_ours_is_left_alone(scripts: LocalScripts, tmp_path: Path) -> None:
    (tmp_path / "restores").mkdir()
    for name in ("notes.sql", f"{ID}.txt"):
        (tmp_path / "restores" / name).write_text("mine")
    assert scripts.ids() == []
    with pytest.raises(BackupNotFoundError):
        scripts.remove("../../etc/passwd")


def test_a_full_disk_is_a_storage_error(scripts: LocalScripts) -> None:
    def fill() -> None:
        with scripts.create(ID) as script:
            for _ in range(64):
                script.stream.write(b"x" * (1 << 16))
            script.keep()

    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(BackupStorageError):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert scripts.ids() == []
