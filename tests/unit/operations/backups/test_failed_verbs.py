"""Each verb that looks after backups says when it fails, or is cancelled: one event, and a typed error."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.domain.events import BackupEvent
from app.errors import BackupCancelledError, BackupPermissionError, Cancelled
from app.operations.backups.delete import delete
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.backups.verify import verify
from app.operations.service import Service
from tests.fix_memory_site import MemorySite

VERBS: list[tuple[Callable[[Service], object], BackupEvent]] = [
    (verify, BackupEvent.VERIFICATION_FAILED),
    (prune, BackupEvent.PRUNE_FAILED),
    (sync, BackupEvent.SYNC_FAILED),
    (lambda service: delete(service, "daily/backup-2025-01-15", "why"), BackupEvent.NOT_DELETED),
]
REVOKED = BackupCancelledError("the run was revoked")
ENDS: list[tuple[BaseException, type[Exception]]] = [
    (BackupPermissionError("the folder cannot be read"), BackupPermissionError),
    (Cancelled(REVOKED), BackupCancelledError),
    (KeyboardInterrupt(), BackupCancelledError),
]


@pytest.mark.parametrize(("verb", "event"), VERBS, ids=["verify", "prune", "sync", "delete"])
@pytest.mark.parametrize(("raised", "error"), ENDS, ids=["error", "revoked", "Ctrl-C"])
def test_a_verb_that_fails_or_is_cancelled_says_so_once(
    memory_site: MemorySite,
    monkeypatch: pytest.MonkeyPatch,
    verb: Callable[[Service], object],
    event: BackupEvent,
    raised: BaseException,
    error: type[Exception],
) -> None:
    def files() -> object:
        raise raised

    monkeypatch.setattr(memory_site.tree, "files", files)
    with pytest.raises(error) as caught:
        verb(memory_site.service)
    assert caught.value.logged  # type: ignore[attr-defined]
    found = [emitted for emitted in memory_site.events if emitted.name is event]
    assert [one.error for one in found] == [error.__name__]
    assert (caught.value is REVOKED) == isinstance(raised, Cancelled)


def test_a_backup_whose_retention_is_cancelled_tells_of_it_once(
    memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(memory_site.catalog, "keep_manifests", interrupt)
    memory_site.take()
    assert memory_site.phrases.count("backup retention was cut short") == 1
    assert "backup prune failed" not in memory_site.phrases
