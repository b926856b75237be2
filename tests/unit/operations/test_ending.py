"""Every verb that fails or is cancelled ends in one way: recovered, told, recorded, raised."""

from __future__ import annotations

import pytest

from app.errors import BackupCancelledError, BackupCreationError, Cancelled, RestoreCancelledError
from app.operations.ending import Ending


class Steps(Ending):
    """Notes what is asked of it, in order."""

    def __init__(self, *, done: bool = False) -> None:
        self.steps: list[str] = []
        self.done = done

    def cancelled(self, signal: KeyboardInterrupt | BackupCancelledError) -> Exception:
        self.steps.append(f"cancelled {type(signal).__name__}")
        return RestoreCancelledError("the restore was cancelled")

    def recover(self, error: Exception, cause: BaseException) -> Exception | None:
        self.steps.append(f"recover {type(error).__name__} of {type(cause).__name__}")
        return None if self.done else error

    def tell(self, error: Exception) -> None:
        self.steps.append(f"tell {type(error).__name__}")

    def record(self, error: Exception) -> None:
        self.steps.append(f"record {type(error).__name__}")


def test_work_that_succeeds_ends_nothing() -> None:
    how = Steps()
    with how:
        pass
    assert how.steps == []


def test_an_error_is_recovered_told_and_recorded_in_this_order_and_raised_as_it_is() -> None:
    how, error = Steps(), BackupCreationError("the server is down")
    behind = ValueError("why")
    with pytest.raises(BackupCreationError) as raised, how:
        raise error from behind
    assert raised.value is error
    assert error.__cause__ is behind
    assert error.logged
    assert how.steps == [
        "recover BackupCreationError of BackupCreationError",
        "tell BackupCreationError",
        "record BackupCreationError",
    ]


@pytest.mark.parametrize("signal", [KeyboardInterrupt(), Cancelled(BackupCancelledError("revoked"))])
def test_a_cancel_becomes_the_verbs_own_error(signal: KeyboardInterrupt) -> None:
    how = Steps()
    with pytest.raises(RestoreCancelledError) as raised, how:
        raise signal
    assert raised.value.__cause__ is signal
    assert how.steps[0] == f"cancelled {type(signal).__name__}"
    assert how.steps[-1] == "record RestoreCancelledError"


def test_a_cancel_that_the_verb_does_not_name_passes_as_it_is() -> None:
    with pytest.raises(KeyboardInterrupt), Ending():
        raise KeyboardInterrupt


def test_work_that_is_done_all_the_same_raises_nothing() -> None:
    how = Steps(done=True)
    with how:
        raise BackupCreationError("the connection was cut after the commit")
    assert how.steps == ["recover BackupCreationError of BackupCreationError"]
