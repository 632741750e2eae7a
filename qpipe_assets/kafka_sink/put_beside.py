"""Names in the store that may be taken: a topic that was made anew counts its offsets from 0 again.

So a message of today can have the name of an earlier one, and must not be written over it.
"""

from __future__ import annotations

import hashlib

from qpipe_resources.object_store import ObjectMissingError, ObjectStore

_DIGITS = 12


def lies_there(store: ObjectStore, key: str, data: bytes) -> bool | None:
    """Whether a key holds this very data; None where it holds nothing."""
    size = store.size(key)
    if size is None or size != len(data):
        return None if size is None else False
    try:
        return store.get(key).data == data
    except ObjectMissingError:  # removed between the two questions
        return None


def digest(data: bytes) -> str:
    """What tells data from other data under the same name."""
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def put_beside(store: ObjectStore, key: str, data: bytes) -> str:
    """Put data under a key, or, where something else lies there, under a name of its own beside it; returns the key."""
    there = lies_there(store, key, data)
    if there is False:
        stem, dot, ending = key.rpartition(".")
        key = f"{stem}+{digest(data)}{dot}{ending}"
    if not there:
        store.put(key, data)
    return key
