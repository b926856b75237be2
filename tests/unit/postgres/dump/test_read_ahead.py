"""What is read ahead of a program that fails is not waited for."""

from __future__ import annotations

import os
import signal

import pytest

from app.embedded.server import wait_until
from app.postgres.dump.read_ahead import read_ahead
from app.postgres.programs import ProgramError, running

LINES = 3 << 20


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_program_that_is_killed_is_noticed_before_what_it_wrote_is_used(number: int) -> None:
    argv = ["sh", "-c", f"head -c {LINES} /dev/zero; echo ready >&2; exec sleep 1000"]
    with running(argv, dict(os.environ)) as program, read_ahead(program) as blocks:
        assert next(blocks)
        assert wait_until(lambda: program.error_tail() == "ready", 30)
        os.kill(program.pid, number)
        assert wait_until(lambda: not program.running, 30)
        with pytest.raises(ProgramError) as killed:
            next(blocks)
        assert killed.value.code == -number


def test_what_a_program_wrote_that_ended_well_is_all_used() -> None:
    with running(["head", "-c", str(LINES), "/dev/zero"], dict(os.environ)) as program, read_ahead(program) as blocks:
        first = next(blocks)
        assert wait_until(lambda: not program.running, 30)
        assert len(first) + sum(map(len, blocks)) == LINES
