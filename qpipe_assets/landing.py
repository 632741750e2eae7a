"""How a finished run lands: at once in the raw object store, or by way of the outbox, which keeps it until it has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from qpipe_assets.tables.decode import DecodeError, records_of
from qpipe_resources.delivery import Delivery, DeliveryError, StoreDelivery
from qpipe_resources.delivery_breaker import Breaker
from qpipe_resources.object_layout import JSON, molecule_folder
from qpipe_resources.object_store import FolderObjectStore, ObjectMissingError, ObjectStore
from qpipe_resources.outbox import Attempt, NoRecordError, OutboxFile, open_outbox, reason, replay_command, way_of

if TYPE_CHECKING:
    from qpipe_assets.tables.ledger import Ledger
    from qpipe_resources.settings import Settings
    from simulation.record import VQEDecoratedResult

_log = logging.getLogger(__name__)


class UndeliveredError(RuntimeError):
    """A record did not leave: the message names the service, the reason and the remedy.

    `kept` says whether the outbox has the record; where it has not, the run's checkpoint must stay.
    """

    def __init__(self, message: str, *, kept: bool) -> None:
        super().__init__(message)
        self.kept = kept


class Landing:
    """The way of one molecule's records, and what is known of those that went it.

    Args:
        store: The raw object store.
        settings: Of the installation.
        molecule: Partition key.
        delivery: How records leave; straight into the store when it is not given.
        ledger: Knows what has arrived under other names than the experiment's; nobody does when it is not given.
        way: Whose outbox keeps records until they have landed (outbox.py); QPIPE_ENV's when it is not given.
        breaker: What is known of the service behind the delivery, where several molecules' records go the same way.
        log: Takes warnings.
    """

    def __init__(
        self,
        store: ObjectStore,
        settings: Settings,
        molecule: str,
        delivery: Delivery | None = None,
        *,
        ledger: Ledger | None = None,
        way: str | None = None,
        breaker: Breaker | None = None,
        log: Callable[[str], None] = _log.warning,
    ) -> None:
        self._store = store
        self._settings = settings
        self._molecule = molecule
        self._delivery = delivery or StoreDelivery(store, settings.topic)
        self._ledger = ledger
        self._outbox = open_outbox(settings, way)
        self._replay = replay_command(settings, way or way_of(settings))
        self._breaker = breaker or Breaker()
        self._warn = log

    @cached_property
    def objects(self) -> dict[str, str]:
        """Keys of the molecule's directly landed objects by the experiment in their name."""
        folder = molecule_folder(self._settings.topic, self._molecule)
        keys = (info.key for info in self._store.list_objects(folder))
        return {key.rsplit("/", 1)[-1].removesuffix(JSON): key for key in keys}

    def landed(self, experiments: Collection[str]) -> set[str]:
        """Those of the experiments that need not be computed: landed, claimed by the ledger, or on their way."""
        asked = set(experiments)
        claimed = self._ledger.claimed(asked) if self._ledger is not None else set()
        missing = asked - self.objects.keys() - claimed
        for file in [*self._outbox.undelivered(self._molecule), *self._outbox.sent(self._molecule)]:
            if file.experiment in missing and self._in_file(file) is not None:
                missing.remove(file.experiment)
        return asked - missing

    def find(self, experiment: str) -> VQEDecoratedResult | None:
        """The record of an experiment, in the store, on its way there, or in the object that the ledger names.

        Raises:
            DecodeError: the object is no record.
        """
        if experiment in self.objects:
            return self._in_object(self.objects[experiment], experiment)
        for file in self._outbox.find(self._molecule, experiment):
            if (record := self._in_file(file)) is not None:
                return record
        claim = self._ledger.experiment(experiment) if self._ledger is not None else None
        return self._in_object(claim["object_key"], experiment) if claim is not None else None

    def on_their_way(self) -> Iterator[VQEDecoratedResult]:
        """The records in the outbox, one at a time."""
        for file in [*self._outbox.undelivered(self._molecule), *self._outbox.sent(self._molecule)]:
            if (record := self._in_file(file)) is not None:
                yield record

    def land(self, record: VQEDecoratedResult) -> str:
        """Let a record go; returns where it is now, in words for a log line.

        Where the delivery is not durable by itself at once, the outbox has the record first. A service that has failed
        several times in a row is asked once in a while, and the other records stay in the outbox.

        Raises:
            UndeliveredError: the record did not leave.
        """
        with ExitStack() as alone:
            left_alone = self._breaker.open
            kept = None if self._durable_at_once and not left_alone else self._keep(record, alone)
            # Where not even the outbox has the record, nothing must be left untried.
            if left_alone and isinstance(kept, OutboxFile) and (last := self._breaker.error) is not None:
                raise self._undelivered(record, DeliveryError(f"not tried, after failures ({reason(last)})"), kept)
            try:
                where = self._delivery.deliver(self._molecule, record)
            except Exception as error:  # whatever the reason is, what was computed must not be lost
                self._breaker.failed(error)
                raise self._undelivered(record, error, kept or self._keep(record, alone)) from error
            self._breaker.succeeded()
            if isinstance(kept, OutboxFile):
                self._settle(kept)
            return where

    def deliver_waiting(self, experiment: str | None = None) -> list[Attempt]:
        """Deliver what could not be delivered before, one experiment or all; what still cannot be stays.

        For all, the service is asked at least once, whatever it did before.
        """
        waiting = self._outbox.undelivered(self._molecule)
        if experiment is None:
            self._breaker.try_once()
        asked = [file for file in waiting if experiment in (None, file.experiment)]
        return list(self._outbox.deliver_all(asked, self._delivery, self._breaker))

    def forget_arrived(self) -> None:
        """Remove from the outbox what was sent and is in the tables now; tell of what should be there by now."""
        sent = {file.experiment for file in self._outbox.sent(self._molecule)}
        if self._ledger is None or not sent:
            return
        arrived = self._ledger.claimed(sent)
        try:
            self._outbox.forget(arrived)
        except OSError as error:
            # They are in the tables, and another time will do.
            self._warn(f"what has arrived cannot be removed from {self._outbox.root}: {error}")
        days = self._settings.sent_days
        late = [file.experiment for file in self._outbox.older(days) if file.molecule == self._molecule]
        if late := [experiment for experiment in late if experiment not in arrived]:
            self._warn(
                f"{len(late)} records of {self._molecule} were sent more than {days} days ago and are in no table "
                f"({late[0][:12]}, ...): look at the sink and at dead-letters/, or send them again with "
                f"`{self._replay} --sent`"
            )

    @property
    def _durable_at_once(self) -> bool:
        """Whether a delivery is nothing but a durable write on this machine, as good as the outbox's."""
        return self._delivery.immediate and isinstance(self._store, FolderObjectStore)

    def _keep(self, record: VQEDecoratedResult, alone: ExitStack) -> OutboxFile | OSError:
        try:
            alone.enter_context(self._outbox.alone(str(record.experiment_id)))
            return self._outbox.keep(self._molecule, record)
        except OSError as error:
            # A full disk here is no reason not to deliver.
            path = self._outbox.path(self._molecule, str(record.experiment_id))
            self._warn(f"the outbox cannot keep {path}: {error}")
            return error

    def _settle(self, file: OutboxFile) -> None:
        try:
            self._outbox.settle(file, immediate=self._delivery.immediate)
        except OSError as error:
            self._warn(f"{file.path} was delivered and cannot be moved ({error}); it will be delivered once more")

    def _undelivered(
        self, record: VQEDecoratedResult, error: Exception, kept: OutboxFile | OSError
    ) -> UndeliveredError:
        if isinstance(kept, OutboxFile):
            remedy = f"the record is kept in {kept.path}: `{self._replay}` delivers it, and whoever asks for it again"
            return UndeliveredError(f"{reason(error)}; {remedy}", kept=True)
        path = self._outbox.path(self._molecule, str(record.experiment_id))
        return UndeliveredError(
            f"{reason(error)}; and the outbox cannot keep it in {path} ({kept}): the run's checkpoint stays, make room "
            "and ask for the run again",
            kept=False,
        )

    def _in_file(self, file: OutboxFile) -> VQEDecoratedResult | None:
        try:
            return self._outbox.read(file)
        except NoRecordError as error:
            self._warn(str(error))
            return None

    def _in_object(self, key: str, experiment: str) -> VQEDecoratedResult | None:
        try:
            return records_of(self._store.get(key).data).get(experiment)
        except ObjectMissingError:
            return None
        except DecodeError as error:
            raise DecodeError(f"{key} is no record ({error})") from error
