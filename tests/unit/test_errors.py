"""The promises of the error tree, for every class in it."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
import re
from collections.abc import Iterator

import pytest
from celery import Celery, states
from celery.backends.base import Backend
from celery.backends.cache import CacheBackend

import app
from app import errors

# Some modules are imported by those who need them only: an error that one of them defines counts too.
for module in pkgutil.walk_packages(app.__path__, "app."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

MESSAGE, HINT = "the disk is full: /backups, größer", "free 3 GB, then try again"


def below(root: type[errors.ResidencyBackupError]) -> Iterator[type[errors.ResidencyBackupError]]:
    yield root
    for child in root.__subclasses__():
        yield from below(child)


EVERY = sorted(set(below(errors.ResidencyBackupError)), key=lambda each: each.__qualname__)
TREE = [each for each in EVERY if each.__module__.startswith(f"{errors.__name__}.")]
# Section 5 and the exit codes of section 4 of the contract.
CONTRACT = {
    "BackupError": ("ResidencyBackupError", 1),
    "BackupCreationError": ("BackupError", 15),
    "BackupReadError": ("BackupError", 16),
    "BackupWriteError": ("BackupError", 17),
    "BackupNotFoundError": ("BackupError", 10),
    "BackupValidationError": ("BackupError", 13),
    "BackupPermissionError": ("BackupError", 12),
    "BackupStorageError": ("BackupError", 14),
    "RestoreError": ("ResidencyBackupError", 1),
    "RestoreValidationError": ("RestoreError", 13),
    "RestoreDataError": ("RestoreError", 18),
    "RestorePermissionError": ("RestoreError", 12),
    "RestoreRollbackError": ("RestoreError", 19),
}
OWN_CODES = {"BackupRunningError": 11, "BackupCancelledError": 130, "SettingsError": 2, "CatalogError": 1}


@pytest.fixture(params=[(MESSAGE, HINT), (MESSAGE,), ()], ids=["hint", "no hint", "nothing"])
def words(request: pytest.FixtureRequest) -> tuple[str, ...]:
    given: tuple[str, ...] = request.param
    return given


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    """A result backend that stores what it is given in memory, as JSON."""
    with Celery(
        "errors", set_as_current=False, broker="memory://", result_serializer="json", accept_content=["json"]
    ) as celery:
        yield CacheBackend(celery, backend="memory")


def facts(error: errors.ResidencyBackupError) -> tuple[object, ...]:
    return type(error), error.message, error.hint, str(error), error.args, error.exit_code, error.transient


def test_the_contracts_thirteen_names_stand_with_their_bases_and_exit_codes() -> None:
    found = {each.__name__: (each.__base__.__name__, each.exit_code) for each in TREE if each.__name__ in CONTRACT}
    assert found == CONTRACT
    assert {each.__name__: each.exit_code for each in TREE if each.__name__ in OWN_CODES} == OWN_CODES


@pytest.mark.parametrize("error", TREE)
def test_an_error_is_a_backup_or_a_restore_error_with_a_code_of_the_table(
    error: type[errors.ResidencyBackupError],
) -> None:
    if error is not errors.ResidencyBackupError:
        assert issubclass(error, errors.BackupError) != issubclass(error, errors.RestoreError)
    codes = {code for _, code in CONTRACT.values()} | set(OWN_CODES.values())
    assert error.exit_code in codes
    assert (error.__doc__ or "").strip()


@pytest.mark.parametrize("error", EVERY)
def test_an_error_says_what_failed_and_what_to_do(error: type[errors.ResidencyBackupError]) -> None:
    full = error(MESSAGE, HINT)
    assert (full.message, full.hint, str(full)) == (MESSAGE, HINT, MESSAGE)
    assert (error(MESSAGE).message, error(MESSAGE).hint) == (MESSAGE, "")
    assert (error().message, error().hint, str(error())) == ("", "", "")


@pytest.mark.parametrize("error", EVERY)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickling(
    error: type[errors.ResidencyBackupError], words: tuple[str, ...], protocol: int
) -> None:
    before = error(*words)
    assert facts(pickle.loads(pickle.dumps(before, protocol))) == facts(before)


@pytest.mark.parametrize("error", EVERY)
def test_an_error_survives_celerys_result_backend(
    error: type[errors.ResidencyBackupError], words: tuple[str, ...], backend: Backend
) -> None:
    before = error(*words)
    backend.store_result("task", before, states.FAILURE)
    after = backend.get_task_meta("task", cache=False)["result"]
    assert facts(after) == facts(before)


def test_only_what_time_can_heal_is_worth_another_attempt() -> None:
    assert {each.__name__ for each in TREE if each.transient} == {
        "ServerUnavailableError",
        "TableLockedError",
        "LockTableFullError",
        "StandbyConflictError",
        "ProgramKilledError",
        "TargetUnavailableError",
        "BackupInterruptedError",
        "BackupStorageError",
        "BackupFolderLostError",
        "CatalogError",
        "CatalogStorageError",
    }


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn: dict[str, tuple[str | None, int]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"^ {4}([│├└─ ]*)(\w+Error) +(?:exit )?(\d+)", line):
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            drawn[found[2]] = (path[depth - 1] if depth else None, int(found[3]))
    roots = {"BackupError", "RestoreError"}
    assert drawn == {
        each.__name__: (None if each.__name__ in roots else each.__base__.__name__, each.exit_code)
        for each in TREE
        if each is not errors.ResidencyBackupError
    }
