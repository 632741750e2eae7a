"""What has to be processed, by molecule, as the ledger knows it: the one question of the sensor and the schedule."""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qpipe_assets.tables import schemas

if TYPE_CHECKING:
    from qpipe_assets.tables.installation import Installation
    from qpipe_assets.tables.ledger_tables import Batch
    from qpipe_resources.object_store import ObjectInfo

WHOLE_EVERY = 3600.0
"""Seconds between two full listings of a bucket by the same process."""


@dataclass(frozen=True)
class _Listing:
    """A full listing: when it was (monotonic seconds), and what was new then."""

    at: float
    new: dict[str, list[ObjectInfo]]


_listed_whole: dict[str, _Listing] = {}


@dataclass(frozen=True)
class PendingWork:
    """What one molecule waits for; `fingerprint` changes with it and only with it."""

    molecule: str
    new_objects: int
    unfinished: int
    fingerprint: str
    tables_since: dt.datetime | None = None
    """Since when the nine tables lack something: an object that landed, a batch that was begun."""
    features_since: dt.datetime | None = None
    """Since when the ML tables lack a batch that the nine tables have, by the batch's beginning."""
    rebuild: bool = False

    @property
    def waits_for_tables(self) -> bool:
        """Whether the nine tables lack something; otherwise only the ML tables do."""
        return self.rebuild or self.tables_since is not None

    @property
    def reason(self) -> str:
        """What waits, in words."""
        return f"{self.new_objects} new objects, {self.unfinished} unfinished batches"


def pending_work(installation: Installation) -> list[PendingWork]:
    """Every molecule with objects that were never looked at, open batches or rebuilds, or batches without ML rows."""
    return _pending_work(installation, _new(installation, installation.discovery.by_molecule()))


def _pending_work(installation: Installation, new: dict[str, list[ObjectInfo]]) -> list[PendingWork]:
    unfinished = installation.ledger.pending_molecules(schemas.ML_NAMES[-1])
    return [
        _of_molecule(molecule, new.get(molecule, []), _unfinished(installation, molecule, molecule in unfinished))
        for molecule in sorted(unfinished | new.keys())
    ]


def recently_pending_work(installation: Installation) -> list[PendingWork]:
    """The pending work, for those who ask often: in a bucket, between full listings, only these two days are listed.

    A listing costs a request for each 1000 objects, however old they are. So what arrives under an earlier day (a
    message that waited, a record replayed) is seen at the next full listing: one of this process's each hour, its first
    one, or the daily schedule's. What was new at the last one stays so until it was looked at.
    """
    now, identity = time.monotonic(), installation.lakehouse.identity
    whole = _listed_whole.get(identity)
    if installation.settings.env == "local" or whole is None or now - whole.at >= WHOLE_EVERY:
        new = _new(installation, installation.discovery.by_molecule())
        _listed_whole[identity] = _Listing(now, new)
    else:
        yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
        new = _new(installation, _merged(whole.new, installation.discovery.by_molecule(yesterday)))
    return _pending_work(installation, new)


def _merged(*listed: dict[str, list[ObjectInfo]]) -> dict[str, list[ObjectInfo]]:
    """Objects by molecule; of one key the later listing's version."""
    merged: dict[str, dict[str, ObjectInfo]] = {}
    for objects in listed:
        for molecule, infos in objects.items():
            merged.setdefault(molecule, {}).update({info.key: info for info in infos})
    return {molecule: list(infos.values()) for molecule, infos in merged.items()}


def _new(installation: Installation, listed: dict[str, list[ObjectInfo]]) -> dict[str, list[ObjectInfo]]:
    """Those of the listed objects that nobody has looked at."""
    keys = (info.key for objects in listed.values() for info in objects)
    looked_at = installation.ledger.looked_at(keys, installation.limits.max_object_bytes)
    new = {
        molecule: [info for info in objects if (info.key, info.etag) not in looked_at]
        for molecule, objects in listed.items()
    }
    return {molecule: objects for molecule, objects in new.items() if objects}


@dataclass(frozen=True)
class _Unfinished:
    """A molecule's batches and rebuild that are not through."""

    open: list[Batch] = field(default_factory=list)
    without_features: list[Batch] = field(default_factory=list)
    rebuild: str | None = None


def _unfinished(installation: Installation, molecule: str, pending: bool) -> _Unfinished:
    if not pending:
        return _Unfinished()
    ledger = installation.ledger
    lacking = [batch for table in schemas.ML_NAMES for batch in ledger.done_batches_without(molecule, table)]
    return _Unfinished(ledger.open_batches(molecule), lacking, ledger.open_rebuild(molecule))


def _of_molecule(molecule: str, new: list[ObjectInfo], unfinished: _Unfinished) -> PendingWork:
    versions = sorted({(info.key, info.etag) for info in new})
    batches = {batch.batch_id for batch in (*unfinished.open, *unfinished.without_features)}
    identities = sorted(batches | {unfinished.rebuild or ""} - {""})
    return PendingWork(
        molecule,
        len(versions),
        len(identities),
        hashlib.sha256(repr((molecule, versions, identities)).encode()).hexdigest()[:20],
        tables_since=min((*(info.modified for info in new), *(batch.at for batch in unfinished.open)), default=None),
        features_since=min((batch.at for batch in unfinished.without_features), default=None),
        rebuild=unfinished.rebuild is not None,
    )
