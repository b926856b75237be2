"""Merges an archive into the live database: see `app.ports.target.Merge`.

stage       copy the archive's rows into temporary tables
plan        decide for each row: insert, update, keep or delete; block rows that a constraint would refuse
report      count, and collect samples; a preview ends here
lock        keep others from writing; then plan and report once more
inverse     write the script that undoes the merge: the rows before, and the rows after
apply       change the live rows in one statement, or few of many; advance the sequences
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from typing import BinaryIO

import structlog

from app.archive.index import TableName
from app.archive.inspect.lint import lint
from app.archive.reader import Archive
from app.domain.changes import BlockedRows, Changes, MergeRequest, TableChanges
from app.domain.restore import Policy
from app.errors import MergeConflictError, RestoreBusyError, RestoreValidationError
from app.ports.source import Part
from app.postgres.database import Database
from app.postgres.dump.give_way import read_giving_way, retry_while_locked
from app.postgres.lock_holders import CONFLICT_WITH_ACCESS_EXCLUSIVE
from app.postgres.lock_retries import retry_for_locks
from app.postgres.merge.apply import apply, lock
from app.postgres.merge.blocked import Hints, blocked_rows
from app.postgres.merge.counts import counted
from app.postgres.merge.groups import Groups
from app.postgres.merge.guesses import guesses_about
from app.postgres.merge.inverse import Inverse
from app.postgres.merge.large_objects import notes_on_large_objects
from app.postgres.merge.match import MatchResult, match
from app.postgres.merge.materialized_views import notes_on_views
from app.postgres.merge.misfits import Misfits, refusal
from app.postgres.merge.new_rows import notes_on_fills
from app.postgres.merge.plan import Planner
from app.postgres.merge.reach import part_to_change
from app.postgres.merge.replica_identity import lack_replica_identity, require_publishable
from app.postgres.merge.samples import samples
from app.postgres.merge.schema import ForeignKey, LiveSchema
from app.postgres.merge.schema_reader import live_schema
from app.postgres.merge.sequence_owners import followed_sequences
from app.postgres.merge.sequences import MergedTables, SequenceAdvances, advance_sequence, sequence_advances
from app.postgres.merge.session import MergeSession, merge_session
from app.postgres.merge.stage import stage
from app.postgres.merge.staged import StagedTable
from app.postgres.merge.version_tables import notes_on_versions
from app.postgres.session import RestoreSession
from app.postgres.transactions import durable_ids

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class LiveMerge:
    """Rows of a backup beside the live tables."""

    _database: Database
    _session: MergeSession
    _archive: Archive
    _request: MergeRequest
    _live: LiveSchema
    _matched: MatchResult
    _staged: list[StagedTable]
    _planner: Planner
    _durable_id: Callable[[RestoreSession], str]
    _followed: Mapping[str, int]
    _part: Part | None = None

    def preview(self) -> Changes:
        """What `apply` would do now; repeated if another session waits for a table that it reads."""
        return read_giving_way(self._database, self._session, self._preview)

    def _preview(self) -> Changes:
        with self._at_one_instant():
            self._plan()
            planned = self._counted()
            return self._report(planned, self._sequence_advances(planned))

    def _plan(self) -> None:
        """Plan, and make sure that new rows have all values that they need."""
        self._planner.plan()
        if unfilled := self._planner.unfilled():
            raise self._refusal(Misfits(unfilled=unfilled))

    def require_fit(self) -> None:
        """Refuse a backup that does not fit the live database; the error names everything that does not fit."""
        if not (misfits := self._matched.misfits):
            return

        def refuse() -> RestoreValidationError:
            with self._at_one_instant():
                self._planner.plan()
                misfits.unfilled = self._planner.unfilled()
                return self._refusal(misfits)

        raise read_giving_way(self._database, self._session, refuse)

    def _refusal(self, misfits: Misfits) -> RestoreValidationError:
        guesses = guesses_about(misfits, self._session, self._archive, self._live, self._matched)
        return refusal(misfits, guesses, self._request, self._database.name)

    def check(self) -> None:
        """Refuse what `apply` would refuse; rows are planned only if that tells more than the tables' definitions."""
        self._planner.require_column()
        is_strict = self._request.exact or self._request.on_conflict.policy is Policy.FAIL
        if is_strict or self._planner.may_want_values() or lack_replica_identity(self._session, self._staged):
            read_giving_way(self._database, self._session, self._check)

    def _check(self) -> None:
        with self._at_one_instant():
            self._plan()
            planned = self._counted()
            self._require_allowed(Changes(tables=tuple(planned), blocked=self._blocked(planned)))

    def can_change(self) -> Part | None:
        """The tables that `apply` can change; None if it may be any."""
        self._part = part_to_change(self._session, self._live, self._matched.tables)
        return self._part

    def apply(self, inverse: BinaryIO, on_commit: Callable[[str], None]) -> Changes:
        """Merge, in one transaction."""
        attempts = count()

        def attempt() -> Changes:
            if is_retry := next(attempts) > 0:
                inverse.seek(0)
                inverse.truncate()
            report = self._apply(inverse, readers_out=is_retry)
            on_commit(self._durable_id(self._session))
            return report

        # Each attempt is its own transaction, by whose id it is known whether it was committed.
        report = retry_for_locks(self._session, "the merge", CONFLICT_WITH_ACCESS_EXCLUSIVE, attempt)
        if kept := [str(version.name) for version in self._matched.versions]:
            log.info("restore leaves the tables of migration tools alone", tables=kept)
        log.debug("restore merged rows", **{name: report.total(name) for name in ("inserted", "updated", "deleted")})
        return report

    def _apply(self, inverse: BinaryIO, *, readers_out: bool) -> Changes:
        # Nobody may insert a row that refers to one that is deleted, or whose referenced columns change.
        referring_tables = {
            key.child for key in self._planner.referring() if self._request.exact or self._moves_away(key)
        }
        lock(self._session, self._staged, referring_tables, readers_out=readers_out)
        self._require_same_tables()
        self._plan()
        planned = self._counted()
        sequences = self._sequence_advances(planned)
        report = self._report(planned, sequences)
        self._require_allowed(report)
        groups = Groups(self._session, self._live, self._staged)
        undo = Inverse(groups, planned, inverse)
        undo.before()
        apply(self._session, self._staged, planned, groups)
        undo.after()
        moved = [advance_sequence(self._session, advance) for advance in sequences.sequence_advances]
        undo.sequences([advance for advance in moved if advance is not None])
        return report

    def _moves_away(self, key: ForeignKey) -> bool:
        """Whether an update may change columns that a foreign key refers to."""
        staged = self._planner.table(key.parent)
        return staged is None or not set(key.referenced) <= set(staged.match.key_columns)

    @contextmanager
    def _at_one_instant(self) -> Iterator[None]:
        with self._session.rolled_back("the preview"):
            self._session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "the preview")
            yield

    def _require_same_tables(self) -> None:
        """Make sure that the tables are as they were when the rows were staged."""
        names = {staged.match.name for staged in self._staged}
        now = live_schema(self._session)
        if _relevant_parts(now, names) != _relevant_parts(self._live, names) or self._reaches_more(now):
            message = "tables of the live database, or foreign keys to them, were altered since the restore began"
            raise RestoreBusyError(message, "nothing was changed: restore again")

    def _reaches_more(self, now: LiveSchema) -> bool:
        """Whether more can change by now than the safety backup holds."""
        if self._part is None:
            return False
        part = part_to_change(self._session, now, self._matched.tables)
        return part is None or not part.tables <= self._part.tables

    def _counted(self) -> list[TableChanges]:
        planned = [counted(self._session, staged, exact=self._request.exact) for staged in self._staged]
        if not self._request.whole:
            require_publishable(self._session, self._session.connection.info.dbname, self._staged, planned)
        return planned

    def _sequence_advances(self, planned: list[TableChanges]) -> SequenceAdvances:
        taking = MergedTables(
            tables={staged.match.name for staged in self._staged},
            growing={staged.match.name for staged, plan in zip(self._staged, planned, strict=True) if plan.inserted},
            left={*(version.name for version in self._matched.versions), *self._matched.names.left_out},
            followed=self._followed,
        )
        return sequence_advances(self._session, self._archive, self._request, taking)

    def _report(self, planned: list[TableChanges], sequences: SequenceAdvances) -> Changes:
        gone = [TableChanges(table=str(table), inserted=rows) for table, rows in self._matched.gone.items()]
        new = [TableChanges(table=str(live.name), deleted=self._rows_of(live.users)) for live in self._matched.new]
        notes = [*self._matched.notes]
        for staged, plan in zip(self._staged, planned, strict=True):
            notes += notes_on_fills(staged, plan.inserted)
        notes += notes_on_versions(self._session, self._matched.versions)
        notes += [*notes_on_large_objects(self._session, self._archive, self._request), *_notes_on(self._staged)]
        notes += sequences.notes
        changed = [staged.match.name for staged, plan in zip(self._staged, planned, strict=True) if plan.changed]
        notes += [*notes_on_views(self._session, changed), *_notes_on_event_triggers(self._session)]
        return Changes(
            tables=tuple(sorted([*planned, *gone, *new], key=lambda table: table.table)),
            samples=samples(self._session, self._planner, planned),
            blocked=self._blocked(planned),
            notes=tuple(notes),
            schema=(*chain.from_iterable(table.lines() for table in self._matched.columns), *self._matched.schema),
            columns=tuple(self._matched.columns),
            warnings=tuple(self._matched.warnings),
        )

    def _rows_of(self, table: str) -> int:
        return int(self._session.query(f"SELECT pg_catalog.count(*) FROM {table} l", "the preview")[0][0])

    def _blocked(self, planned: Sequence[TableChanges]) -> tuple[BlockedRows, ...]:
        in_backup = {name for name in self._matched.names.live.values() if name is not None}
        hints = Hints(self._database.name, self._request, self._planner, in_backup)
        return tuple(blocked_rows(self._session, self._planner, planned, hints))

    def _require_allowed(self, report: Changes) -> None:
        """Refuse a plan that the request does not allow, before anything is changed."""
        if not self._request.refuses(report):
            return
        conflicting, blocked = report.total("conflicting"), report.total("blocked")
        where = ", ".join(table.table for table in report.tables if table.conflicting or table.blocked)
        if self._request.on_conflict.policy is Policy.FAIL:
            message = f"{conflicting} rows differ and {blocked} are blocked, in {where}; the policy is `fail`"
            raise MergeConflictError(message, "see them with --dry-run; choose another --on-conflict")
        message = f"{blocked} rows of the chosen tables cannot be restored, in {where}"
        ways = dict.fromkeys(group.hint for group in report.blocked if group.hint)
        raise MergeConflictError(message, "; ".join(("see them with --dry-run", *ways)))


