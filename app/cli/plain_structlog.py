"""Imports structlog without `rich`, which it would import for tracebacks that this program formats by itself.

That takes 0.05 s of each call. `rich` itself draws tables and bars here, and is imported where it does.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


def import_structlog() -> None:
    """Import it, unless somebody has."""
    modules: Any = sys.modules
    if "rich" in modules or "structlog" in modules:
        return
    modules["rich"] = None  # so Python knows of a module that there is none
    try:
        import_module("structlog")
    finally:
        del modules["rich"]
