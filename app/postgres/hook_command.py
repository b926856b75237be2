"""Runs the operator's commands around a restore."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from app.domain.hooks import VARIABLES
from app.domain.redaction import redacted, worth_hiding
from app.errors import RestoreHookError
from app.ports.commands import Commands
from app.postgres.database import Database
from app.postgres.output_lines import lines_of
from app.postgres.post_command import CommandPlace, environment_on, secrets_of
from app.postgres.programs import ProgramError, guard, running

_LONGEST = 1000  # characters of a line that are shown
_LAST_LINES = 10  # of the output in an error's message


class OperatorCommands(Commands):
    """Commands as processes. The port describes the method.

    Args:
        database: the live one, which they find by their environment.
        place: the rest of their environment, and their working directory.
        secrets: that are hidden in what they print.
    """

    def __init__(self, database: Database, place: CommandPlace, secrets: Sequence[str] = ()) -> None:
        self._database = database
        self._place = place
        self._secrets = secrets

    def run(
        self, argv: Sequence[str], variables: Mapping[str, str], seconds: float, tell: Callable[[str], object]
    ) -> None:
        """See the port."""
        inherited = environment_on(self._database, self._place)
        env = {name: value for name, value in inherited.items() if name not in VARIABLES} | dict(variables)
        hidden = worth_hiding([*self._secrets, *secrets_of(self._database, self._place)])
        try:
            # If this process is killed, its restore is recovered later: no command of its may go on then.
            with guard() as watch, running(argv, env, folder=self._place.folder, joined=True) as program:
                watch(program)
                for line in lines_of(program, seconds):
                    tell(redacted(line.decode(errors="replace").rstrip(), hidden)[:_LONGEST])
                program.check()
        except ProgramError as error:
            raise RestoreHookError(_shortened(redacted(error.message, hidden))) from error


def _shortened(message: str) -> str:
    """The message with the last lines of the output: all of them are in the log."""
    first, *lines = message.splitlines()
    return "\n".join([first, *(["…"] if len(lines) > _LAST_LINES else []), *lines[-_LAST_LINES:]])
