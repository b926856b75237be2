"""Manifests of archives that no service wrote."""

from __future__ import annotations

from typing import Any

from app.archive.index import Index
from app.archive.manifest import Manifest


def manifest_of(index: Index, **facts: Any) -> Manifest:
    """The manifest of an archive with that index; `facts` are all its other attributes."""
    names = ("bytes", "raw_bytes", "sha256", "tables", "segments")
    return Manifest(**{name: getattr(index, name) for name in names}, **facts)
