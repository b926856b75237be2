"""A catalog that is open: what a test wants, where the service opens its own at the first use."""

from __future__ import annotations

from datetime import timedelta

from app.catalog.engine import lazy_catalog
from app.catalog.store import LEASE, SqlCatalog


def open_catalog(url: str, *, lease: timedelta = LEASE) -> SqlCatalog:
    """The catalog of that URL, made or brought up to date."""
    catalog = lazy_catalog(url, lease=lease)
    catalog.open()
    return catalog
