"""What a crash, or another process at the same moment, leaves between files and catalog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from app.domain.backup import Origin, Tier
from app.embedded.postgres import EmbeddedPostgres
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find
from app.operations.backups.sync import sync
from app.operations.backups.verify import verify
from app.operations.health.check import repair
from app.operations.service import Progress
from tests.fix_days import DAILY, START
from tests.fix_postgres import scratch_database
from tests.fix_service import Site


class During(Progress):
    """Does something when the first bytes of a phase pass."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act: Callable[[], object] | None = act

    def advance(self, amount: int) -> None:  # noqa: ARG002 - the port's
        if self.act is not None:
            act, self.act = self.act, None
            act()


def test_a_manifest_rebuilt_while_a_run_replaces_the_file_is_not_put_beside_other_bytes(site: Site) -> None:
    service = replace(site.service(), clock=lambda: START)
    taken = take_backup(service, DAILY)
    assert taken is not None
    (site.backups / f"{taken.backup.file}.json").unlink()
    site.database.execute("DELETE FROM notifications")
    outcome = sync(service, During(lambda: take_backup(service, DAILY)))
    assert outcome.problems == []
    assert verify(service).failed == []
    assert find(service, "latest").origin is Origin.DUMP


def test_another_databases_run_is_no_leftover(site: Site, postgres_server: EmbeddedPostgres) -> None:
    with scratch_database(postgres_server) as other:
        service = site.service()
        moment = During(lambda: take_backup(site.service(DATABASE_URL=other.url), BackupRequest(tier=Tier.WEEKLY)))
        assert take_backup(service, DAILY, moment) is not None
        assert moment.act is None
        assert len(site.files()) == 4


def test_a_run_that_died_between_its_two_renames_is_finished(site: Site) -> None:
    service = site.service()
    taken = take_backup(service, DAILY)
    assert taken is not None
    manifest = site.backups / f"{taken.backup.file}.json"
    manifest.rename(manifest.with_name(f".{manifest.name}.abcdefabcdef.partial"))
    for path in site.backups.glob("catalog.db*"):
        path.unlink()
    repair(site.service())
    assert find(site.service(), "latest").origin == "dump"
    assert verify(site.service()).failed == []
    assert not list(site.backups.rglob("*.partial"))
