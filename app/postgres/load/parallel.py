"""Runs entries whose order is free on several sessions: index builds, or checks of foreign keys.

Entries whose locks conflict do not run at the same time. Entries of small tables are put together, up to a hundred, for
one session to run in one transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence

from app.errors import RestoreError
from app.postgres.load.entries import Entry, Locks
from app.postgres.load.threads import run_on_all
from app.postgres.session import RestoreSession, sqlstate_of

GROUP_STATEMENTS = 100  # in one transaction: each takes some of the server's locks
_DEADLOCK = "40P01"


class _Group:
    """Entries that one session runs, in one transaction if that is possible."""

    def __init__(self, entry: Entry, locks: Locks) -> None:
        self.entries = [entry]
        self.locks = locks

    def run(self, session: RestoreSession) -> None:
        """Run all statements; after a failure, only the remaining ones run again."""
        session.set_state(self.entries[0].state)
        if len(self.entries) > 1 and session.run_together(
            [text for entry in self.entries for text in entry.statements]
        ):
            return
        for entry in self.entries:
            _run(session, entry)


def _grouped(entries: Iterable[tuple[Entry, Locks]], small: Collection[bytes], most: int) -> list[_Group]:
    """Entries in groups: those of small tables with others, each other one for itself, so that sessions share them."""
    groups: list[_Group] = []
    last: _Group | None = None
    for entry, locks in entries:
        if not all(table in small for table in locks.tables):
            groups.append(_Group(entry, locks))
        elif last is not None and len(last.entries) < most and last.entries[0].state == entry.state:
            last.entries.append(entry)
            last.locks = last.locks | locks
        else:
            last = _Group(entry, locks)
            groups.append(last)
    return groups


class ParallelEntries:
    """Entries whose order is free."""

    def __init__(self, entries: Sequence[Entry], small: Collection[bytes]) -> None:
        self._entries = [(entry, locks) for entry in entries if (locks := entry.locks) is not None]
        self._small = small
        self._free: list[_Group] = []
        self._alone = [entry for entry in entries if entry.locks is None]
        self._running: list[Locks] = []
        self._changed = threading.Condition()

    def run(self, sessions: Sequence[RestoreSession]) -> None:
        """Run all of them.

        Raises:
            RestoreError: the first that failed.
        """
        share = -(-len(self._entries) // len(sessions))
        self._free = _grouped(self._entries, self._small, min(share, GROUP_STATEMENTS))
        if len(self._free) > 1:
            run_on_all(sessions[: len(self._free)], self._work)
        else:
            for group in self._free:
                group.run(sessions[0])
        for entry in self._alone:
            _run(sessions[0], entry)

    def _work(self, session: RestoreSession, stopped: Callable[[], bool]) -> None:
        while (group := self._take(stopped)) is not None:
            try:
                group.run(session)
            except RestoreError as error:
                if sqlstate_of(error) != _DEADLOCK:
                    raise
                self._alone.extend(group.entries)
            finally:
                with self._changed:
                    self._running.remove(group.locks)
                    self._changed.notify_all()

    def _take(self, stopped: Callable[[], bool]) -> _Group | None:
        """The next entries whose locks conflict with no running entry's."""
        with self._changed:
            while self._free and not stopped():
                for number, group in enumerate(self._free):
                    if not any(group.locks.conflicts(other) for other in self._running):
                        self._running.append(group.locks)
                        return self._free.pop(number)
                self._changed.wait(1)
        return None


def _run(session: RestoreSession, entry: Entry) -> None:
    session.set_state(entry.state)
    while entry.statements:  # after a deadlock, only the remaining statements run again
        session.run(entry.statements[0], entry.name)
        del entry.statements[0]
