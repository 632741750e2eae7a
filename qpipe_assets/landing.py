"""How a finished run lands: at once in the object store, or in a spool on this machine when the store refuses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe_assets.tables.discovery import EXPERIMENTS, new_object_key
from qpipe_resources.object_store import FolderObjectStore, ObjectStore

if TYPE_CHECKING:
    from qpipe_resources.settings import Settings
    from simulation.record import VQEDecoratedResult


class UndeliveredError(RuntimeError):
    """The store refused a record; it lies in the spool and the molecule's next materialization delivers it."""


@dataclass(frozen=True)
class Landing:
    """Delivery of one molecule's records."""

    store: ObjectStore
    settings: Settings
    molecule: str

    @property
    def _spool(self) -> FolderObjectStore:
        # A mirror of the store's keys, so that delivering is copying.
        return FolderObjectStore(self.settings.home / "undelivered")

    def objects(self) -> dict[str, str]:
        """Keys of the molecule's directly landed objects by the experiment in their name."""
        folder = f"{EXPERIMENTS}{self.settings.topic}/molecule={self.molecule}/"
        keys = (info.key for info in self.store.list_objects(folder))
        return {key.rsplit("/", 1)[-1].removesuffix(".json"): key for key in keys}

    def read(self, key: str | None) -> VQEDecoratedResult | None:
        """The record in an object of the store; None for no key."""
        from simulation.record import VQEDecoratedResult

        return None if key is None else VQEDecoratedResult.model_validate_json(self.store.get(key).data)

    def land(self, record: VQEDecoratedResult) -> str:
        """Put a record into the store; returns its key.

        Raises:
            UndeliveredError: the store refused it, the spool has it.
        """
        assert record.experiment_id is not None and record.started_at is not None
        topic = self.settings.topic
        key = new_object_key(topic, self.molecule, record.started_at, record.experiment_id)
        data = record.to_json()
        try:
            self.store.put(key, data)
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
                self.store.put(info.key, self._spool.get(info.key).data)
                self._spool.delete(info.key)
                delivered.append(info.key)
        return delivered
