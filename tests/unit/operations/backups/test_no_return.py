"""Of a restore that cannot be undone any more it is said, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.domain.backup import Tier
from app.domain.checks import Severity
from app.domain.restore import Method
from app.errors import RestoreValidationError, ServerUnavailableError
from app.operations.backups.expire import expire
from app.operations.backups.inventory import inventory
from app.operations.backups.no_return import lost_undos
from app.operations.health.restores import check_restores
from app.operations.restore.rollback import rollback
from tests.fakes.folder import Disk
from tests.fix_memory_site import MemorySite


def lost(site: MemorySite) -> dict[str, str]:
    return lost_undos(site.service, site.restores(), inventory(site.service))


def restored(site: MemorySite, **asked: object) -> str:
    """The id of a restore a minute later."""
    site.later(minutes=1)
    return site.restore("latest-daily", **asked).restore.id


def test_one_that_can_be_undone_is_not_lost_nor_is_one_that_was_undone(memory_site: MemorySite) -> None:
    memory_site.take()
    first, second = restored(memory_site), restored(memory_site)
    assert lost(memory_site) == {}
    rollback(memory_site.service, second)
    assert lost(memory_site) == {}
    assert first in {record.id for record in memory_site.restores()}


def test_a_restore_whose_time_to_roll_back_is_over_has_no_return(memory_site: MemorySite) -> None:
    memory_site.take()
    done = restored(memory_site)
    memory_site.later(hours=25)
    safety = memory_site.find("latest-safety").id
    assert lost(memory_site) == {
        done: f"that was possible until 2025-01-16 02:01 UTC; what was there before it is in {safety}"
    }
    expire(memory_site.service)
    assert lost(memory_site)[done] == f"nothing that was before it is kept; what was there before it is in {safety}"
    memory_site.take()
    memory_site.tree.remove(f"{safety}.sql")
    assert lost(memory_site)[done] == "nothing that was before it is kept"


def test_without_its_undo_database_neither_a_restore_nor_an_earlier_one_can_be_rolled_back(
    memory_site: MemorySite,
) -> None:
    memory_site.take()
    first, second = restored(memory_site), restored(memory_site)
    memory_site.target.drop(f"residency_undo_{second}")
    found = lost(memory_site)
    assert found[second].startswith(f"database residency_undo_{second} is gone; what was there")
    assert found[first].startswith(f"restore {second} came after it, and cannot be undone; what was there")


def test_a_merge_whose_script_is_gone_has_no_return(memory_site: MemorySite) -> None:
    memory_site.take()
    done = restored(memory_site, mode="merge")
    memory_site.service.tree.scripts.remove(done)
    assert lost(memory_site)[done].startswith("its script is gone; what was there before it is in safety/")


def test_without_its_safety_backup_a_rollback_says_so_before_it_takes_another(memory_site: MemorySite) -> None:
    memory_site.take()
    done = restored(memory_site)
    record = memory_site.restores()[0]
    in_place = replace(record, method=Method.IN_PLACE, undo=None, shadow=None)
    assert memory_site.restore_records.replace_restore(in_place, record)
    assert lost(memory_site) == {}
    memory_site.tree.remove(f"{record.safety}.sql")
    assert lost(memory_site) == {done: f"its safety backup {record.safety} is gone"}
    before = memory_site.files()
    with pytest.raises(RestoreValidationError, match="the safety backup, which was kept for it, is gone"):
        rollback(memory_site.service, done)
    assert memory_site.files() == before


def test_of_a_folder_whose_mount_is_gone_nobody_can_tell(memory_site: MemorySite) -> None:
    memory_site.take()
    restored(memory_site, mode="merge")
    for restore_id in memory_site.service.tree.scripts.ids():
        memory_site.service.tree.scripts.remove(restore_id)
    memory_site.tree.mount.disk = Disk()
    assert lost(memory_site) == {}


def test_of_a_server_that_is_away_or_another_one_nobody_can_tell(memory_site: MemorySite) -> None:
    memory_site.take()
    done = restored(memory_site)
    memory_site.target.drop(f"residency_undo_{done}")
    memory_site.server.fails["databases"] = ServerUnavailableError("the server is away")
    assert lost(memory_site) == {}
    del memory_site.server.fails["databases"]
    memory_site.server.system_identifier = "7000000000000000002"
    assert lost(memory_site) == {}
    memory_site.later(hours=25)
    assert list(lost(memory_site)) == [done]
    assert memory_site.find("latest-safety").tier is Tier.SAFETY


def test_check_and_restores_say_the_same_of_it(memory_site: MemorySite) -> None:
    memory_site.take()
    first, second = restored(memory_site, mode="merge"), restored(memory_site, mode="merge")
    memory_site.service.tree.scripts.remove(second)
    found = check_restores(memory_site.service, inventory(memory_site.service))
    told = [finding.message for finding in found if finding.severity is Severity.WARNING]
    assert sorted(told) == sorted(
        f"restore {restore} cannot be rolled back: {why}" for restore, why in lost(memory_site).items()
    )
    assert len(told) == len({first, second})
