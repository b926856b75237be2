"""Moments between two steps of a run, at which something else happens: forced, and not waited for by luck."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.operations.backup.take import BackupRequest, take_backup
from app.operations.service import Progress, Service
from app.ports.target import Target
from app.ports.tree import Tree
from app.storage import disk

SECONDS = 60.0


class Hooked:
    """A tree that does something once, right after its method of a name has answered for the first time."""

    def __init__(self, tree: Tree, method: str, act: Callable[[], object]) -> None:
        self._tree = tree
        self._method = method
        self._act: Callable[[], object] | None = act

    def held(self) -> Hooked:
        self._tree = self._tree.held()
        return self

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._tree, name)
        return self._then_act(found) if name == self._method else found

    def _then_act(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            answer = method(*given)
            if self._act is not None:
                act, self._act = self._act, None
                act()
            return answer

        return call


def hooked(service: Service, method: str, act: Callable[[], object]) -> Service:
    """The service, with something that happens once after a method of its tree."""
    return replace(service, tree=Hooked(service.tree, method, act))  # type: ignore[arg-type] # it delegates


class Commanded:
    """A target whose programs are run by a function."""

    def __init__(self, target: Target, run: Callable[[Sequence[str], str], None]) -> None:
        self._target = target
        self.run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


def with_command(service: Service, run: Callable[[Sequence[str], str], None]) -> Service:
    """The service, which runs RESTORE_POST_COMMAND by a function."""
    return replace(service, target=Commanded(service.target, run))  # type: ignore[arg-type] # it delegates


class Paused(Progress):
    """Stops at the beginning of a phase until it may go on."""

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self.begun, self.go_on = threading.Event(), threading.Event()

    def start(self, what: str, total: int | None) -> None:  # noqa: ARG002 -- the port's
        if what.startswith(self._phase):
            self.begun.set()
            assert self.go_on.wait(SECONDS)


class Publishing:
    """A run that stands between its two renames: its file has its name, and its manifest has not."""

    def __init__(self, run: threading.Thread, go_on: threading.Event) -> None:
        self._run = run
        self._go_on = go_on

    def finish(self) -> None:
        """Let the run come to its end."""
        self._go_on.set()
        self._run.join(SECONDS)
        assert not self._run.is_alive()


@contextmanager
def publishing(service: Service, request: BackupRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publishing]:
    """Take a backup up to the instant between the two renames of its publish."""
    begun, go_on = threading.Event(), threading.Event()
    sync_folder = disk.sync_folder

    def paused(folder: Path) -> None:
        sync_folder(folder)
        if threading.current_thread() is run and _is_between(folder):
            begun.set()
            assert go_on.wait(SECONDS)

    run = threading.Thread(target=lambda: take_backup(service, request))
    with monkeypatch.context() as patched:
        patched.setattr(disk, "sync_folder", paused)
        run.start()
        try:
            assert begun.wait(SECONDS)
            yield Publishing(run, go_on)
        finally:
            go_on.set()
            run.join(SECONDS)


def _is_between(folder: Path) -> bool:
    """Whether a file has its name, and of what its run wrote only the manifest waits for its own."""
    waiting = list(folder.glob(".*.partial"))
    archives = [each for each in folder.glob("backup-*") if each.suffix != ".json"]
    bare = any(not each.with_name(f"{each.name}.json").exists() for each in archives)
    return bare and bool(waiting) and all(".json." in each.name for each in waiting)
