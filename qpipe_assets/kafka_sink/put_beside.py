"""Names in the store that may be taken: by the same messages, or by those of a topic that had the name before.

A sink that was killed puts messages again, perhaps others together. And a topic that was made anew counts its offsets
from 0 again, so that a message of today can have the name of an earlier one, and must not be written over it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from qpipe_assets.tables.decode import json_documents
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


def put_together(store: ObjectStore, named: Sequence[tuple[str, bytes]]) -> None:
    """Put JSON documents as one object of lines, under the first one's key, but for those that lie there already.

    Where something else lies there, they get a name of their own beside it.

    Args:
        store: Where to.
        named: Each document with the key that it would have alone.
    """
    key, data = named[0][0], b"\n".join(document for _, document in named)
    if store.size(key) is not None:
        there = _documents(store, key)
        missing = [(name, document) for name, document in named if document.strip() not in there]
        if not missing:
            return
        if missing[0] != named[0]:
            put_together(store, missing)
            return
        stem, dot, ending = key.rpartition(".")
        key = f"{stem}+{digest(data)}{dot}{ending}"
        if lies_there(store, key, data):
            return
    store.put(key, data)


def _documents(store: ObjectStore, key: str) -> set[bytes]:
    try:
        return {document.strip() for document in json_documents(store.get(key).data)}
    except ObjectMissingError:  # removed between the two questions
        return set()
