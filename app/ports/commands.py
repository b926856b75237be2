"""The port to the operator's own commands, which are run around a restore."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class Commands(Protocol):
    """Runs commands on this machine."""

    def run(
        self, argv: Sequence[str], variables: Mapping[str, str], seconds: float, tell: Callable[[str], object]
    ) -> None:
        """Run a command to its end. If that is cut short, all that it has started is ended.

        Args:
            argv: program and arguments; no shell is used.
            variables: of its environment, beside those that every such command has.
            seconds: how long it may take.
            tell: is given each line that it prints, without secrets that are known.

        Raises:
            RestoreHookError: it cannot be started, failed, or took too long; has the end of what it printed.
        """
