"""Puts a manifest beside an archive without ever taking the place of another one.

A name is given by a hard link, which fails where the name is taken; and is taken away by renaming, after which what was
taken can be looked at, and put back in the same way. So whoever publishes at the same time is never written over.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from app.storage import disk

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def add(draft: Path, final: Path, content: bytes) -> bool:
    """Give a temporary file its name; False where that is taken. The temporary name stays."""
    try:
        os.link(draft, final, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            disk.write_whole(final, content)  # the name is new, or this fails; whoever reads it half sees it is corrupt
        except FileExistsError:
            return False
    return True


def take_away(final: Path, aside: Path, content: bytes) -> bool:
    """Remove a manifest if it is the one of that content, or gone; any other stays.

    Args:
        final: its name.
        aside: a temporary name of the same folder that nobody else uses.
        content: what it must hold.
    """
    try:
        final.rename(aside)
    except FileNotFoundError:
        return True
    try:
        found = aside.read_bytes()
        if found == content:
            return True
        add(aside, final, found)  # unless somebody has put a newer one there meanwhile
        return False
    finally:
        disk.discard(aside)
