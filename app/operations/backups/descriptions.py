"""What manifests describe, without reading those that have not changed since they were read.

A manifest is known by its *stamp* (`ports.tree.Stamp`): size, both times and inode. As in git's index [1], a stamp says
nothing if it was young when the content was read: whoever writes the manifest again within one tick of the clock leaves
the same stamp. So a stamp is kept only if it was older, by the clock that writes it, than the coarsest tick there is.
That clock is asked before the content is read, and may be another machine's.

- A manifest that was just written is read again by the next look; its digest saves parsing it.
- On a clock that stands still, or that was set back behind the stamps, no stamp is ever old: each look reads, as it
  does if the clock cannot be asked. Nothing wrong is believed.
- A tree that was copied (``rsync -a``) has its old modification times, but other inodes and times of change.
- A manifest that is changed in place, with its modification time put back, has another time of change. Only who sets
  the machine's clock to the same nanosecond could hide it.

Of a manifest that is longer than `BEGINNING` only the facts are read, and proven by a checksum of their own: damage in
its index is found by who reads that. Verifying, restoring and removing read the manifest itself, whatever is known of
it; and `sync` reads each to its end, because it is what mends them.

[1] https://git-scm.com/docs/racy-git
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from app.domain.backup import Backup, Tier
from app.domain.events import BackupEvent
from app.errors import BackupError, ManifestError
from app.operations.backups.same_name import TreeFile, fits
from app.ports.events import Events, failure
from app.ports.runs import KnownManifest
from app.ports.tree import ListedFile, ManifestRead, Stamp, StoredFile, Tree

if TYPE_CHECKING:
    from app.archive.manifest import Manifest

BEGINNING = 64 << 10  # bytes that hold the facts of a manifest, but of format 1
_LOOKS = 5  # at a manifest that is written to each time
_TICK_NS = 2_000_000_000  # FAT's, the coarsest of all file systems


class Descriptions:
    """Says what the manifests of a tree describe, for one look at it.

    Args:
        tree: where they stand.
        events: get a warning of each manifest that cannot be used.
        known: what earlier looks found, by file.
        recording: whether what is found is to be recorded: then the tree's clock is asked.
        whole: whether each manifest is to be read and proven to its end.
    """

    def __init__(
        self,
        tree: Tree,
        events: Events,
        known: Mapping[str, KnownManifest] = MappingProxyType({}),
        *,
        recording: bool = True,
        whole: bool = False,
    ) -> None:
        self._tree = tree
        self._events = events
        self._known = known
        self._whole = whole
        self._clock = functools.cache(tree.clock) if recording else lambda _: 0

    def of(self, listed: ListedFile) -> TreeFile:
        """A file with what its manifest says; one that cannot be used is a warning."""
        if listed.stamp is None:
            return TreeFile(listed, None, _waiting(listed))
        known = self._known.get(listed.file)
        if known is not None and known.stamp == listed.stamp and not self._whole:
            return TreeFile(listed, known)
        try:
            return self._now(listed, known)
        except BackupError as error:
            self._events.emit(failure(BackupEvent.MANIFEST_UNUSABLE, error, backup=listed.id))
            return TreeFile(listed, None)

    def _now(self, listed: ListedFile, known: KnownManifest | None) -> TreeFile:
        """The file as it is now: a run may have replaced it and its manifest since it was listed.

        Raises:
            BackupError: its manifest cannot be read or used.
        """
        stored: ListedFile | None = listed
        for _ in range(_LOOKS):
            if stored is None or stored.stamp is None:
                break
            found, stamp = self._read(stored, known)
            if stamp == stored.stamp:
                return TreeFile(stored, found)
            stored = self._tree.look(listed.file)
        return TreeFile(replace(stored or listed, stamp=None), None)

    def _read(self, listed: ListedFile, known: KnownManifest | None) -> tuple[KnownManifest | None, Stamp | None]:
        """What the manifest says, and its stamp when it was read.

        Raises:
            BackupError: it cannot be read or used.
        """
        now = self._clock(Tier(listed.file.partition("/")[0]))  # before it is read
        read = self._tree.read_stamped(listed.file, None if self._whole else BEGINNING)
        if read is None or read.stamp != listed.stamp:
            return None, None
        if self._whole:
            told = ManifestRead(_told_by(read.content, listed), read.stamp)
            return _known_by(told, _by_all(read.content, listed), now), read.stamp
        if found := _same(read, known, now):
            return found, read.stamp
        if backup := _by_facts(read.content, listed, whole=len(read.content) < BEGINNING):
            return _known_by(read, backup, now), read.stamp
        if len(read.content) >= BEGINNING:
            read = self._tree.read_stamped(listed.file)
            if read is None or read.stamp != listed.stamp:
                return None, None
        return _same(read, known, now) or _known_by(read, _by_all(read.content, listed), now), read.stamp


def described_in(stored: StoredFile, events: Events) -> Backup | None:
    """The backup that the manifest describes which was read a moment ago; one that cannot be used is a warning."""
    if stored.manifest is None:
        return None
    try:
        return _by_facts(stored.manifest, stored, whole=True) or _by_all(stored.manifest, stored)
    except ManifestError as error:
        events.emit(failure(BackupEvent.MANIFEST_UNUSABLE, error, backup=stored.id))
        return None


def written(stored: ListedFile, data: bytes, manifest: Manifest) -> TreeFile:
    """A file whose manifest was written a moment ago."""
    backup = manifest.to_backup(stored.id, stored.file)
    return TreeFile(replace(stored, waiting=()), _known_by(ManifestRead(_told_by(data, stored), None), backup, 0))


def _told_by(data: bytes, stored: ListedFile) -> bytes:
    """As much of a manifest as the next look reads."""
    return data[:BEGINNING] if _by_facts(data[:BEGINNING], stored, whole=False) else data


def _known_by(read: ManifestRead, backup: Backup, now: int) -> KnownManifest:
    return KnownManifest(_digest(read.content), _old(read.stamp, now), backup)


def _same(read: ManifestRead, known: KnownManifest | None, now: int) -> KnownManifest | None:
    """What was known of a manifest, if these are the bytes that were read then."""
    if known is None or known.digest != _digest(read.content):
        return None
    stamp = _old(read.stamp, now)
    return known if stamp in {None, known.stamp} else KnownManifest(known.digest, stamp, known.backup)


def _old(stamp: Stamp | None, now: int) -> Stamp | None:
    """A stamp that no later content can have, as of the instant before the content was read; else None."""
    if stamp is None or max(stamp.mtime_ns, stamp.ctime_ns) + _TICK_NS >= now:
        return None
    return stamp


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _by_facts(content: bytes, stored: ListedFile, *, whole: bool) -> Backup | None:
    """The backup, without its index; of a `whole` manifest, the checksum of that is looked at too."""
    from app.archive.manifest import parse_facts  # noqa: PLC0415 -- not for what is known
    from app.archive.manifest_text import whole_in  # noqa: PLC0415 -- as above

    name = f"{stored.file}.json"
    facts = parse_facts(content, name)
    if facts is None:
        return None
    if whole:
        whole_in(content, name)
    return facts.to_backup(stored.id, stored.file)


def _by_all(content: bytes, stored: ListedFile) -> Backup:
    from app.archive.manifest import parse_manifest  # noqa: PLC0415 -- as above

    return parse_manifest(content, f"{stored.file}.json").to_backup(stored.id, stored.file)


def _waiting(listed: ListedFile) -> Backup | None:
    """The backup that a waiting manifest describes, if its length fits."""
    for content in listed.waiting:
        try:
            backup = _by_facts(content, listed, whole=True) or _by_all(content, listed)
        except ManifestError:
            continue
        if fits(backup, listed):
            return backup
    return None
