"""A few commands without processes: `echo`, `printenv`, `false` and `sleep`.

`tests/contract/test_commands.py` holds them to what the real ones do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.errors import RestoreHookError


@dataclass(eq=False)
class CannedCommands:
    """See `app.ports.commands.Commands`.

    Attributes:
        ran: words and variables of each command that was begun.
        meanwhile: what happens once while a command of these words runs.
    """

    ran: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    meanwhile: dict[str, Callable[[], object]] = field(default_factory=dict)

    def run(
        self, argv: Sequence[str], variables: Mapping[str, str], seconds: float, tell: Callable[[str], object]
    ) -> None:
        program, *words = argv
        if program not in {"echo", "printenv", "false", "sleep"}:
            raise RestoreHookError(f"{program} cannot be started: No such file or directory")
        self.ran.append((" ".join(argv), dict(variables)))
        if happens := self.meanwhile.pop(" ".join(argv), None):
            happens()
        if program == "echo":
            tell(" ".join(words))
        if program == "sleep" and float(words[0]) > seconds:
            raise RestoreHookError(f"sleep did not end within {seconds:g} s: it printed nothing")
        if program == "printenv" and words[0] in variables:
            tell(variables[words[0]])
        elif program in {"printenv", "false"}:
            raise RestoreHookError(f"{program} failed with exit code 1: it printed no error")
