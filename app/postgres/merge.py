"""Merges an archive into the live database: see `app.archive.target.Merging`.

The archive's rows are put beside the live tables (`merge_stage`), compared (`merge_plan`) and counted (`merge_report`);
`preview` ends there. `apply` does the same again behind locks, and carries it out (`merge_apply`), all in one
transaction, of which it writes down the inverse (`merge_inverse`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from typing import BinaryIO

import structlog

from app.archive.index import Kind
from app.archive.lint import lint
from app.archive.reader import Archive
from app.archive.scanner import scan
from app.domain.merge import Changes, MergeRequest, TableChanges
from app.domain.restore import Policy
from app.errors import MergeConflictError
from app.postgres import merge_session as merge_sessions
from app.postgres.beside import beside_others
from app.postgres.database import Database
from app.postgres.live_schema import ForeignKey, live_schema
from app.postgres.load_session import Session
from app.postgres.merge_apply import apply, lock
from app.postgres.merge_inverse import Inverse
from app.postgres.merge_match import Matched, match
from app.postgres.merge_plan import Planner
from app.postgres.merge_report import counted, samples
from app.postgres.merge_sequences import Move, move_on, moves
from app.postgres.merge_session import MergeSession, merge_session
from app.postgres.merge_stage import Staged, stage
from app.postgres.patience import patiently
from app.postgres.transactions import durable_ids
from app.postgres.who import AGAINST_ANYTHING

log = structlog.get_logger(__name__)
_LARGE_OBJECT = re.compile(rb"lo_create\('(\d+)'\)")


@dataclass(slots=True)
class LiveMerge:
    """Rows of a backup beside the live tables."""

    _database: Database
    _session: MergeSession
    _archive: Archive
    _request: MergeRequest
    _matched: Matched
    _staged: list[Staged]
    _planner: Planner
    _durable_id: Callable[[Session], str]

    def preview(self) -> Changes:
        """What `apply` would do now; begins anew where somebody else waits for what it reads."""
        return beside_others(self._database, self._session, self._preview)

    def _preview(self) -> Changes:
        with self._session.transaction("the preview"):
            self._session.do("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "the preview")  # one instant for all
            self._planner.plan()
            return self._report(self._counted(), self._moves())

    def apply(self, inverse: BinaryIO, on_commit: Callable[[str], None]) -> Changes:
        """Merge, in one transaction."""
        attempts = count()

        def attempt() -> Changes:
            if again := next(attempts) > 0:
                inverse.seek(0)
                inverse.truncate()
            report = self._apply(inverse, readers_out=again)
            on_commit(self._durable_id(self._session))
            return report

        # Each attempt is a transaction, no part of one: what it made is known by the transaction's number.
        wait_ms = merge_sessions.LOCK_WAIT_MS
        report = patiently(self._session, "the merge", AGAINST_ANYTHING, attempt, wait_ms=wait_ms)
        log.debug("restore merged rows", **{name: report.total(name) for name in ("inserted", "updated", "deleted")})
        return report

    def _apply(self, inverse: BinaryIO, *, readers_out: bool) -> Changes:
        # A row that goes, or gives up what others refer to by, must not get a new one that refers to it meanwhile.
        watched = {key.child for key in self._planner.referring() if self._request.exact or self._moves_away(key)}
        lock(self._session, self._staged, watched, readers_out=readers_out)
        self._planner.plan()
        planned = self._counted()
        sequences = self._moves()
        report = self._report(planned, sequences)
        self._require_agreement(report)
        undo = Inverse(self._session, self._staged, planned, inverse, self._planner.referring())
        undo.before()
        apply(self._session, self._staged, planned)
        undo.after()
        for move in sequences:
            move_on(self._session, move)
        return report

    def _moves_away(self, key: ForeignKey) -> bool:
        """Whether an update may change what a foreign key refers to."""
        match = next(each.match for each in self._staged if each.match.name == key.parent)
        return not set(key.referenced) <= set(match.key_columns)

    def _counted(self) -> list[TableChanges]:
        return [counted(self._session, each) for each in self._staged]

    def _moves(self) -> list[Move]:
        chosen = {each.match.name for each in self._staged} if self._request.tables else None
        return moves(self._session, self._archive, chosen)

    def _report(self, planned: list[TableChanges], sequences: list[Move]) -> Changes:
        gone = [TableChanges(table=str(table), inserted=rows) for table, rows in self._matched.gone.items()]
        new = [TableChanges(table=str(each.name), deleted=self._rows_of(each.sql)) for each in self._matched.new]
        rows = {each.table: each.rows for each in self._archive.index.tables}
        for each in self._matched.unfit:
            its = sum(rows.get(table, 0) for table in {segment.table for segment in each.sources} if table is not None)
            new.append(TableChanges(table=str(each.name), inserted=its, deleted=self._rows_of(each.live.sql)))
        notes = [*_left_alone(self._session, self._archive, self._request), *_notes_on(self._staged)]
        notes += [str(each) for each in sequences]
        return Changes(
            tables=tuple(sorted([*planned, *gone, *new], key=lambda each: each.table)),
            samples=samples(self._session, self._staged, planned),
            notes=tuple(notes),
            schema=tuple(self._matched.schema),
        )

    def _rows_of(self, table: str) -> int:
        return int(self._session.ask(f"SELECT count(*) FROM {table}", "the preview")[0][0])

    def _require_agreement(self, report: Changes) -> None:
        """Refuse what the request does not allow, before anything is changed."""
        if not self._request.refuses(report):
            return
        conflicting, blocked = report.total("conflicting"), report.total("blocked")
        where = ", ".join(each.table for each in report.tables if each.conflicting or each.blocked)
        if self._request.on_conflict.policy is Policy.FAIL:
            message = f"{conflicting} rows differ and {blocked} are blocked, in {where}; the policy is to fail"
            raise MergeConflictError(message, "see them with --dry-run; choose another --on-conflict")
        message = f"{blocked} rows of the chosen tables cannot be made what they were, in {where}"
        raise MergeConflictError(message, "see them with --dry-run; take the tables that refer to them along")


@contextmanager
def merging(
    database: Database, archive: Archive, request: MergeRequest, progress: Callable[[int], None]
) -> Iterator[LiveMerge]:
    """Put an archive's rows beside the live tables for the length of a block; see the port."""
    lint(archive)
    with merge_session(database) as session, durable_ids(database) as durable_id:
        live = live_schema(session.connection)
        matched = match(archive, live, request)
        staged = stage(session, archive, matched, request, progress)
        planner = Planner(session, staged, live, request)
        yield LiveMerge(database, session, archive, request, matched, staged, planner, durable_id)


def _notes_on(staged: list[Staged]) -> Iterator[str]:
    for each in staged:
        live = each.match.live
        if live.firings and not live.owned:
            names = ", ".join(firing.name for firing in live.firings)
            yield f"triggers of {live.name} fire, since the role does not own it: {names}"
        for key in live.keys:
            if not key.columns <= set(each.match.columns):
                yield f"{key.name} of {live.name} cannot be looked at beforehand: what it refuses fails the whole merge"
        if each.match.key is None:
            yield f"{live.name} has no key: rows are compared whole"


def _left_alone(session: MergeSession, archive: Archive, request: MergeRequest) -> Iterator[str]:
    """Large objects are nobody's rows: a merge says which are missing and leaves them."""
    text = (archive.text(each) for each in archive.index.segments if each.kind is Kind.LARGE_OBJECTS)
    pieces = scan(chain.from_iterable(text)) if not request.tables else iter(())
    wanted = {int(oid) for piece in pieces for oid in _LARGE_OBJECT.findall(piece.data)}
    there = {oid for (oid,) in session.ask("SELECT oid::bigint FROM pg_largeobject_metadata", "large objects")}
    if missing := wanted - there:
        yield f"{len(missing)} large objects of the backup are not in the live database; a merge does not add them"
