"""Where the records of `qpipe simulate` go, and what is there already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe_cli.output import make_folder
from qpipe_resources.object_store import FolderObjectStore
from qpipe_resources.settings import load_settings
from simulation.molecules import Molecule, partition_key
from simulation.record import VQEDecoratedResult
from simulation.validation import reasons

if TYPE_CHECKING:
    from qpipe_assets.landing import Landing


def already_computed(name: str, record: VQEDecoratedResult) -> str:
    """What is told of a run that is not computed again, because its record has landed."""
    facts = [f"engine {record.engine or record.vqe_result.initial_data.backend}"]
    if record.device:
        facts.append(record.device)
    # Samples scatter: there is an exact energy of their circuit, but no certificate.
    if record.vqe_result.initial_data.exact_estimator:
        facts.append("not certified" if record.certified_energy is None else "certified")
    return f"{name}: already computed ({', '.join(facts)}); --force computes it again"


class Target:
    """Where records go: the raw object store, or a folder the user names; one object for each experiment."""

    def __init__(self, folder: Path | None) -> None:
        self._settings = load_settings()
        if folder is not None:
            # Now, not after the computation: a folder that cannot be is an error before any work.
            make_folder(folder, "--output-dir")
        self._folder = FolderObjectStore(folder.absolute()) if folder else None
        self._raw = FolderObjectStore(self._settings.raw_results)

    def find(self, molecule: Molecule, experiment: str) -> VQEDecoratedResult | None:
        """The record of an experiment that is there already."""
        if self._folder is not None:
            store, keys = self._folder, {info.key: info.key for info in self._folder.list_objects("", recursive=False)}
            key = keys.get(f"{experiment}.json")
        else:
            store, key = self._raw, self._landing(partition_key(molecule)).objects().get(experiment)
        return _read(store.get(key).data, f"{store.root}/{key}") if key else None

    def write(self, record: VQEDecoratedResult) -> None:
        """Land one record, durably."""
        if self._folder is not None:
            self._folder.put(f"{record.experiment_id}.json", record.to_json())
        else:
            self._landing(partition_key(Molecule.from_record(record.molecule.molecule_data))).land(record)

    @property
    def checkpoints(self) -> Path:
        """Folder for the notes of runs that go on."""
        return self._settings.checkpoints

    def lookup(self, molecule: Molecule) -> Callable[[str], VQEDecoratedResult]:
        """What gives the record of an experiment on a molecule; its function raises ValueError where it is not here."""

        def record(experiment: str) -> VQEDecoratedResult:
            found = self.find(molecule, experiment)
            if found is None:
                where = self._folder.root if self._folder else f"{self._raw.root}, molecule {partition_key(molecule)}"
                raise ValueError(f"experiment {experiment} is not in {where}: compute it first")
            return found

        return record

    def _landing(self, molecule: str) -> Landing:
        from qpipe_assets.landing import Landing

        return Landing(self._raw, self._settings, molecule)


def _read(data: bytes, where: str) -> VQEDecoratedResult:
    from pydantic import ValidationError

    try:
        return VQEDecoratedResult.model_validate_json(data)
    except ValidationError as error:
        raise ValueError(f"{where} is no record ({reasons(error)}): move it away, or use --force") from error
