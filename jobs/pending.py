"""What has to be processed, by molecule, as the ledger knows it: the one question of the sensor and the schedule."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe_assets.tables import schemas

if TYPE_CHECKING:
    from qpipe_assets.tables.installation import Installation
    from qpipe_resources.object_store import ObjectInfo


@dataclass(frozen=True)
class PendingWork:
    """What one molecule waits for; `fingerprint` changes with it and only with it."""

    molecule: str
    new_objects: int
    unfinished: int
    fingerprint: str

    @property
    def reason(self) -> str:
        """What waits, in words."""
        return f"{self.new_objects} new objects, {self.unfinished} unfinished batches"


def pending_work(installation: Installation) -> list[PendingWork]:
    """Every molecule with objects that were never looked at, open batches or rebuilds, or batches without ML rows."""
    objects = installation.discovery.by_molecule()
    unfinished = installation.ledger.pending_molecules(schemas.ML_NAMES[-1])
    found = (_of_molecule(installation, name, objects.get(name, [])) for name in sorted(unfinished | objects.keys()))
    return [work for work in found if work is not None]


def _of_molecule(installation: Installation, molecule: str, objects: Iterable[ObjectInfo]) -> PendingWork | None:
    ledger = installation.ledger
    known = ledger.known_versions(molecule)
    new = sorted((info.key, info.etag) for info in objects if (info.key, info.etag) not in known)
    batches = [*ledger.open_batches(molecule)]
    for table in schemas.ML_NAMES:
        batches += ledger.done_batches_without(molecule, table)
    unfinished = sorted({batch.batch_id for batch in batches} | {ledger.open_rebuild(molecule) or ""} - {""})
    if not new and not unfinished:
        return None
    fingerprint = hashlib.sha256(repr((molecule, new, unfinished)).encode()).hexdigest()[:20]
    return PendingWork(molecule, len(new), len(unfinished), fingerprint)
