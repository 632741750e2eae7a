"""Records that were computed here and are not in the tables yet, one durable file an experiment.

    <way>/undelivered/<molecule>/<experiment>.json    to be delivered
    <way>/sent/<molecule>/<experiment>.json           delivered on a way that takes time, until the ledger has it
    <way>/locks/                                      who works on an experiment's file; empty files that stay

A way is where records go, local, s3 or kafka: what was meant for one is never delivered to, or asked for at, another.

Several processes may work on one outbox, and each may be killed anywhere: a file is written whole or not at all, it
leaves `undelivered` only after the delivery, and one process at a time works on an experiment's. A kill between the
delivery and the move delivers again, which the ledger's primary key makes harmless.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe_resources.delivery import DeliveryError
from qpipe_resources.delivery_breaker import Breaker
from qpipe_resources.object_store import FolderObjectStore, make_durable_folder, sync_folder
from simulation.molecules import MoleculeError, partition_key_of

if TYPE_CHECKING:
    from qpipe_resources.delivery import Delivery
    from qpipe_resources.settings import Settings
    from simulation.record import VQEDecoratedResult

UNDELIVERED = "undelivered/"
SENT = "sent/"
SECONDS_A_DAY = 86_400
WAYS = ("local", "s3", "kafka")

_EXPERIMENT = re.compile(r"[0-9a-f]{64}")
_MOLECULE = re.compile(r"(?!\.+$)(?!.*\.\.)[A-Za-z0-9_.+-]{1,64}")


class NoRecordError(ValueError):
    """A file in the outbox that is no record of its name; it is left alone. Says what it is instead."""


@dataclass(frozen=True)
class OutboxFile:
    """A file of the outbox: where it lies, and whose record its name says that it holds."""

    path: Path
    molecule: str
    experiment: str


@dataclass(frozen=True)
class Attempt:
    """What became of a file that was to be delivered: `where` the record is now, or the `error`."""

    file: OutboxFile
    where: str | None = None
    error: str | None = None
    waits: bool = False
    """Whether a record is left to be delivered."""


def way_of(settings: Settings) -> str:
    """The way by which QPIPE_ENV lets results leave."""
    return "kafka" if settings.env == "services" else settings.env


def open_outbox(settings: Settings, way: str | None = None) -> Outbox:
    """The outbox of a way; of QPIPE_ENV's when none is given."""
    way = way or way_of(settings)
    return Outbox(settings.outbox / way, earlier=settings.home / "undelivered" if way == "local" else None)


def replay_command(settings: Settings, way: str) -> str:
    """What a person of this environment types to deliver what waits for a way."""
    if way == way_of(settings):
        return "qpipe replay"
    return "qpipe replay --kafka" if way == "kafka" else f"QPIPE_ENV={way} qpipe replay"


