"""Finds other users who own or may write files in the folder of backups.

Trusted are this process's user, root, and the owner of the folder, because on some network file systems everything
belongs to a user of its own. A user who may write a folder above can put another folder in the place of this one.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

_ROOT = 0
_ACL = "system.posix_acl_access"  # with an access list, the group's bits apply to all users in it


def trusted_users(root: Path) -> frozenset[int]:
    """The numbers of the users whose files count as ours; the folder need not exist."""
    try:
        return frozenset({os.geteuid(), _ROOT, root.stat().st_uid})
    except FileNotFoundError:
        return frozenset({os.geteuid(), _ROOT})


def stranger_among(files: Iterable[os.stat_result], trusted: frozenset[int]) -> str | None:
    """The owner of one of these files, if that user is not trusted; None otherwise."""
    return next((_user(file.st_uid) for file in files if file.st_uid not in trusted), None)


def other_writers(paths: Iterable[Path], root: Path) -> list[tuple[Path, str]]:
    """Those of the folder, the folders above it, and some paths in it, that other users may write; and who may."""
    folder, trusted = root.resolve(), trusted_users(root)
    above = sorted({*folder.parents, *root.absolute().parents})
    found = [(path, who) for path in above if (who := _writers_above(path, trusted))]
    found += [(folder, who)] if (who := _writers(folder, trusted)) else []
    return found + sorted((path, who) for path in paths if (who := _writers(path, trusted)))


def _user(number: int) -> str:
    """A user's name and number."""
    with suppress(KeyError):
        return f"{pwd.getpwuid(number).pw_name} (uid {number})"
    return f"uid {number}"


def _writers_above(path: Path, trusted: frozenset[int]) -> str | None:
    """Who may replace an entry of this folder; if it is sticky, only the folder's and the entry's owners."""
    try:
        found = path.lstat()
    except OSError:
        return None
    sticky = found.st_mode & stat.S_ISVTX
    if found.st_uid == _nobody():  # in a user namespace, the owner of all files of users outside of it
        return "anybody" if found.st_mode & stat.S_IWOTH and not sticky else None
    return stranger_among((found,), trusted) if sticky else _writers(path, trusted)


@cache
def _nobody() -> int:
    with suppress(OSError, ValueError):
        return int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))
    return 65534


def _writers(path: Path, trusted: frozenset[int]) -> str | None:
    """Who may write a file or folder besides trusted users; None if nobody may, or if it does not exist."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        return None  # the bits of a link mean nothing
    if foreign := stranger_among((found,), trusted):
        return foreign
    if found.st_mode & stat.S_IWOTH:
        return "anybody"
    return _group(path, found) if found.st_mode & stat.S_IWGRP else None


def _group(path: Path, found: os.stat_result) -> str | None:
    """The group that may write, if it has other members than trusted users."""
    with suppress(OSError):
        if _ACL in os.listxattr(path, follow_symlinks=False):
            return "others whom its access list names (getfacl)"
    ours = _name_of(os.geteuid())
    try:
        group = grp.getgrgid(found.st_gid)
    except KeyError:
        return None if found.st_gid in {*os.getgroups(), os.getegid()} else f"gid {found.st_gid}"
    trusted = {ours, _name_of(_ROOT)}
    others = {*group.gr_mem, *(user.pw_name for user in pwd.getpwall() if user.pw_gid == found.st_gid)} - trusted
    return f"group {group.gr_name}" if others else None


def _name_of(uid: int) -> str | None:
    """A user's name; None if the number is unknown."""
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return None
