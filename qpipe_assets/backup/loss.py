"""Whether what a backup holds has been lost: then the backup is what is left of it, and must not follow the loss."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from qpipe_assets.backup.manifest import Entry
from qpipe_assets.backup.object_copies import kept_objects
from qpipe_assets.backup.record_copies import OUTBOX, records
from qpipe_resources.object_store import ObjectStore
from qpipe_resources.settings import Settings

_REMEDY = "restore them, or name a new folder"


class LossError(ValueError):
    """Most of what a backup holds is not where it was taken any more; nothing was changed."""


def refuse_loss(settings: Settings, store: ObjectStore, folder: Path, known: Mapping[str, Entry]) -> None:
    """Refuse to go on where a home or bucket is lost, not mounted, or new.

    Args:
        settings: of the installation.
        store: its raw objects; listed until half of those that are known are found.
        folder: of the backup.
        known: its manifest.

    Raises:
        LossError: more than half of the objects are gone, or all records of an outbox and with them what they could
            have become.
    """
    enough = (len(known) + 1) // 2
    found = sum(1 for _ in islice((info for info in kept_objects(store) if info.key in known), enough))
    if found < enough:
        gone = len(known) - found
        raise LossError(
            f"{gone} of {len(known)} objects of the backup in {folder} are not in the store any more: {_REMEDY}"
        )
    _refuse_lost_outbox(settings.outbox, store, folder)


def _refuse_lost_outbox(outbox: Path, store: ObjectStore, folder: Path) -> None:
    copies = len(list(records(folder / OUTBOX)))
    if not copies or any(records(outbox)):
        return
    # Whoever empties an outbox leaves its folders.
    if not outbox.is_dir():
        raise LossError(f"{outbox} is gone, and {copies} records of the backup in {folder} with it: {_REMEDY}")
    if not any(kept_objects(store)):
        raise LossError(
            f"{copies} records of the backup in {folder} are neither in {outbox} nor in the store: {_REMEDY}"
        )
