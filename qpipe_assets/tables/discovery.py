"""Which raw objects there are, and of which molecule: by the key's `molecule=` folder, else by reading the object once.

All layouts are read in one pass below `experiments/<topic>/`: `molecule=M/...`, flat files, time-partitioned folders
(`year=.../month=...`) and v1's `partition=N/`. Every topic folder is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qpipe_assets.tables.decode import DecodeError, decode, valid_partition_key
from qpipe_assets.tables.ledger import Ledger
from qpipe_resources.object_store import (
    InvalidKeyError,
    ObjectChangedError,
    ObjectInfo,
    ObjectMissingError,
    ObjectStore,
    validate_key,
)

EXPERIMENTS = "experiments/"
QUARANTINE = "quarantine/"
_MOLECULE_FOLDER = "molecule="


@dataclass(frozen=True)
class Limits:
    """Bounds on what is read: bytes of one object, bytes of one batch."""

    max_object_bytes: int
    batch_bytes: int


def new_object_key(topic: str, molecule: str, date: str, name: str) -> str:
    """Key of a new object: `experiments/<topic>/molecule=<M>/year=/month=/day=/<name>.json`; `date` is ISO 8601."""
    year, month, day = date[:10].split("-")
    key = f"{EXPERIMENTS}{topic}/{_MOLECULE_FOLDER}{molecule}/year={year}/month={month}/day={day}/{name}.json"
    return validate_key(key)


class Discovery:
    """Lists the objects of a molecule, locating those whose key does not name one."""

    def __init__(self, store: ObjectStore, ledger: Ledger, limits: Limits) -> None:
        self._store = store
        self._ledger = ledger
        self._limits = limits

    def of_molecule(self, molecule: str) -> list[ObjectInfo]:
        """All objects of the molecule in key order; unknown keys without a molecule are read once to find out."""
        located = self.locate_all()
        found = [info for info in self._unnamed() if located.get((info.key, info.etag)) == molecule]
        for folder, name in self._molecule_folders():
            if name == molecule:
                found.extend(self._store.list_objects(folder))
        return sorted(found, key=lambda info: info.key)

    def by_molecule(self) -> dict[str, list[ObjectInfo]]:
        """All objects by molecule; folders whose name is no valid partition key are quarantined."""
        located = self.locate_all()
        found: dict[str, list[ObjectInfo]] = {}
        for info in self._unnamed():
            molecule = located.get((info.key, info.etag))
            if molecule is not None:
                found.setdefault(molecule, []).append(info)
        for folder, molecule in self._molecule_folders():
            objects = list(self._store.list_objects(folder))
            if valid_partition_key(molecule):
                found.setdefault(molecule, []).extend(objects)
                continue
            known = self._ledger.unreadable_versions()
            for info in objects:
                if (info.key, info.etag) not in known:
                    self.quarantine(info, None, f"folder molecule={molecule} is no valid partition key; rename it")
        return found

    def locate_all(self) -> dict[tuple[str, str], str]:
        """Molecule of every object version without one in its key; reads only those that were never read."""
        located = self._ledger.located()
        unreadable: set[tuple[str, str]] | None = None
        for info in self._unnamed():
            version = (info.key, info.etag)
            if version in located:
                continue
            if unreadable is None:
                unreadable = self._ledger.unreadable_versions()
            if version not in unreadable:
                molecule = self._read_molecule(info)
                if molecule is not None:
                    self._ledger.locate(info.key, info.etag, molecule)
                    located[version] = molecule
        return located

    def _read_molecule(self, info: ObjectInfo) -> str | None:
        if info.size > self._limits.max_object_bytes:
            self.quarantine(info, None, too_large(info, self._limits), copy=False)
            return None
        try:
            stored = self._store.get(info.key)
            if stored.etag != info.etag:
                return None
            return decode(stored.data)[0].molecule
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
        standing = {(info.key, info.etag) for info in self._store.list_objects(EXPERIMENTS)}
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

    def _molecule_folders(self) -> Iterator[tuple[str, str]]:
        for topic in self._store.folders(EXPERIMENTS):
            for folder in self._store.folders(topic):
                name = folder.removeprefix(topic).rstrip("/")
                if name.startswith(_MOLECULE_FOLDER):
                    yield folder, name.removeprefix(_MOLECULE_FOLDER)

    def _unnamed(self) -> Iterator[ObjectInfo]:
        yield from self._store.list_objects(EXPERIMENTS, recursive=False)
        for topic in self._store.folders(EXPERIMENTS):
            yield from self._store.list_objects(topic, recursive=False)
            for folder in self._store.folders(topic):
                if not folder.removeprefix(topic).startswith(_MOLECULE_FOLDER):
                    yield from self._store.list_objects(folder)


def too_large(info: ObjectInfo, limits: Limits) -> str:
    """The error of an object over the size limit."""
    return (
        f"the object has {info.size} bytes, more than the limit of {limits.max_object_bytes}; it was not read; "
        "raise QPIPE_MAX_OBJECT_BYTES if it is a real record"
    )
