"""Faults of restores: what is asked for, and what happens meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from app.errors import (
    BackupCancelledError,
    Cancelled,
)
from app.operations.service import SILENT, Progress
from tests.fix_damaged import Damaged
from tests.fix_service import At

END = "\n-- PostgreSQL database dump complete\n"


@dataclass(slots=True)
class Fault:
    """What is asked for, with which settings, and what happens meanwhile."""

    asked: dict[str, Any] = field(default_factory=lambda: {"mode": "replace"})
    settings: dict[str, str] = field(default_factory=dict)
    progress: Progress = SILENT


def dump(damaged: Damaged, name: str, text: str, end: str = END) -> Fault:
    """A foreign dump of that text."""
    file = damaged.site.backups.parent / f"{name}.sql"
    file.write_text(text + end)
    return Fault({"mode": "replace", "backup": str(file), "allow_missing": True})


def file_of(damaged: Damaged) -> Path:
    return damaged.site.backups / f"{damaged.backup}.sql"


def flip(damaged: Damaged) -> None:
    """One bit in the rows of the backup."""
    content = bytearray(file_of(damaged).read_bytes())
    content[content.index(b"COPY public.people") + 400] ^= 1
    file_of(damaged).write_bytes(content)


class AtStart(At):
    """Acts when its phase begins, in the restore's own thread."""

    def start(self, what: str, total: int | None) -> None:
        super().start(what, total)
        self.advance(1)


@pytest.fixture
def sigterm() -> Iterator[None]:
    """SIGTERM cancels, as in the worker and on the command line."""

    def cancel(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise Cancelled(BackupCancelledError("revoked"))

    before = signal.signal(signal.SIGTERM, cancel)
    yield
    signal.signal(signal.SIGTERM, before)
