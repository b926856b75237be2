"""Children of this process: how they end, and that nothing of them is left."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.postgres.programs import (
    ERROR_LINE_BYTES,
    ERROR_TAIL_LINES,
    ChildProcess,
    ProgramError,
    output_of,
    run,
    running,
)

ENV = {"PATH": os.environ["PATH"]}
GRACE = 0.3
DEADLINE = 10.0
# Ignores SIGTERM itself, or in a child; the child's id is its first line.
STUBBORN = "trap '' TERM; echo $$; while :; do sleep 0.05; done"
GRANDCHILD = "sh -c 'echo $$; exec sleep 600' & wait"
STUBBORN_GRANDCHILD = f"""sh -c "{STUBBORN.replace("$", chr(92) + "$")}" & """


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wait_until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def gone(pid: int) -> bool:
    """Ended; an orphan's zombie is for init to bury."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def first_number(program: ChildProcess) -> int:
    """The process id that a script prints first."""
    text = b""
    while not text.endswith(b"\n"):
        text += program.stdout.read(1)
    return int(text)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No process, thread or open file is left behind by any test; what Python would warn of becomes an error here."""
    threads = set(threading.enumerate())
    files = open_files()
    children = set(psutil.Process().children())
    yield
    gc.collect()
    assert set(threading.enumerate()) <= threads
    assert open_files() <= files
    assert set(psutil.Process().children()) <= children  # zombies too


def test_what_a_program_prints_comes_in_blocks() -> None:
    with running(python("import sys; sys.stdout.write('x' * 300_000)"), ENV) as program:
        blocks = list(program.blocks(1000))
        program.check()
    assert b"".join(blocks) == b"x" * 300_000
    assert max(map(len, blocks)) <= 1000


def test_a_good_end_is_no_error() -> None:
    with running(sh("exit 0"), ENV) as program:
        program.check()
        assert not program.running


def test_a_bad_end_tells_the_exit_code_and_what_was_said() -> None:
    with running(sh("echo first >&2; echo second >&2; exit 3"), ENV) as program:
        with pytest.raises(ProgramError) as caught:
            program.check()
        assert caught.value.message == "sh failed with exit code 3: first\nsecond"
    with running(sh("exit 1"), ENV) as program, pytest.raises(ProgramError, match="exit code 1: it printed no error"):
        program.check()


def test_a_death_by_signal_is_told_as_such() -> None:
    with running(sh("kill -9 $$"), ENV) as program, pytest.raises(ProgramError, match="sh was ended by signal 9"):
        program.check()


def test_only_the_end_of_many_complaints_is_kept() -> None:
    with running(python("import sys; [print(n, file=sys.stderr) for n in range(20_000)]; sys.exit(1)"), ENV) as program:
        with pytest.raises(ProgramError):
            program.check()
        assert program.error_tail().split() == [str(n) for n in range(20_000 - ERROR_TAIL_LINES, 20_000)]


def test_a_complaint_without_end_does_not_fill_the_memory() -> None:
    with running(python("import sys; sys.stderr.write('x' * 3_000_000 + 'end'); sys.exit(1)"), ENV) as program:
        with pytest.raises(ProgramError):
            program.check()
        assert program.error_tail().endswith("xend")
        assert len(program.error_tail()) <= ERROR_TAIL_LINES * (ERROR_LINE_BYTES + 1)


def test_complaints_that_are_not_text_are_told_as_far_as_they_are() -> None:
    argv = python("import sys; sys.stderr.buffer.write(b'a\\xff b'); sys.exit(1)")
    with running(argv, ENV) as program, pytest.raises(ProgramError, match="a\N{REPLACEMENT CHARACTER} b"):
        program.check()


@pytest.mark.parametrize("start", [lambda argv: ChildProcess(argv, ENV), lambda argv: run(argv, ENV), output_of])
def test_what_cannot_be_started_is_named_with_the_reason(start: Callable[[list[str]], object], tmp_path: Path) -> None:
    missing, no_program = tmp_path / "missing", tmp_path / "text"
    no_program.write_text("no program")
    with pytest.raises(ProgramError, match=f"^{missing} cannot be started: No such file"):
        start([str(missing)])
    with pytest.raises(ProgramError, match=f"^{no_program} cannot be started: Permission denied"):
        start([str(no_program)])
    no_program.chmod(0o755)
    with pytest.raises(ProgramError, match=f"^{no_program} cannot be started: Exec format error"):
        start([str(no_program)])


HOSTILE = ["$(touch x)", "; touch x", "`touch x`", "a b", "*", "> x", "", "\n", '"', "'"]


def test_arguments_are_passed_as_they_are_and_no_shell_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = [*python("import json, sys; print(json.dumps(sys.argv[1:]))"), *HOSTILE]
    with running(argv, ENV) as program:
        assert json.loads(b"".join(program.blocks())) == HOSTILE
        program.check()
    assert json.loads(output_of(argv, ENV)) == HOSTILE
    assert list(tmp_path.iterdir()) == []


def test_a_program_has_the_given_environment_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    argv = python("import os; print(sorted(name for name in os.environ if name != 'LC_CTYPE'))")
    assert output_of(argv, {"A": "1"}) == "['A']\n"
    with running(argv, {"A": "1"}) as program:
        assert b"".join(program.blocks()) == b"['A']\n"
        program.check()


def test_a_program_reads_nothing_from_us() -> None:
    with running(python("import sys; print(repr(sys.stdin.read()))"), ENV) as program:
        assert b"".join(program.blocks()) == b"''\n"
        program.check()


def test_a_program_leads_a_group_of_its_own() -> None:
    with running(sh("sleep 600"), ENV) as program:
        assert os.getpgid(program.pid) == program.pid != os.getpgid(0)
        assert program.running


def test_standard_output_may_go_to_a_file(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        program = ChildProcess(sh("echo hello"), ENV, stdout=file)
        program.check()
        program.end()
    assert (tmp_path / "out").read_text() == "hello\n"
    with pytest.raises(ValueError, match="standard output is not piped"):
        _ = program.stdout


@pytest.mark.parametrize(
    ("script", "name"),
    [
        (STUBBORN, "a child that ignores SIGTERM"),
        (GRANDCHILD, "a grandchild"),
        (f"{STUBBORN_GRANDCHILD} wait", "a grandchild that ignores SIGTERM"),
    ],
    ids=lambda value: value if value.startswith("a ") else "",
)
def test_ending_a_program_ends_all_of_its_group(script: str, name: str) -> None:
    program = ChildProcess(sh(script), ENV)
    within = first_number(program)
    assert not gone(within)
    program.end(grace=GRACE)
    assert not program.running
    assert wait_until(lambda: gone(within)), name


def test_what_a_child_that_has_ended_left_is_ended_too() -> None:
    with running(sh(f"{STUBBORN_GRANDCHILD} exit 0"), ENV) as program:
        within = first_number(program)
        while program.running:
            time.sleep(0.01)
        assert not gone(within)
    assert wait_until(lambda: gone(within))


def test_a_polite_child_may_clean_up_first(tmp_path: Path) -> None:
    done = tmp_path / "done"
    program = ChildProcess(
        sh(f"trap 'sleep 0.2; echo x > {done}; exit 0' TERM; echo $$; while :; do sleep 0.02; done"), ENV
    )
    first_number(program)
    program.end()
    assert done.exists()


def test_the_first_signal_may_be_another(tmp_path: Path) -> None:
    # Not SIGINT: what a shell starts in the background ignores that, and so do its children, whatever they trap.
    program = ChildProcess(sh("trap 'echo asked >&2; exit 0' USR1; echo $$; while :; do sleep 0.02; done"), ENV)
    first_number(program)
    program.end(first=signal.SIGUSR1)
    assert "asked" in program.error_tail().splitlines()  # beside what the shell says of the end of its sleep


def test_a_program_may_be_ended_twice() -> None:
    program = ChildProcess(sh("sleep 600"), ENV)
    program.end(grace=GRACE)
    program.end(grace=GRACE)
    assert not program.running
    with pytest.raises(ProgramError, match="ended by signal 15"):
        program.check()


class Interrupted(BaseException):
    """As KeyboardInterrupt or a cancelled task."""


@pytest.mark.parametrize("error", [ValueError, Interrupted])
def test_leaving_the_block_by_an_error_ends_the_program(error: type[BaseException]) -> None:
    pids = []

    def leave() -> None:
        with running(sh(GRANDCHILD), ENV) as program:
            pids.extend([program.pid, first_number(program)])
            raise error

    with pytest.raises(error):
        leave()
    assert wait_until(lambda: all(gone(pid) for pid in pids))
    assert not psutil.pid_exists(pids[0])


def test_leaving_the_block_with_output_unread_ends_the_program() -> None:
    with running(sh("yes"), ENV) as program:
        assert next(program.blocks(10))
    assert not program.running


def test_a_short_lived_programs_end_is_told_whatever_its_code() -> None:
    done = run(sh("echo out; echo err >&2; exit 4"), ENV)
    assert (done.code, done.stdout, done.stderr) == (4, "out\n", "err\n")


def test_output_of_a_program_that_failed_is_an_error() -> None:
    assert output_of(sh("echo out; echo err >&2"), ENV) == "out\n"
    with pytest.raises(ProgramError, match="sh failed with exit code 4: err"):
        output_of(sh("echo out; echo err >&2; exit 4"), ENV)
    with pytest.raises(ProgramError, match="sh failed with exit code 4: out"):
        output_of(sh("echo out; exit 4"), ENV)


def test_a_program_that_hangs_is_given_up() -> None:
    began = time.monotonic()
    with pytest.raises(ProgramError, match="sleep did not end within 0 s"):
        run(["sleep", "600"], ENV, timeout=0.2)
    assert time.monotonic() - began < DEADLINE
