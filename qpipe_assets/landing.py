"""How a finished run lands: at once in the object store, or in a spool on this machine when the store refuses it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from qpipe_assets.tables.discovery import EXPERIMENTS, new_object_key
from qpipe_resources.object_store import FolderObjectStore

if TYPE_CHECKING:
    from qpipe_assets.tables.installation import Installation
    from simulation.record import VQEDecoratedResult


class UndeliveredError(RuntimeError):
    """The store refused a record; it lies in the spool and the molecule's next materialization delivers it."""


@dataclass(frozen=True)
class Landing:
    """Delivery of one molecule's records."""

    installation: Installation
    molecule: str

    @property
    def _spool(self) -> FolderObjectStore:
        # A mirror of the store's keys, so that delivering is copying.
        return FolderObjectStore(self.installation.settings.home / "undelivered")

    def landed(self, experiment_ids: list[str]) -> set[str]:
        """Those of the experiments that have an object or are in the tables."""
        names = {PurePosixPath(info.key).stem for info in self.installation.discovery.of_molecule(self.molecule)}
        return (names & set(experiment_ids)) | self.installation.ledger.claimed(experiment_ids)

    def land(self, record: VQEDecoratedResult) -> str:
        """Put a record into the store; returns its key.

        Raises:
            UndeliveredError: the store refused it, the spool has it.
        """
        assert record.experiment_id is not None and record.started_at is not None
        topic = self.installation.settings.topic
        key = new_object_key(topic, self.molecule, record.started_at, record.experiment_id)
        data = record.to_json()
        try:
            self.installation.store.put(key, data)
        except Exception as error:  # whatever the reason is, what was computed must not be lost
            self._spool.put(key, data)
            raise UndeliveredError(
                f"the object store refused {key} ({type(error).__name__}: {error}); the record is kept in "
                f"{self._spool.root / key} and will be delivered when {self.molecule} is materialized again"
            ) from error
        return key

    def deliver_spooled(self) -> list[str]:
        """Deliver what the store refused before; returns the keys.

        Raises:
            Exception: what the store raises when it still refuses; the spool keeps the record.
        """
        delivered = []
        for topic in self._spool.folders(EXPERIMENTS):
            for info in list(self._spool.list_objects(f"{topic}molecule={self.molecule}/")):
                self.installation.store.put(info.key, self._spool.get(info.key).data)
                self._spool.delete(info.key)
                delivered.append(info.key)
        return delivered
