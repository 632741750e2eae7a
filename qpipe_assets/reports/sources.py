"""Where the records of a report come from: the installation's landed objects, or files of records."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe_assets.reports.labels import experiment_of, molecule_of
from qpipe_assets.tables.decode import DecodeError, records_of
from qpipe_resources.object_layout import AVRO, JSON
from qpipe_resources.object_store import ObjectChangedError, ObjectInfo, ObjectMissingError
from simulation.molecules import MoleculeError

if TYPE_CHECKING:
    from qpipe_assets.tables.installation import Installation
    from simulation.record import VQEDecoratedResult

Log = Callable[[str], None]

_SUFFIXES = (JSON, AVRO)
_IDENTITY = re.compile(r"[0-9a-f]{4,64}")
_WHOLE_IDENTITY = re.compile(r"[0-9a-f]{64}")


class UnknownSourceError(LookupError):
    """Nothing to report on goes by this name; the message says what was looked for."""


@dataclass(frozen=True)
class MoleculeRecords:
    """The records of one molecule, read anew and one at a time whenever they are asked for."""

    molecule: str
    read: Callable[[], Iterator[VQEDecoratedResult]]


@dataclass(frozen=True)
class LandedRuns:
    """The runs that have landed in an installation, ingested or not; `log` gets a line for each unreadable object."""

    installation: Installation
    log: Log

    def molecule(self, molecule: str) -> MoleculeRecords:
        """All landed runs of a molecule.

        Raises:
            UnknownSourceError: there is none.
        """
        objects = self.installation.discovery.by_molecule()
        if molecule not in objects:
            raise UnknownSourceError(
                f"no run of {molecule!r} has landed; expected one of {', '.join(sorted(objects)) or '(nothing landed)'}"
            )
        return MoleculeRecords(molecule, lambda: self._of_molecule(molecule, objects[molecule]))

    def experiment(self, prefix: str) -> VQEDecoratedResult:
        """The run whose identity starts with `prefix`.

        Raises:
            UnknownSourceError: no run or several runs do.
        """
        from qpipe_assets.reading import LakehouseReader, UnknownExperimentError

        ingested = self.installation.ledger.experiment_ids(prefix)
        named: dict[str, ObjectInfo] = {}
        for objects in self.installation.discovery.by_molecule().values():
            named |= {_stem(info.key): info for info in objects if _WHOLE_IDENTITY.fullmatch(_stem(info.key))}
        matching = sorted({*ingested, *(identity for identity in named if identity.startswith(prefix))})
        if len(matching) != 1:
            shown = ", ".join(identity[:16] for identity in matching[:10])
            raise UnknownSourceError(
                f"{prefix!r} is not unique, give more characters of one of: {shown}"
                if matching
                else f"no landed experiment starts with {prefix!r}"
            )
        if matching[0] in named:
            for record in self._read(named[matching[0]]):
                if experiment_of(record) == matching[0]:
                    return record
        try:
            return LakehouseReader(self.installation).record(matching[0])
        except UnknownExperimentError as error:
            raise UnknownSourceError(str(error)) from error

    def _of_molecule(self, molecule: str, objects: list[ObjectInfo]) -> Iterator[VQEDecoratedResult]:
        for info in objects:
            for record in self._read(info):
                if molecule_of(record) == molecule:
                    yield record
                else:
                    self.log(f"left out {info.key}: it holds a record of {molecule_of(record)}")

    def _read(self, info: ObjectInfo) -> list[VQEDecoratedResult]:
        try:
            return list(records_of(self.installation.store.get(info.key).data).values())
        except (DecodeError, ObjectChangedError, ObjectMissingError) as error:
            self.log(f"left out {info.key}: {error}")
            return []


def is_path(target: str) -> bool:
    """Whether a target can only be a file or a folder."""
    return "/" in target or target.endswith(_SUFFIXES)


def is_identity(target: str) -> bool:
    """Whether a target can be the beginning of an experiment's identity."""
    return _IDENTITY.fullmatch(target) is not None


def records_in_file(path: Path) -> list[VQEDecoratedResult]:
    """The records of one file, JSON or Avro.

    Raises:
        UnknownSourceError: there is no such file, or it holds no record.
    """
    if not path.is_file():
        raise UnknownSourceError(f"there is no file or folder {str(path)!r}")
    try:
        return list(records_of(path.read_bytes()).values())
    except DecodeError as error:
        raise UnknownSourceError(f"{path} is no record: {error}") from error


def records_in_folder(folder: Path, log: Log) -> list[MoleculeRecords]:
    """The records in a folder and the folders below it, by molecule; files that hold no record are left out.

    Raises:
        UnknownSourceError: there is no record.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(path for suffix in _SUFFIXES for path in folder.rglob(f"*{suffix}")):
        try:
            records = records_in_file(path)
            molecules = {molecule_of(record) for record in records}
        except (UnknownSourceError, MoleculeError) as error:
            log(f"left out {error}")
            continue
        for molecule in sorted(molecules):
            found.setdefault(molecule, []).append(path)
    if not found:
        raise UnknownSourceError(f"there is no record in the folder {str(folder)!r}")
    return [MoleculeRecords(molecule, _reader(molecule, paths)) for molecule, paths in sorted(found.items())]


def _reader(molecule: str, paths: list[Path]) -> Callable[[], Iterator[VQEDecoratedResult]]:
    return lambda: (r for path in paths for r in records_in_file(path) if molecule_of(r) == molecule)


def _stem(key: str) -> str:
    return key.rsplit("/", 1)[-1].rsplit(".", 1)[0]
