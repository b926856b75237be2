"""What is looked at before a backup, and what is said of it."""

from __future__ import annotations

from app.domain.backup import Codec, Tier
from app.domain.checks import Finding, Severity
from app.errors import BackupCreationError, BackupPermissionError, BackupStorageError, ServerUnavailableError
from app.operations.backup.preflight import preflight
from tests.fix_memory_site import MemorySite, by_check


def found(site: MemorySite) -> dict[str, Finding]:
    return by_check(preflight(site.service, Tier.DAILY, None).findings)


def complaints(site: MemorySite) -> dict[str, Severity]:
    return {check: finding.severity for check, finding in found(site).items() if finding.severity is not Severity.OK}


def test_all_is_well_where_nothing_is_wrong(memory_site: MemorySite) -> None:
    assert complaints(memory_site) == {}
    assert set(found(memory_site)) == {"directory", "server", "versions", "privileges", "free space"}


def test_every_fault_is_named_and_one_hides_no_other(memory_site: MemorySite) -> None:
    memory_site.tree.mount.fails["probe"] = BackupStorageError("the disk is full", "free space")
    memory_site.source.hidden += [f"table public.t{number}" for number in range(120)]
    memory_site.server.fails["dump_program_version"] = BackupCreationError("no pg_dump", "install it")
    memory_site.tree.mount.free = 0
    said = found(memory_site)
    assert set(complaints(memory_site)) == {"directory", "versions", "privileges", "free space"}
    assert "20 more" in said["privileges"].message
    assert isinstance(said["privileges"].error, BackupPermissionError)
    assert "GRANT pg_read_all_data TO" in said["privileges"].error.hint


def test_a_server_that_is_away_is_one_fault(memory_site: MemorySite) -> None:
    memory_site.server.fails["facts"] = ServerUnavailableError("the server is away", "start it")
    assert set(complaints(memory_site)) == {"server"}
    assert set(found(memory_site)) == {"directory", "server"}


def test_a_dump_program_newer_than_the_server_is_a_warning(memory_site: MemorySite) -> None:
    memory_site.source.program = "19.0"
    assert complaints(memory_site) == {"versions": Severity.WARNING}


def test_what_no_dump_carries_is_a_warning(memory_site: MemorySite) -> None:
    memory_site.source.unlogged += [f"public.cache{number}" for number in range(3)]
    memory_site.source.lacking.append("table public.spatial is an extension's")
    said = found(memory_site)
    assert complaints(memory_site) == {"unlogged tables": Severity.WARNING, "not in dumps": Severity.WARNING}
    assert "public.cache0, public.cache1, public.cache2" in said["unlogged tables"].message


def test_what_cannot_be_asked_is_said(memory_site: MemorySite) -> None:
    refused = BackupPermissionError("permission denied for a catalog", "grant it")
    memory_site.server.fails |= {"left_out": refused, "undumped": refused, "unreadable": refused}
    assert set(complaints(memory_site)) == {"unlogged tables", "not in dumps", "privileges"}


def test_the_newest_backup_is_the_best_forecast_of_the_space(memory_site: MemorySite) -> None:
    memory_site.server.size = 1 << 40
    memory_site.tree.mount.free = 1 << 36
    assert set(complaints(memory_site)) == {"free space"}
    memory_site.server.size = 8 << 20
    earlier = memory_site.take().backup
    memory_site.server.size = 1 << 40
    ready = preflight(memory_site.service, Tier.DAILY, earlier)
    assert by_check(ready.findings)["free space"].severity is Severity.OK
    compressed = memory_site.with_options(codec=Codec.ZSTD)
    assert by_check(preflight(compressed, Tier.DAILY, earlier).findings)["free space"].severity is Severity.ERROR
