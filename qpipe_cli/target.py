"""Where the records of a command go, and what is there already."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe_cli.output import make_folder
from qpipe_resources.delivery_breaker import Breaker
from qpipe_resources.delivery_opening import open_delivery
from qpipe_resources.object_store import FolderObjectStore
from qpipe_resources.opening import open_store
from qpipe_resources.outbox import open_outbox, way_of
from qpipe_resources.settings import load_settings
from simulation.molecules import Molecule, partition_key
from simulation.record import VQEDecoratedResult
from simulation.validation import reasons

if TYPE_CHECKING:
    from qpipe_assets.landing import Landing
    from qpipe_assets.tables.ledger import Ledger
    from qpipe_resources.delivery import Delivery
    from qpipe_resources.kafka.settings import KafkaSettings
    from qpipe_resources.settings import Settings

_UNDEFINED_TABLE = "42P01"
_REMEDY = "move it away, or use --force"

_log = logging.getLogger(__name__)


def already_computed(name: str, record: VQEDecoratedResult) -> str:
    """What is told of a run that is not computed again, because its record has landed."""
    facts = [f"engine {record.engine or record.vqe_result.initial_data.backend}"]
    if record.device:
        facts.append(record.device)
    # Samples scatter: there is an exact energy of their circuit, but no certificate.
    if record.vqe_result.initial_data.exact_estimator:
        facts.append("not certified" if record.certified_energy is None else "certified")
    return f"{name}: already computed ({', '.join(facts)}); --force computes it again"


class Way:
    """How records leave: as the environment says, or through Kafka where a command was told so.

    Args:
        settings: The installation's.
        kafka: How the command was told to reach Kafka, if it was.
    """

    def __init__(self, settings: Settings, kafka: KafkaSettings | None = None) -> None:
        self.name = way_of(settings) if kafka is None else "kafka"
        self.beside = self.name != way_of(settings)
        """Whether records go elsewhere than those of this installation, which then tells nothing of what is there."""
        self._settings = settings
        self._store = open_store(settings)
        if kafka is None:
            self.delivery: Delivery = open_delivery(settings, self._store)
        else:
            from qpipe_resources.kafka.delivery import KafkaDelivery

            self.delivery = KafkaDelivery(kafka)
            if not self.beside:
                self._settings = settings.model_copy(update={"topic": kafka.topic})
        self.outbox = open_outbox(settings, self.name)
        self._breaker = Breaker()

    def landing(self, molecule: str, ledger: Ledger | None = None) -> Landing:
        """The way of one molecule's records; only who asks what has arrived needs the ledger."""
        from qpipe_assets.landing import Landing

        return Landing(
            self._store,
            self._settings,
            molecule,
            self.delivery,
            ledger=ledger,
            way=self.name,
            breaker=self._breaker,
        )

    @cached_property
    def ledger(self) -> Ledger | None:
        """What tells whether a record that was sent has arrived; None where nobody knows, or records land at once.

        Raises:
            CatalogUnavailableError: its database does not answer.
            CatalogRefusedError: it refuses us.
        """
        if self.beside or self.delivery.immediate:
            return None
        from sqlalchemy.exc import ProgrammingError

        from qpipe_assets.tables import schemas
        from qpipe_assets.tables.ledger import Ledger
        from qpipe_resources.opening import open_lakehouse

        ledger = Ledger(open_lakehouse(self._settings, schemas.NAMESPACE).engine)
        try:
            ledger.claimed([])
        except ProgrammingError as error:
            if getattr(error.orig, "pgcode", None) != _UNDEFINED_TABLE:
                raise RuntimeError(f"the ledger cannot be read: {error.orig}") from error
            return None  # nothing was ever ingested
        return ledger

    def place(self, molecule: str) -> str:
        """Where the records of a molecule are looked for."""
        store = self._store
        where = store.root if isinstance(store, FolderObjectStore) else f"bucket {self._settings.s3_raw_bucket}"
        return f"{where}, molecule {molecule}"


