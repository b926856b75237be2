"""The root of all errors: a message, a hint, an exit code, and whether another try can help."""

from __future__ import annotations

from typing import ClassVar


class ResidencyBackupError(Exception):
    """The root of every error that this program raises on purpose.

    Attributes:
        exit_code: what the command line exits with.
        transient: whether another try, with nothing changed, may succeed.
        logged: whether the operation that it ended has written it to the log.
    """

    exit_code: ClassVar[int] = 1
    transient: ClassVar[bool] = False
    logged = False

    def __init__(self, message: str = "", hint: str = "") -> None:
        super().__init__(*((message, hint) if hint else (message,)))

    @property
    def message(self) -> str:
        """What failed."""
        return str(self.args[0])

    @property
    def hint(self) -> str:
        """What the operator should do now; empty if there is nothing useful to say."""
        return str(self.args[1]) if len(self.args) > 1 else ""

    def __str__(self) -> str:
        return self.message


def as_logged(error: Exception) -> Exception:
    """The same error, marked as written to the log."""
    if isinstance(error, ResidencyBackupError):
        error.logged = True
    return error
