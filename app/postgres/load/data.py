"""Loads table data on several connections.

Each connection takes a table, the largest first, and truncates it: rows that are added in that transaction can be
written frozen, so that neither the index builds nor later queries have to mark each row as committed. When a connection
finds no table left, those that still load one commit, and share the rest of its batches.

Two COPYs at once may cost the server more CPU than one after the other: a third on one machine, a twentieth on another.
No lock of the server shows in it, so it is what the CPUs share, and an index build beside a COPY would share it too:
docs/performance.md has what was measured.

Small tables come last, many of them in one transaction, and are not truncated: that would cost each of them the files
of a table, and a commit that waits for the disk because old files are removed after it. That is more than their rows
cost. If anything is wrong with such a group, its tables are loaded one by one.

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
from app.postgres.load.batches import SMALL_BYTES, Batch, batches_of_stream, batches_of_table, table_of
from app.postgres.load.rows import require_tables
from app.postgres.load.threads import Stopped, run_on_all
from app.postgres.session import RestoreSession, sqlstate_of

# Foreign key or check violation: rows of another table were missing. pg_dump orders such tables, for example those of
# extensions.
_LATER = {"23503", "23514"}
_GROUP_TABLES = 100  # in one transaction: each takes some of the server's locks
_GROUP_BYTES = 4 << 20
_HELD_BYTES = 64 << 20  # of rows of deferred batches that cannot be read again
# Not possible for a partitioned table, one that a foreign key refers to, one that the role may fill but not truncate, …
_NOT_FROZEN = {"0A000", "25000", "42501", "42809", "55000"}


class _TableBatches:
    """The batches of a table, or of a file that can only be read from its beginning; each is taken once."""

    def __init__(self, batches: Callable[[], Iterator[Batch]], size: int) -> None:
        self.size = size
        self.taking = threading.Lock()
        self._batches = batches
        self._remaining = batches()

    def all(self) -> Iterator[Batch]:
        """All batches, from the first one on."""
        return self._batches()

    def take(self) -> Batch | None:
        """The next batch. The caller holds `taking`."""
        return next(self._remaining, None)

    def restart(self) -> None:
        """Begin again: everything that was sent was rolled back."""
        self._remaining = self._batches()


class DataLoader:
    """Loads consecutive data segments.

    Attributes:
        rows: number of rows that each table got.
        small: names of small tables, as the statements spell them.
    """

    def __init__(self, archive: Archive, segments: Sequence[Segment], progress: Callable[[int], None]) -> None:
        self.rows: Counter[TableName] = Counter({table_of(segment): 0 for segment in segments})
        self._progress = progress
        self._state = threading.Condition()
        self._idle = 0
        self._owners = 0
        self.small: set[bytes] = set()
        self._untouched: deque[_TableBatches] = deque()
        self._groups: deque[list[_TableBatches]] = deque()
        self._shared: list[_TableBatches] = []
        self._deferred: list[Batch] = []
        self._tables: set[bytes] = set()
        if archive.seekable:
            tables = [_TableBatches(batches, size) for batches, size in _by_table(archive, segments)]
            tables.sort(key=lambda table: -table.size)
            self._untouched.extend(table for table in tables if table.size > SMALL_BYTES)
            self._groups.extend(_groups(table for table in tables if table.size <= SMALL_BYTES))
        else:
            self._shared.append(_TableBatches(partial(batches_of_stream, archive, segments), 0))

    def load(self, sessions: Sequence[RestoreSession]) -> None:
        """Load all segments.

        Raises:
            RestoreError: the first failure.
        """
        run_on_all(sessions, self._work)
        for batch in self._deferred:
            self._count(batch.table, self._add(sessions[0], batch))

    def _work(self, session: RestoreSession, stopped: Stopped) -> None:
        while (next_work := self._next(stopped)) is not None:
            work, is_own = next_work
            if isinstance(work, list):
                self._load_group(session, work)
            elif is_own:
                self._load_table(session, work)
            else:
                self._load_shared(session, work)

    def _next(self, stopped: Stopped) -> tuple[_TableBatches | list[_TableBatches], bool] | None:
        """A table or group of tables to load alone (True), or a table to help with (False); None if all is done."""
        with self._state:
            while not stopped():
                if self._untouched:
                    self._owners += 1
                    return self._untouched.popleft(), True
                if self._groups:
                    self._owners += 1
                    return self._groups.popleft(), True
                if self._shared:
                    return self._shared[0], False
                if not self._owners:
                    break
                self._idle += 1  # sessions that load a table alone look at this, and share it
                self._state.wait(0.2)
                self._idle -= 1
        return None

    def _load_group(self, session: RestoreSession, group: list[_TableBatches]) -> None:
        """Load small tables in one transaction; if that fails, leave them to be loaded one by one."""
        batches = [batch for work in group for batch in work.all()]
        names = list(dict.fromkeys(batch.name for batch in batches))
        what, one_by_one = f"data of {len(names)} tables", False
        try:
            with session.transaction(what):
                require_tables(session, names)
                copies = [(batch.statement, tuple(batch.blocks())) for batch in batches]
                counts = session.copy_together(copies, what)
        except RestoreError as error:
            if session.connection.closed or (sqlstate_of(error) or "57").startswith("57"):  # ended from outside
                raise
            one_by_one = True
        finally:
            with self._state:
                self._owners -= 1
                self._untouched.extend(group if one_by_one else ())
                self._state.notify_all()
        if not one_by_one:
            self.small.update(names)
            for batch, (_, blocks), rows in zip(batches, copies, counts, strict=True):
                self._count(batch.table, rows)
                self._progress(sum(map(len, blocks)))

    def _load_table(self, session: RestoreSession, work: _TableBatches) -> None:
        """Load a table until another session is idle, and share the rest."""
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
                    work.restart()  # rows exist already: an extension's, or an earlier block's; they stay
                    return
                session.run(b"TRUNCATE ONLY " + batch.name, f"table {table}")
                while batch is not None:
                    rows += self._send(session, batch.frozen())
                    batch = None if self._idle else work.take()
            self._count(table, rows)

    def _load_shared(self, session: RestoreSession, work: _TableBatches) -> None:
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
                if sum(deferred.held for deferred in self._deferred) > _HELD_BYTES:
                    raise
        else:
            self._count(batch.table, rows)

    def _require_table(self, session: RestoreSession, batch: Batch) -> None:
        """Make sure that the name is a table's: TRUNCATE of a foreign table would empty another database's."""
        if batch.name not in self._tables:
            require_tables(session, [batch.name])
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
    for table_segments in tables.values():
        yield partial(batches_of_table, archive, table_segments), sum(segment.raw_bytes for segment in table_segments)


def _groups(tables: Iterable[_TableBatches]) -> Iterator[list[_TableBatches]]:
    """Small tables in groups, each for one transaction."""
    group: list[_TableBatches] = []
    size = 0
    for table in tables:
        if group and (len(group) == _GROUP_TABLES or size + table.size > _GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(table)
        size += table.size
    if group:
        yield group


def check_rows(found: Counter[TableName], expected: dict[TableName, int]) -> None:
    """Compare the number of loaded rows with the archive's.

    Raises:
        RestoreDataError: a table has more or fewer rows.
    """
    for table, rows in expected.items():
        if found[table] != rows:
            message = f"table {table} got {found[table]} rows, and the archive holds {rows}"
            raise RestoreDataError(
                message, "see the server's log about that table; to verify the backups: residency-backup verify --all"
            )
