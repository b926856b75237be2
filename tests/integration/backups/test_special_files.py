"""A path may name what is no file: a pipe, a socket, a device, a folder. Nothing waits for it, and all is said."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.bootstrap import EVENTS, bootstrap
from app.errors import BackupNotFoundError, RestoreValidationError
from app.operations.full_restore.source import full_from_file
from app.operations.restore.preview import diff
from app.operations.restore.source import locate
from app.operations.service import Service
from app.postgres.programs import run

pytestmark = pytest.mark.timeout(30)  # what is tried here used to wait for ever


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """A service whose server nobody has to reach: what is wrong with a path is found before."""
    return bootstrap(settings(tmp_path)).service()


def settings(folder: Path) -> dict[str, str]:
    return {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing", "BACKUP_DIR": str(folder / "backups")}


def a_socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)  # a socket cannot be bound to a path as long as this one


MADE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "pipe": (os.mkfifo, "is a pipe", "cat {path} > dump.sql"),
    "socket": (a_socket, "is a socket", "> dump.sql"),
    "device": (lambda path: path.symlink_to("/dev/null"), "is a device", "> dump.sql"),
    "folder": (Path.mkdir, "is a folder, and no file", "ls {path}"),
}


@pytest.mark.parametrize("kind", MADE)
def test_what_is_no_regular_file_is_refused_without_being_opened(service: Service, tmp_path: Path, kind: str) -> None:
    make, said, way_out = MADE[kind]
    path = tmp_path / f"it's a {kind}"
    make(path)
    for refused in (lambda: locate(service, str(path)), lambda: diff(service, str(path), None)):
        with pytest.raises(RestoreValidationError) as caught:
            refused()
        assert said in caught.value.message
        assert way_out.format(path=shlex.quote(str(path))) in caught.value.hint


def test_a_pipe_is_no_full_backup_either(tmp_path: Path) -> None:
    pipe = tmp_path / "backup-full-2025-01-15.tar.gz"
    os.mkfifo(pipe)
    with pytest.raises(RestoreValidationError, match="is a pipe"):
        full_from_file(pipe, EVENTS)


def test_a_relative_pipe_is_seen_too_and_a_tiers_folder_is_no_path(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("daily").mkdir()
    with pytest.raises(RestoreValidationError, match="pipe is a pipe"):
        locate(service, "pipe")
    for name in ("daily", "x" * 5000, "nul\0l", "/" + "x" * 5000):
        with pytest.raises(BackupNotFoundError):
            locate(service, name)


def test_the_shells_substitution_is_refused_with_the_way_out(tmp_path: Path) -> None:
    program = f"{shlex.quote(sys.executable)} -c 'from app.cli import main; main()'"
    line = f"{program} restore <(echo SELECT 1) --mode replace --dry-run"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3]), **settings(tmp_path)}
    done = run(["bash", "-c", line], env, timeout=25)
    assert done.code == RestoreValidationError.exit_code
    assert "is a pipe" in done.stderr
    assert "COMMAND > dump.sql" in done.stderr


def test_a_log_that_nobody_reads_keeps_no_command_from_its_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "log"
    os.mkfifo(pipe)
    program = bootstrap({**settings(tmp_path), "LOG_COMMANDS_TO": str(pipe)})
    program.start_logging()
    program.log_commands()
    assert "LOG_COMMANDS_TO" in capsys.readouterr().out
