"""Writes a manifest beside an archive without ever replacing another one, while other processes may publish.

A file gets its name by a hard link, which fails if the name is taken. It loses its name by a rename to a temporary
name; then its content is compared, and it is put back if it is not the expected one.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from app.storage import disk

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def add(draft: Path, final: Path, content: bytes) -> bool:
    """Give a temporary file its final name too; False if that is taken."""
    try:
        os.link(draft, final, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            disk.write_whole(final, content)  # fails if the name exists; a reader of half a manifest finds it corrupt
        except FileExistsError:
            return False
    return True


def take_away(final: Path, aside: Path, content: bytes) -> bool:
    """Remove a manifest if it has this content. True if there is none any more; any other manifest stays.

    Args:
        final: its name.
        aside: an unused temporary name in the same folder.
        content: that it must have.
    """
    try:
        final.rename(aside)
    except FileNotFoundError:
        return True
    try:
        found = aside.read_bytes()
        if found == content:
            return True
        add(aside, final, found)  # unless another process has written a newer one meanwhile
        return False
    finally:
        disk.discard(aside)
