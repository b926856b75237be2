"""Names of files in a tier's folder: archives, their manifests, and what runs write under temporary names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from app.domain.backup import Tier, extensions_of

_TIERS = frozenset(Tier)
_TEMPORARY = re.compile(r"\..+\.(?P<run>[^.]+)\.partial")
_WAITING = re.compile(r"\.(?P<archive>.+)\.json\.[^.]+\.partial")


def stem_of(archive: Path) -> str | None:
    """An archive's name without extensions; None for a name that no archive in its tier's folder has."""
    tier = archive.parent.name
    return stem_in(Tier(tier), archive.name) if tier in _TIERS else None


def stem_in(tier: Tier, name: str) -> str | None:
    """The same of a name in that tier's folder."""
    for suffix in extensions_of(tier):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return None


def variants_of(archive: Path) -> Sequence[Path]:
    """All names that the backup of this id may have, because an id does not say how its file is compressed."""
    stem = stem_of(archive)
    return [archive] if stem is None else [archive.with_name(stem + suffix) for suffix in _suffixes(archive)]


def _suffixes(archive: Path) -> Sequence[str]:
    tier = archive.parent.name
    return extensions_of(Tier(tier)) if tier in _TIERS else ()


def manifest_of(archive: Path) -> Path:
    """The path of an archive's manifest."""
    return archive.with_name(f"{archive.name}.json")


def temporary(path: Path, run_id: str) -> Path:
    """The path that a run writes to before the file gets its final name."""
    return path.with_name(f".{path.name}.{run_id}.partial")


def run_in(name: str) -> str | None:
    """The id of the run whose temporary file has this name; None for any other name."""
    found = _TEMPORARY.fullmatch(name)
    return found["run"] if found else None


def waiting_for(name: str) -> str | None:
    """The archive whose manifest waits under this temporary name to be put in its place; None for any other name.

    Earlier versions wrote the last part of the id there, without the archive's extensions.
    """
    found = _WAITING.fullmatch(name)
    return found["archive"] if found else None
