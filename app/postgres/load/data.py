"""Loads table data on several connections at once.

Each connection takes a table, the largest first, and begins with emptying it: what it adds in that transaction can be
written frozen, which spares the index builds, and the database's whole later life, from marking each row as committed.
When a connection finds no table left, those that still have one commit, and share the rest of its batches.

Source: PostgreSQL documentation, "COPY", option FREEZE.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from app.archive.index import Segment, TableName
from app.archive.reader import Archive
from app.errors import RestoreDataError, RestoreError
from app.postgres.load.batches import Batch, batches_of_stream, batches_of_table, table_of
from app.postgres.load.rows import require_table
from app.postgres.load.threads import Stopped, run_on_all
from app.postgres.session import RestoreSession, sqlstate_of

# A row that another table's rows were missing for, or a check that looks at another table: pg_dump has an order for
# such tables, those of an extension among them.
_LATER = {"23503", "23514"}
_HELD_BYTES = 64 << 20  # of such rows, where they cannot be read again
# A partitioned table, one that a foreign key refers to, one that the role may fill but not empty, …
_NOT_FROZEN = {"0A000", "25000", "42501", "42809", "55000"}


class _TableBatches:
    """The batches of a table, or of a file that can only be read through; each is taken once."""

    def __init__(self, batches: Callable[[], Iterator[Batch]], size: int) -> None:
        self.size = size
        self.taking = threading.Lock()
        self._batches = batches
        self._left = batches()

    def take(self) -> Batch | None:
        """The next batch; `taking` is held meanwhile."""
        return next(self._left, None)

    def restart(self) -> None:
        """Begin anew: all that was sent was rolled back."""
        self._left = self._batches()


class DataLoader:
    """Loads a run of data segments.

    Attributes:
        rows: how many each table got.
    """

    def __init__(self, archive: Archive, segments: Sequence[Segment], progress: Callable[[int], None]) -> None:
        self.rows: Counter[TableName] = Counter({table_of(each): 0 for each in segments})
        self._progress = progress
        self._state = threading.Condition()
        self._idle = 0
        self._owners = 0
        self._untouched: deque[_TableBatches] = deque()
        self._shared: list[_TableBatches] = []
        self._deferred: list[Batch] = []
        self._tables: set[bytes] = set()
        if archive.seekable:
            works = (_TableBatches(each, size) for each, size in _by_table(archive, segments))
            self._untouched.extend(sorted(works, key=lambda each: -each.size))
        else:
            self._shared.append(_TableBatches(partial(batches_of_stream, archive, segments), 0))

    def load(self, sessions: Sequence[RestoreSession]) -> None:
        """Load all of it.

        Raises:
            RestoreError: the first thing that failed.
        """
        run_on_all(sessions, self._work)
        for batch in self._deferred:
            self._count(batch.table, self._add(sessions[0], batch))

    def _work(self, session: RestoreSession, stopped: Stopped) -> None:
        while (found := self._next(stopped)) is not None:
            work, is_own = found
            if is_own:
                self._own(session, work)
            else:
                self._help(session, work)

    def _next(self, stopped: Stopped) -> tuple[_TableBatches, bool] | None:
        """A table of one's own, else one to help with; None where all is done."""
        with self._state:
            while not stopped():
                if self._untouched:
                    self._owners += 1
                    return self._untouched.popleft(), True
                if self._shared:
                    return self._shared[0], False
                if not self._owners:
                    break
                self._idle += 1  # whoever owns a table sees it, and shares
                self._state.wait(0.2)
                self._idle -= 1
        return None

    def _own(self, session: RestoreSession, work: _TableBatches) -> None:
        """Load a table as far as nobody else is idle, and share what is left of it."""
        try:
            self._fill_frozen(session, work)
        except RestoreError as error:
            if sqlstate_of(error) not in _NOT_FROZEN | _LATER:
                raise
            work.restart()
        finally:
            with self._state:
                self._owners -= 1
                self._shared.append(work)
                self._state.notify_all()

    def _fill_frozen(self, session: RestoreSession, work: _TableBatches) -> None:
        with work.taking:
            batch = work.take()
            if batch is None:
                return
            table, rows = batch.table, 0
            with session.transaction(f"data of table {table}"):
                self._require_table(session, batch)
                session.run(b"LOCK TABLE ONLY " + batch.name, f"table {table}")
                if session.connection.execute(b"SELECT FROM ONLY " + batch.name + b" LIMIT 1").fetchone() is not None:
                    work.restart()  # what stands there came with an extension, or from an earlier block, and stays
                    return
                session.run(b"TRUNCATE ONLY " + batch.name, f"table {table}")
                while batch is not None:
                    rows += self._send(session, batch.frozen())
                    batch = None if self._idle else work.take()
            self._count(table, rows)

    def _help(self, session: RestoreSession, work: _TableBatches) -> None:
        """Load one batch of a shared table."""
        with work.taking:
            batch = work.take()
            if batch is not None and batch.alone:
                self._count(batch.table, self._add(session, batch))
                return
        if batch is None:
            with self._state:
                if work in self._shared:
                    self._shared.remove(work)
            return
        try:
            rows = self._add(session, batch)
        except RestoreError as error:
            if sqlstate_of(error) not in _LATER:
                raise
            with self._state:
                self._deferred.append(batch)
                if sum(each.held for each in self._deferred) > _HELD_BYTES:
                    raise
        else:
            self._count(batch.table, rows)

    def _require_table(self, session: RestoreSession, batch: Batch) -> None:
        """Emptying what is no table of this database would empty another one's."""
        if batch.name not in self._tables:
            require_table(session, batch.name, insert=False)
            self._tables.add(batch.name)

    def _add(self, session: RestoreSession, batch: Batch) -> int:
        self._require_table(session, batch)
        with session.savepoint(f"data of table {batch.table}"):
            return self._send(session, batch)

    def _send(self, session: RestoreSession, batch: Batch) -> int:
        return session.copy(batch.copy, self._counted(batch.blocks()), f"data of table {batch.table}")

    def _counted(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            yield block
            self._progress(len(block))

    def _count(self, table: TableName, rows: int) -> None:
        with self._state:
            self.rows[table] += rows


def _by_table(archive: Archive, segments: Sequence[Segment]) -> Iterator[tuple[Callable[[], Iterator[Batch]], int]]:
    tables: dict[TableName, list[Segment]] = defaultdict(list)
    for segment in segments:
        tables[table_of(segment)].append(segment)
    for its in tables.values():
        yield partial(batches_of_table, archive, its), sum(each.raw_bytes for each in its)


def check_rows(found: Counter[TableName], expected: dict[TableName, int]) -> None:
    """Compare what the server took with what the archive holds.

    Raises:
        RestoreDataError: a table has more or fewer rows.
    """
    for table, rows in expected.items():
        if found[table] != rows:
            message = f"table {table} got {found[table]} rows; the archive holds {rows}"
            raise RestoreDataError(message, "verify the backup; see what the server's log says of that table")
