"""Python's garbage collector while many objects are made that hold no cycles: it looks for them too often.

A decoded record is thousands of objects that reference counts alone free. By its defaults the collector passes over
them, and over all that was imported, after every 700 of them: most of the time that decoding takes.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_OBJECTS = 50_000
"""Between two collections: some tens of megabytes at most, where all of them were garbage."""
_OLDER = (2, 2)
"""Collections after which older objects are looked at, too: commits leave cycles behind that must not gather."""

_lock = threading.Lock()
_inside = 0
_before = gc.get_threshold()


@contextmanager
def rare_collections() -> Iterator[None]:
    """Inside, the collector runs after 50,000 new objects; as before once the last of all threads has left."""
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = gc.get_threshold()
            # A program that has turned the collector off, or made it rarer, knows why.
            if 0 < _before[0] < _NEW_OBJECTS:
                gc.set_threshold(_NEW_OBJECTS, *_OLDER)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                gc.set_threshold(*_before)
