"""Raw objects looked at: which records they hold, or why they hold none; the same for every engine.

A record that cannot be used, among others that can, is set apart: it is put as an object of its own, which is refused
with its reason. So whatever one message holds, those that landed with it become rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qpipe_assets.tables.decode import Decoded, DecodeError, Unusable, decode_usable
from qpipe_assets.tables.engine import Examined, Refusal
from qpipe_assets.tables.execution import execution_of
from qpipe_assets.tables.ledger_queries import too_large
from qpipe_assets.tables.ledger_tables import Candidate
from qpipe_resources.object_layout import key_apart
from qpipe_resources.object_store import (
    InvalidKeyError,
    ObjectChangedError,
    ObjectInfo,
    ObjectMissingError,
    ObjectStore,
    StoredObject,
)


def examine(
    store: ObjectStore, molecule: str, objects: Sequence[ObjectInfo], max_bytes: int, examined: list[Examined]
) -> Iterator[Decoded]:
    """Read and decode objects of one molecule, one at a time: Python's objects are many times as large as the bytes.

    Args:
        store: Where they lie.
        molecule: Partition key that their records must have.
        objects: As they were listed.
        max_bytes: Objects above this size are refused unread.
        examined: Takes what came of each object, in order, and of what was set apart of it.

    Yields:
        All records that can be used.
    """
    for info in objects:
        if info.size > max_bytes:
            examined.append(Examined(info, refused=Refusal(too_large(info.size, max_bytes), copy=False)))
            continue
        try:
            stored = store.get(info.key)
            found, unusable = _decoded(stored, molecule)
            apart = [_set_apart(store, molecule, info, one) for one in unusable]
        except (ObjectChangedError, ObjectMissingError) as error:
            examined.append(Examined(info, postponed=str(error)))
        except (DecodeError, InvalidKeyError) as error:
            examined.append(Examined(info, refused=Refusal(str(error))))
        else:
            examined += [_offered(info, stored, found), *apart]
            yield from found


def _decoded(stored: StoredObject, molecule: str) -> tuple[list[Decoded], list[Unusable]]:
    found, unusable = decode_usable(stored.data)
    if found[0].molecule != molecule:
        raise DecodeError(
            f"the object is filed under molecule={molecule}, its record is of {found[0].molecule}; move it"
        )
    return found, unusable


def _set_apart(store: ObjectStore, molecule: str, info: ObjectInfo, one: Unusable) -> Examined:
    # Before anything is claimed: whoever is killed in between puts the same bytes again.
    key = key_apart(info.key, molecule, one.document)
    etag = store.put(key, one.document)
    apart = ObjectInfo(key, etag, len(one.document), info.modified)
    return Examined(apart, refused=Refusal(f"a record of {info.key}, which holds others: {one.reason}"))


def _offered(info: ObjectInfo, stored: StoredObject, found: list[Decoded]) -> Examined:
    if stored.etag != info.etag:
        # Overwritten since it was listed: what was read is what counts.
        info = ObjectInfo(info.key, stored.etag, len(stored.data), info.modified)
    return Examined(info, tuple(_candidate(info, record) for record in found))


def _candidate(info: ObjectInfo, record: Decoded) -> Candidate:
    execution = execution_of(record.row)
    return Candidate(record.experiment_id, info.key, info.etag, record.content_digest, execution)