class Outbox:
    """The outbox in a folder.

    Args:
        root: The folder; made when something is written.
        earlier: Where earlier versions kept what the store had refused, as a mirror of its keys.
    """

    def __init__(self, root: Path, earlier: Path | None = None) -> None:
        self.root = root
        self._earlier = earlier
        self._files = FolderObjectStore(root)

    def path(self, molecule: str, experiment: str) -> Path:
        """Where a record waits for its delivery."""
        return self.root / UNDELIVERED / molecule / f"{experiment}.json"

    def keep(self, molecule: str, record: VQEDecoratedResult) -> OutboxFile:
        """Write a record durably; it replaces an earlier one of the same experiment.

        Raises:
            OSError: the disk does not take it.
            NoRecordError: molecule or experiment cannot be names of files.
        """
        experiment = record.experiment_id or ""
        file = OutboxFile(self.path(molecule, experiment), molecule, experiment)
        _check_names(file)
        self._files.put(file.path.relative_to(self.root).as_posix(), record.to_json())
        return file

    def find(self, molecule: str, experiment: str) -> list[OutboxFile]:
        """The files of an experiment, those to be delivered first; whether they can be read is not asked."""
        places = (self.path(molecule, experiment), self._sent_path(molecule, experiment))
        found = [OutboxFile(path, molecule, experiment) for path in places if path.exists()]
        found += [file for file in self._listed_earlier() if (file.molecule, file.experiment) == (molecule, experiment)]
        return found

    def undelivered(self, molecule: str | None = None) -> list[OutboxFile]:
        """What waits for its delivery, of one molecule or of all, in order; whether it can be read is not asked."""
        found = [*self._listed(UNDELIVERED), *self._listed_earlier()]
        return [file for file in found if molecule in (None, file.molecule)]

    def sent(self, molecule: str | None = None) -> list[OutboxFile]:
        """What was delivered and has not been forgotten, of one molecule or of all, in order."""
        return [file for file in self._listed(SENT) if molecule in (None, file.molecule)]

    def has_sent(self, molecule: str, experiment: str) -> bool:
        """Whether a record was delivered, has not been forgotten, and can be read."""
        try:
            return self.read(OutboxFile(self._sent_path(molecule, experiment), molecule, experiment)) is not None
        except NoRecordError:
            return False

    def read(self, file: OutboxFile) -> VQEDecoratedResult | None:
        """The record in a file; None where the file has gone.

        Raises:
            NoRecordError: it holds no record, or another's.
        """
        _check_names(file)
        try:
            data = file.path.read_bytes()
        except FileNotFoundError:
            return None
        record, molecule = _record(data, file.path)
        if (record.experiment_id, molecule) != (file.experiment, file.molecule):
            raise NoRecordError(
                f"{file.path} holds experiment {record.experiment_id} of {molecule}, not the one of its name; "
                "it is left alone"
            )
        return record

    @contextmanager
    def alone(self, experiment: str) -> Iterator[None]:
        """Wait until nobody else works on the experiment's files; a killed process gives them back.

        Raises:
            OSError: the disk takes no lock file.
        """
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        # Shared by experiments, so that the files need never be removed: removing a lock file is a race.
        with open(folder / experiment[:2], "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def deliver(self, file: OutboxFile, delivery: Delivery) -> str | None:
        """Deliver a file that waits, or one that was sent before, and put it where it belongs then.

        Returns:
            Where the record is now; None when another process has dealt with the file meanwhile.

        Raises:
            NoRecordError: the file is no record; it stays.
            DeliveryError: the record did not leave; the file stays.
            OSError: the file cannot be read or moved; delivered or not, it stays.
        """
        _check_names(file)
        with self.alone(file.experiment):
            record = self.read(file)
            if record is None:
                return None
            where = delivery.deliver(file.molecule, record)
            self.settle(file, immediate=delivery.immediate)
            return where

    def deliver_all(
        self, files: Iterable[OutboxFile], delivery: Delivery, breaker: Breaker | None = None
    ) -> Iterator[Attempt]:
        """Deliver files one by one, whatever becomes of the others; while the breaker is open, none is tried."""
        breaker = breaker or Breaker()
        for file in files:
            if breaker.open:
                yield Attempt(file, error="not tried, after the failures before", waits=True)
                continue
            try:
                where = self.deliver(file, delivery)
            except NoRecordError as error:
                yield Attempt(file, error=str(error))
            except Exception as error:  # whatever ails the way, the record stays, and the others have their turn
                breaker.failed(error)
                yield Attempt(file, error=reason(error), waits=True)
            else:
                if where is not None:
                    breaker.succeeded()
                yield Attempt(file, where or "delivered by another process")

    def settle(self, file: OutboxFile, *, immediate: bool) -> None:
        """A file's record was delivered: to the store at once, or on a way that takes time."""
        if immediate:
            file.path.unlink(missing_ok=True)
        else:
            target = self._sent_path(file.molecule, file.experiment)
            make_durable_folder(target.parent)
            os.utime(file.path)
            os.replace(file.path, target)
            sync_folder(target.parent)
        sync_folder(file.path.parent)

    def forget(self, experiments: Iterable[str]) -> int:
        """Remove what was sent of these experiments, because it has arrived; returns how many files."""
        arrived = set(experiments)
        return self._remove(file for file in self.sent() if file.experiment in arrived)

    def expire(self, days: float) -> int:
        """Remove what was sent longer ago; returns how many files."""
        return self._remove(self.older(days))

    def older(self, days: float) -> list[OutboxFile]:
        """What was sent longer ago."""
        limit = time.time() - days * SECONDS_A_DAY
        return [file for file in self.sent() if (at := _modified(file.path)) is not None and at < limit]

    def _sent_path(self, molecule: str, experiment: str) -> Path:
        return self.root / SENT / molecule / f"{experiment}.json"

    def _remove(self, files: Iterable[OutboxFile]) -> int:
        count = 0
        for file in files:
            with self.alone(file.experiment):
                file.path.unlink(missing_ok=True)
            count += 1
        return count

    def _listed(self, folder: str) -> Iterator[OutboxFile]:
        for info in self._files.list_objects(folder):
            path = self.root / info.key
            yield OutboxFile(path, path.parent.name, path.stem if path.suffix == ".json" else path.name)

    def _listed_earlier(self) -> Iterator[OutboxFile]:
        if self._earlier is None:
            return
        for info in FolderObjectStore(self._earlier).list_objects(""):
            path = self._earlier / info.key
            molecule = next((part.removeprefix("molecule=") for part in path.parts if part.startswith("molecule=")), "")
            yield OutboxFile(path, molecule, path.stem if path.suffix == ".json" else path.name)


def reason(error: Exception) -> str:
    """Why a record did not leave, in words for a person."""
    return str(error) if isinstance(error, DeliveryError) else f"{type(error).__name__}: {error}"


def _check_names(file: OutboxFile) -> None:
    if not _MOLECULE.fullmatch(file.molecule) or not _EXPERIMENT.fullmatch(file.experiment):
        raise NoRecordError(f"{file.path} is not <molecule>/<experiment>.json; it is left alone")


def _record(data: bytes, path: Path) -> tuple[VQEDecoratedResult, str]:
    """The record and its molecule's partition key."""
    from pydantic import ValidationError

    from simulation.record import VQEDecoratedResult
    from simulation.validation import reasons

    try:
        record = VQEDecoratedResult.model_validate_json(data)
        molecule = record.molecule.molecule_data
        return record, partition_key_of(molecule.symbols, molecule.charge, molecule.multiplicity)
    except (ValidationError, MoleculeError) as error:
        why = reasons(error) if isinstance(error, ValidationError) else str(error)
        raise NoRecordError(f"{path} is no record ({why[:300]}); it is left alone") from error


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None
