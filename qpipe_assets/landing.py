"""How a finished run lands: at once in the raw object store, or by way of the outbox, which keeps it until it has."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from qpipe_assets.tables.decode import DecodeError, records_of
from qpipe_resources.delivery import Delivery, StoreDelivery
from qpipe_resources.object_layout import EXPERIMENTS, MOLECULE_FOLDER
from qpipe_resources.object_store import FolderObjectStore, ObjectMissingError, ObjectStore
from qpipe_resources.outbox import Attempt, NoRecordError, Outbox, OutboxFile, open_outbox, reason

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
        outbox: What keeps records until they have landed; the installation's when it is not given.
        replay: The command that delivers what was kept, for messages.
    """

    def __init__(
        self,
        store: ObjectStore,
        settings: Settings,
        molecule: str,
        delivery: Delivery | None = None,
        *,
        ledger: Ledger | None = None,
        outbox: Outbox | None = None,
        replay: str = "qpipe replay",
    ) -> None:
        self._store = store
        self._settings = settings
        self._molecule = molecule
        self._delivery = delivery or StoreDelivery(store, settings.topic)
        self._ledger = ledger
        self._outbox = outbox or open_outbox(settings)
        self._replay = replay

    @cached_property
    def objects(self) -> dict[str, str]:
        """Keys of the molecule's directly landed objects by the experiment in their name."""
        folder = f"{EXPERIMENTS}{self._settings.topic}/{MOLECULE_FOLDER}{self._molecule}/"
        keys = (info.key for info in self._store.list_objects(folder))
        return {key.rsplit("/", 1)[-1].removesuffix(".json"): key for key in keys}

    def landed(self, experiments: Collection[str]) -> set[str]:
        """Those of the experiments that need not be computed: landed, claimed by the ledger, or on their way."""
        asked = set(experiments)
        waiting = [file for file in self._outbox.undelivered(self._molecule) if file.experiment in asked]
        on_their_way = {file.experiment for file in waiting if self._in_file(file) is not None}
        on_their_way |= {file.experiment for file in self._outbox.sent(self._molecule)}
        claimed = self._ledger.claimed(asked) if self._ledger is not None else set()
        return asked & (self.objects.keys() | on_their_way | claimed)

    def find(self, experiment: str) -> VQEDecoratedResult | None:
        """The record of an experiment, in the store, on its way there, or in the object that the ledger names.

        Raises:
            DecodeError: the object is no record.
        """
        if experiment in self.objects:
            return self._in_object(self.objects[experiment], experiment)
        file = self._outbox.find(self._molecule, experiment)
        if file is not None and (record := self._in_file(file)) is not None:
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

        Where the delivery is not durable by itself at once, the outbox has the record first.

        Raises:
            UndeliveredError: the record did not leave.
        """
        with ExitStack() as alone:
            kept = None if self._durable_at_once else self._keep(record, alone)
            try:
                where = self._delivery.deliver(self._molecule, record)
            except Exception as error:  # whatever the reason is, what was computed must not be lost
                raise self._undelivered(record, error, kept or self._keep(record, alone)) from error
            if isinstance(kept, OutboxFile):
                self._settle(kept)
            return where

    def deliver_waiting(self, experiment: str | None = None) -> list[Attempt]:
        """Deliver what could not be delivered before, one experiment or all; what still cannot be stays."""
        waiting = self._outbox.undelivered(self._molecule)
        asked = [file for file in waiting if experiment in (None, file.experiment)]
        return list(self._outbox.deliver_all(asked, self._delivery))

    def forget_arrived(self) -> None:
        """Remove from the outbox what was sent and is in the tables now; tell of what should be there by now."""
        sent = {file.experiment for file in self._outbox.sent(self._molecule)}
        if self._ledger is None or not sent:
            return
        self._outbox.forget(self._ledger.claimed(sent))
        late = [file for file in self._outbox.older(self._settings.sent_days) if file.molecule == self._molecule]
        if late:
            _log.warning(
                "%d records of %s were sent more than %d days ago and are in no table (%s, ...): look at the sink and "
                "at dead-letters/, or send them again with `%s --sent`",
                len(late),
                self._molecule,
                self._settings.sent_days,
                late[0].experiment[:12],
                self._replay,
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
            _log.warning("the outbox cannot keep %s: %s", path, error)
            return error

    def _settle(self, file: OutboxFile) -> None:
        try:
            self._outbox.settle(file, immediate=self._delivery.immediate)
        except OSError as error:
            _log.warning("%s was delivered and cannot be moved (%s); it will be delivered once more", file.path, error)

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
            _log.warning("%s", error)
            return None

    def _in_object(self, key: str, experiment: str) -> VQEDecoratedResult | None:
        try:
            return records_of(self._store.get(key).data).get(experiment)
        except ObjectMissingError:
            return None
        except DecodeError as error:
            raise DecodeError(f"{key} is no record ({error})") from error
