"""Names in the store that may be taken: what lies under a key must never be replaced by anything else.

A topic that was made anew counts its offsets from 0 again, so a message of today can have the name of an earlier one.
And after a kill or a rebalance messages that share an object are cut otherwise, while a put of before may be under way:
a digest in their key says what they are, so whichever comes last, nothing is lost.
"""

from __future__ import annotations

from qpipe_resources.object_layout import digest
from qpipe_resources.object_store import ObjectMissingError, ObjectStore


def lies_there(store: ObjectStore, key: str, data: bytes) -> bool | None:
    """Whether a key holds this very data; None where it holds nothing."""
    size = store.size(key)
    if size is None or size != len(data):
        return None if size is None else False
    try:
        return store.get(key).data == data
    except ObjectMissingError:  # removed between the two questions
        return None


def put_together(store: ObjectStore, key: str, data: bytes, alone: bool) -> str:
    """Put messages as one object; returns its key.

    One message lies under its own key; several, or one whose key is taken by something else, under that of the first
    with a digest of all.

    Args:
        store: Where to.
        key: Of the first message, if it had an object of its own.
        data: All of them; the same for the same messages.
        alone: Whether it is one message.
    """
    there = lies_there(store, key, data) if alone else False
    if there is False:
        stem, dot, ending = key.rpartition(".")
        key = f"{stem}+{digest(data)}{dot}{ending}"
        there = lies_there(store, key, data)
    if not there:
        store.put(key, data)
    return key
