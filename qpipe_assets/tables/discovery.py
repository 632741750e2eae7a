"""Which raw objects there are, and of which molecule: by the key's `molecule=` folder, else by reading the object once.

All layouts are read in one pass below `experiments/<topic>/`: `molecule=M/...`, flat files, time-partitioned folders
(`year=.../month=...`) and v1's `partition=N/`. Every topic folder is looked at.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qpipe_assets.tables.decode import DecodeError, decode_usable, valid_partition_key
from qpipe_assets.tables.ledger import Ledger
from qpipe_assets.tables.ledger_queries import too_large
from qpipe_resources.object_layout import EXPERIMENTS, MOLECULE_FOLDER, QUARANTINE
from qpipe_resources.object_store import (
    InvalidKeyError,
    ObjectChangedError,
    ObjectInfo,
    ObjectMissingError,
    ObjectStore,
)


@dataclass(frozen=True)
class Limits:
    """Bounds on what is read: bytes of one object, bytes of one batch."""

    max_object_bytes: int
    batch_bytes: int


class Discovery:
    """Lists the objects of a molecule, locating those whose key does not name one."""

    def __init__(self, store: ObjectStore, ledger: Ledger, limits: Limits) -> None:
        self._store = store
        self._ledger = ledger
        self._limits = limits

    def of_molecule(self, molecule: str) -> list[ObjectInfo]:
        """All objects of the molecule in key order; unknown keys without a molecule are read once to find out."""
        folders = self._folders()
        unnamed = list(self._unnamed(folders, None))
        located = self._locate(unnamed)
        found = [info for info in unnamed if located.get((info.key, info.etag)) == molecule]
        for folder, name in _molecule_folders(folders):
            if name == molecule:
                found.extend(self._store.list_objects(folder))
        return sorted(found, key=lambda info: info.key)

    def by_molecule(self, since: dt.date | None = None) -> dict[str, list[ObjectInfo]]:
        """Objects by molecule; folders whose name is no valid partition key are quarantined.

        Args:
            since: leave out what lies in the folder of an earlier day (`year=/month=/day=`), at no cost for it. In a
                molecule's folder only days count; elsewhere objects whose key names no day are never left out.
        """
        folders = self._folders()
        unnamed = list(self._unnamed(folders, since))
        located = self._locate(unnamed)
        found: dict[str, list[ObjectInfo]] = {}
        for info in unnamed:
            molecule = located.get((info.key, info.etag))
            if molecule is not None:
                found.setdefault(molecule, []).append(info)
        for folder, molecule in _molecule_folders(folders):
            objects = list(self._store.list_objects(folder, after=_before(folder, since)))
            if valid_partition_key(molecule):
                found.setdefault(molecule, []).extend(objects)
                continue
            known = self._ledger.unreadable_versions(self._limits.max_object_bytes)
            for info in objects:
                if (info.key, info.etag) not in known:
                    self.quarantine(info, None, f"folder molecule={molecule} is no valid partition key; rename it")
        return found

    def _locate(self, unnamed: Sequence[ObjectInfo]) -> dict[tuple[str, str], str]:
        """Molecule of each object version without one in its key; reads only those that were never read."""
        located = self._ledger.located(info.key for info in unnamed)
        unreadable: set[tuple[str, str]] | None = None
        for info in unnamed:
            version = (info.key, info.etag)
            if version in located:
                continue
            if unreadable is None:
                unreadable = self._ledger.unreadable_versions(self._limits.max_object_bytes)
            if version not in unreadable:
                molecule = self._read_molecule(info)
                if molecule is not None:
                    self._ledger.locate(info.key, info.etag, molecule)
                    located[version] = molecule
        return located

    def _read_molecule(self, info: ObjectInfo) -> str | None:
        if info.size > self._limits.max_object_bytes:
            self.quarantine(info, None, too_large(info.size, self._limits.max_object_bytes), copy=False)
            return None
        try:
            stored = self._store.get(info.key)
            if stored.etag != info.etag:
                return None
            return decode_usable(stored.data)[0][0].molecule
        except (ObjectChangedError, ObjectMissingError):
            return None
        except (DecodeError, InvalidKeyError) as error:
            self.quarantine(info, None, str(error))
        return None

    def quarantined(self) -> list[dict[str, str | None]]:
        """Objects whose latest version is quarantined and that still stand in the store, with the error."""
        recorded = self._ledger.quarantined()
        if not recorded:
            return []
        folders = sorted({str(entry["object_key"]).rpartition("/")[0] + "/" for entry in recorded})
        standing = {
            (info.key, info.etag) for folder in folders for info in self._store.list_objects(folder, recursive=False)
        }
        return [entry for entry in recorded if (entry["object_key"], entry["etag"]) in standing]

    def quarantine(self, info: ObjectInfo, molecule: str | None, error: str, *, copy: bool = True) -> None:
        """Record an unusable object version with its error and copy it under quarantine/; it stays where it is."""
        if copy:
            try:
                self._store.copy(info.key, f"{QUARANTINE}{info.key}")
            except ObjectMissingError:
                return
            except InvalidKeyError:
                pass  # no store takes the key, so it can only be recorded
        self._ledger.quarantine(info.key, info.etag, molecule, error)

    def _folders(self) -> dict[str, list[str]]:
        """The folders of each topic."""
        return {topic: self._store.folders(topic) for topic in self._store.folders(EXPERIMENTS)}

    def _unnamed(self, folders: dict[str, list[str]], since: dt.date | None) -> Iterator[ObjectInfo]:
        """Objects whose key names no molecule."""
        yield from self._store.list_objects(EXPERIMENTS, recursive=False)
        for topic, below in folders.items():
            yield from self._store.list_objects(topic, recursive=False)
            for folder in below:
                name = folder.removeprefix(topic)
                if name.startswith("year="):
                    yield from self._store.list_objects(folder, after=_before(topic, since))
                elif not name.startswith(MOLECULE_FOLDER):
                    yield from self._store.list_objects(folder)


def _molecule_folders(folders: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    for topic, below in folders.items():
        for folder in below:
            name = folder.removeprefix(topic).rstrip("/")
            if name.startswith(MOLECULE_FOLDER):
                yield folder, name.removeprefix(MOLECULE_FOLDER)


def _before(folder: str, since: dt.date | None) -> str:
    """What sorts after every earlier day in a folder of days, and before this one."""
    return f"{folder}year={since:%Y}/month={since:%m}/day={since:%d}" if since else ""
