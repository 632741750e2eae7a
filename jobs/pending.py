"""What has to be processed, by molecule, as the ledger knows it: the one question of the sensor and the schedule."""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe_assets.tables import schemas

if TYPE_CHECKING:
    from qpipe_assets.tables.installation import Installation

WHOLE_EVERY = 3600.0
"""Seconds between two full listings of a bucket by the same process."""

_listed_whole: dict[str, float] = {}


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


def pending_work(installation: Installation, since: dt.date | None = None) -> list[PendingWork]:
    """Every molecule with objects that were never looked at, open batches or rebuilds, or batches without ML rows.

    Args:
        installation: where to look.
        since: leave out objects of earlier days (see Discovery.by_molecule).
    """
    new = _new_objects(installation, since)
    unfinished = installation.ledger.pending_molecules(schemas.ML_NAMES[-1])
    return [
        _of_molecule(molecule, new.get(molecule, []), _unfinished(installation, molecule, molecule in unfinished))
        for molecule in sorted(unfinished | new.keys())
    ]


def recently_pending_work(installation: Installation) -> list[PendingWork]:
    """The pending work, for those who ask often: in a bucket, between full listings, only what is of these two days.

    A listing costs a request for each 1000 objects, however old they are. So what arrives under an earlier day (a
    message that waited, a record replayed) is seen at the next full listing: one of this process's each hour, its first
    one, or the daily schedule's.
    """
    now = time.monotonic()
    listed = _listed_whole.get(installation.lakehouse.identity)
    if installation.settings.env != "local" and listed is not None and now - listed < WHOLE_EVERY:
        return pending_work(installation, since=dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1))
    found = pending_work(installation)
    _listed_whole[installation.lakehouse.identity] = now
    return found


def _new_objects(installation: Installation, since: dt.date | None) -> dict[str, list[tuple[str, str]]]:
    listed = installation.discovery.by_molecule(since)
    keys = (info.key for objects in listed.values() for info in objects)
    looked_at = installation.ledger.looked_at(keys, installation.limits.max_object_bytes)
    new = {
        molecule: sorted({(info.key, info.etag) for info in objects} - looked_at)
        for molecule, objects in listed.items()
    }
    return {molecule: versions for molecule, versions in new.items() if versions}


def _unfinished(installation: Installation, molecule: str, pending: bool) -> list[str]:
    """Identities of the molecule's unfinished batches and rebuild."""
    if not pending:
        return []
    ledger = installation.ledger
    batches = ledger.open_batches(molecule)
    for table in schemas.ML_NAMES:
        batches += ledger.done_batches_without(molecule, table)
    return sorted({batch.batch_id for batch in batches} | {ledger.open_rebuild(molecule) or ""} - {""})


def _of_molecule(molecule: str, new: list[tuple[str, str]], unfinished: list[str]) -> PendingWork:
    fingerprint = hashlib.sha256(repr((molecule, new, unfinished)).encode()).hexdigest()[:20]
    return PendingWork(molecule, len(new), len(unfinished), fingerprint)
