"""`list` and `show` are quick: they import little, and parse no manifest that the catalog knows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import cli
from app.archive import manifest as manifests
from app.archive.manifest import parse_manifest
from bench.commands import DATABASE, make_tree

ID = "daily/backup-2025-01-15"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "backups"
    make_tree(folder, count=4)
    monkeypatch.setenv("BACKUP_DIR", str(folder))
    monkeypatch.setenv("BACKUP_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return folder


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert cli.run(["list", "--json"]) == 0
    return {backup["backup"]: backup for backup in json.loads(capsys.readouterr().out)}


@pytest.mark.usefixtures("tree")
def test_a_manifest_that_the_catalog_knows_is_not_parsed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []

    def parse(data: bytes, name: str) -> manifests.Manifest:
        parsed.append(name)
        return parse_manifest(data, name)

    monkeypatch.setattr(manifests, "parse_manifest", parse)
    found = listed(capsys)
    assert parsed == []
    assert len(found) == 4
    assert found[ID]["good"]
    assert found[ID]["database"] == DATABASE


def test_a_manifest_that_changed_is_seen_whatever_its_size_and_times(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tree / f"{ID}.sql.zst.json"
    before = file.stat()
    with file.open("r+b") as stream:  # the same inode
        content = json.loads(stream.read())
        content.pop("checksum")
        manifest = manifests.Manifest.model_validate({**content, "database": DATABASE[::-1]})
        stream.seek(0)
        stream.write(manifest.to_json().encode())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert cli.run(["sync"]) == 0
    file.write_bytes(file.read_bytes()[:-20])  # and a damaged one proves nothing
    assert listed(capsys)[ID]["good"] is False


@pytest.mark.parametrize("arguments", [["list"], ["show", ID]], ids=["list", "show"])
def test_who_only_looks_is_spared_the_libraries_of_servers_and_of_the_catalog(arguments: list[str], tree: Path) -> None:
    script = f"import sys; from app.cli import run; code = run({arguments!r}); print(*sys.modules); sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ID in done.stdout
    assert tree.name in done.stdout or "list" in arguments
    imported = set(done.stdout.splitlines()[-1].split())
    assert {"sqlalchemy", "alembic", "psycopg", "celery", "zstandard"} & imported == set()
    assert "list" not in arguments or "app.archive.manifest" not in imported
