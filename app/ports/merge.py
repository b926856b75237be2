"""The port to a merge under way: rows of a backup beside the live ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Protocol

from app.domain.changes import Changes
from app.ports.source import Part


class Merge(Protocol):
    """Rows of a backup in temporary tables beside the live ones."""

    def preview(self) -> Changes:
        """The changes that `apply` would make now. Takes no lock above ACCESS SHARE and changes nothing."""

    def check(self) -> None:
        """Refuse what `apply` would refuse, as far as is known now. Takes no lock above ACCESS SHARE.

        Raises:
            RestoreValidationError, MergeConflictError: the request cannot be met, or does not allow these changes.
        """

    def can_change(self) -> Part | None:
        """The tables that `apply` can change; None if it may be any, because code of users runs meanwhile.

        The values of sequences may change besides.
        """

    def apply(self, inverse: BinaryIO, on_commit: Callable[[str], None]) -> Changes:
        """Merge, in one transaction.

        Args:
            inverse: a plain SQL script that undoes exactly this merge is written to it before the commit.
            on_commit: called with the transaction's id just before the commit; if it raises, all is rolled back.

        Raises:
            RestoreBusyError: the live tables were altered since the rows were loaded beside them.
            MergeConflictError: the policy is `fail` and rows conflict, or tables cannot be restored exactly.
            RestoreDataError: the server refuses a row.
        """