class Target:
    """Where records go: into a folder that the user names, one object for each experiment, or the installation's way.

    Args:
        folder: The folder.
        kafka: How the command was told to reach Kafka, if it was.

    Raises:
        ValueError: there cannot be such a folder, or the settings cannot be used.
    """

    def __init__(self, folder: Path | None, kafka: KafkaSettings | None = None) -> None:
        settings = load_settings()
        if folder is not None and kafka is not None:
            raise ValueError(f"--output-dir {folder} and --kafka exclude each other: records go to one of the two")
        if folder is not None:
            # Now, not after the computation: a folder that cannot be is an error before any work.
            make_folder(folder, "--output-dir")
        self._to: FolderObjectStore | Way = (
            Way(settings, kafka) if folder is None else FolderObjectStore(folder.absolute())
        )
        self.checkpoints = settings.checkpoints
        """Folder for the notes of runs that go on."""
        self.undelivered: dict[str, str] = {}
        """Why the record of an experiment waits in the outbox."""

    def find(self, molecule: Molecule, experiment: str) -> VQEDecoratedResult | None:
        """The record of an experiment that is there already, or on its way."""
        if isinstance(self._to, Way):
            try:
                return self._to.landing(partition_key(molecule), self._to.ledger).find(experiment)
            except ValueError as error:
                raise ValueError(f"{error}: {_REMEDY}") from error
        keys = {info.key for info in self._to.list_objects("", recursive=False)}
        key = f"{experiment}.json"
        return _read(self._to.get(key).data, f"{self._to.root}/{key}") if key in keys else None

    def write(self, record: VQEDecoratedResult) -> None:
        """Let one record go, durably; what the outbox has to keep is noted in `undelivered`.

        Raises:
            UndeliveredError: it did not leave, and the outbox cannot keep it.
        """
        from qpipe_assets.landing import UndeliveredError

        if not isinstance(self._to, Way):
            self._to.put(f"{record.experiment_id}.json", record.to_json())
            return
        try:
            where = self._to.landing(_molecule(record)).land(record)
        except UndeliveredError as error:
            if not error.kept:
                raise
            self.undelivered[str(record.experiment_id)] = str(error)
        else:
            _log.log(logging.DEBUG if self._to.delivery.immediate else logging.INFO, "the record is in %s", where)

    def forward(self, record: VQEDecoratedResult) -> None:
        """Let a record go that was found here and has not left for where it is to go."""
        if not isinstance(self._to, Way):
            return
        molecule, experiment = _molecule(record), str(record.experiment_id)
        attempts = self._to.landing(molecule).deliver_waiting(experiment)
        for attempt in attempts:
            if attempt.where is None:
                self.undelivered[experiment] = str(attempt.error)
        if not attempts and self._to.beside and not self._to.outbox.has_sent(molecule, experiment):
            self.write(record)

    def lookup(self, molecule: Molecule) -> Callable[[str], VQEDecoratedResult]:
        """What gives the record of an experiment on a molecule; its function raises ValueError where it is not here."""

        def record(experiment: str) -> VQEDecoratedResult:
            found = self.find(molecule, experiment)
            if found is None:
                way = self._to
                where = way.place(partition_key(molecule)) if isinstance(way, Way) else way.root
                raise ValueError(f"experiment {experiment} is not in {where}: compute it first")
            return found

        return record

    def close(self) -> None:
        """Give back connections."""
        if isinstance(self._to, Way):
            self._to.delivery.close()


def _molecule(record: VQEDecoratedResult) -> str:
    return partition_key(Molecule.from_record(record.molecule.molecule_data))


def _read(data: bytes, where: str) -> VQEDecoratedResult:
    from pydantic import ValidationError

    try:
        return VQEDecoratedResult.model_validate_json(data)
    except ValidationError as error:
        raise ValueError(f"{where} is no record ({reasons(error)}): {_REMEDY}") from error
