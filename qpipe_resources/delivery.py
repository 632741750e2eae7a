"""How a finished record leaves the machine that computed it: a protocol, and its direct form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qpipe_resources.errors import ServiceError
from qpipe_resources.object_layout import result_key
from qpipe_resources.object_store import ObjectStore

if TYPE_CHECKING:
    from simulation.record import VQEDecoratedResult


class DeliveryError(ServiceError):
    """A record did not leave; the message names the service, the reason and the remedy, and holds no secret."""


class Delivery(Protocol):
    """A way out. `deliver` returns when the other side keeps the record durably, never before."""

    @property
    def immediate(self) -> bool:
        """Whether a delivered record is an object of the raw store at once, named after its experiment."""

    def deliver(self, molecule: str, record: VQEDecoratedResult) -> str:
        """Deliver one record of the molecule (partition key).

        Returns:
            Where the record is now, in words for a log line.

        Raises:
            DeliveryError: the record did not leave, or nobody confirmed that it did.
        """

    def close(self) -> None:
        """Give back connections."""


class StoreDelivery:
    """Straight into the raw object store, one object for each experiment."""

    immediate = True

    def __init__(self, store: ObjectStore, topic: str) -> None:
        self._store = store
        self._topic = topic

    def deliver(self, molecule: str, record: VQEDecoratedResult) -> str:
        """See Delivery."""
        assert record.experiment_id is not None and record.started_at is not None
        key = result_key(self._topic, molecule, record.started_at, record.experiment_id)
        try:
            self._store.put(key, record.to_json())
        except Exception as error:  # whatever ails the store, the caller keeps the record
            raise DeliveryError(f"the object store refused {key} ({type(error).__name__}: {error})") from error
        return key

    def close(self) -> None:
        """See Delivery: there is nothing to give back."""