@contextmanager
def merging(
    database: Database, archive: Archive, request: MergeRequest, progress: Callable[[int], None]
) -> Iterator[LiveMerge]:
    """Stage an archive's rows beside the live tables, for the length of a block; see the port."""
    lint(archive, rows=False)
    with merge_session(database, request.search_path) as session, durable_ids(database) as durable_id:
        schema = retry_while_locked(session, lambda: live_schema(session))
        matches = match(archive, schema, request, database.name)
        staged = stage(session, archive, matches, request, progress)
        planner = Planner(session, staged, schema, request)
        followed: Mapping[str, int] = {}
        if request.adaptation:
            with session.catalogs():
                followed = followed_sequences(session, archive, matches.tables, matches.names.tops)
        merge = LiveMerge(database, session, archive, request, schema, matches, staged, planner, durable_id, followed)
        merge.require_fit()
        yield merge


def _relevant_parts(live: LiveSchema, names: Collection[TableName]) -> object:
    """The parts of the schema that a plan for some tables depends on; other tables may come and go."""
    keys = [key for key in live.foreign_keys if key.parent in names or key.root in names]
    return [live.tables.get(name) for name in sorted(names)], keys


def _notes_on(staged: list[StagedTable]) -> Iterator[str]:
    for table in staged:
        live = table.match.live
        if live.triggers and not live.owned:
            names = ", ".join(trigger.name for trigger in live.triggers)
            yield f"triggers of {live.name} fire, because the role does not own it: {names}"
        given = set(table.match.columns)
        named = [key.name for key in live.keys if not key.columns <= given]
        named += [check.name for check in live.checks if not check.columns <= given]
        for name in (*named, *live.untestable):
            yield f"{name} of {live.name} cannot be checked beforehand: if it refuses a row, the whole merge fails"
        if table.match.key is None:
            yield f"{live.name} has no key: whole rows are compared"


def _notes_on_event_triggers(session: MergeSession) -> Iterator[str]:
    if names := ", ".join(session.event_triggers.not_disabled):
        yield f"event triggers fire on the temporary tables of the merge, as the role may not disable them: {names}"
