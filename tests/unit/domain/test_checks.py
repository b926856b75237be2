"""What findings become."""

from __future__ import annotations

from app.domain.checks import Finding, Severity, first_error
from app.errors import BackupPermissionError, BackupStorageError, ServerUnavailableError

LOCKED = BackupPermissionError("no right on /backups", "chown it")
FULL = BackupStorageError("disk full", "free space")
GONE = ServerUnavailableError("no answer")


def test_nothing_wrong_is_no_error() -> None:
    assert first_error([]) is None
    assert first_error([Finding.ok("a", "fine"), Finding.warning("b", "odd")]) is None


def test_the_only_error_is_raised_as_it_is() -> None:
    findings = [Finding.ok("a", "fine"), Finding.failed("b", LOCKED), Finding.warning("c", "odd")]
    assert first_error(findings) is LOCKED


def test_the_first_of_several_names_the_others() -> None:
    error = first_error([Finding.failed("a", FULL), Finding.ok("b", "fine"), Finding.failed("c", LOCKED)])
    assert type(error) is BackupStorageError
    assert error.message == "disk full (and 1 more: no right on /backups)"
    assert error.hint == "free space"
    error = first_error([Finding.failed(str(number), each) for number, each in enumerate([GONE, FULL, LOCKED])])
    assert type(error) is ServerUnavailableError
    assert error.message == "no answer (and 2 more: disk full; no right on /backups)"
    assert error.hint == ""


def test_only_a_failed_check_carries_an_error() -> None:
    failed = Finding.failed("disk", FULL)
    assert (failed.check, failed.severity, failed.message, failed.error) == ("disk", Severity.ERROR, "disk full", FULL)
    assert (Finding.ok("disk", "x").severity, Finding.ok("disk", "x").error) == (Severity.OK, None)
    assert (Finding.warning("disk", "x").severity, Finding.warning("disk", "x").error) == (Severity.WARNING, None)
