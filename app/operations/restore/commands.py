"""Whether the operator's commands can be run: asked by the checklist, before anything is done."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from app.domain.checks import Finding
from app.errors import RestoreError, RestorePostCommandError


def command_finding(
    check: str,
    setting: str,
    command: Sequence[str],
    folder: Path | None,
    error: type[RestoreError] = RestorePostCommandError,
) -> Finding:
    """Whether a command's program is there.

    Args:
        check: name of the finding.
        setting: that the command is from; its arguments may hold a password, and are not shown.
        command: program and arguments.
        folder: that it runs in; None for this process's own.
        error: of a command that cannot be run.
    """
    if folder is not None and not folder.is_dir():
        message = f"{setting}: RESTORE_COMMAND_DIR, {folder}, is no folder"
        return Finding.failed(check, error(message, f"mkdir {folder}, or name another one"))
    program = command[0]
    # The system looks a name with a slash in it up from the working directory.
    named = str(folder / program) if folder is not None and "/" in program else program
    if path := shutil.which(named):
        return Finding.ok(check, f"{setting} runs {path}")
    message = f"{setting}: there is no program {named} that can be run"
    return Finding.failed(check, error(message, "write its whole path, or restore without it"))
