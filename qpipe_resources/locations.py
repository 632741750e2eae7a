"""Where a file lies, without its scheme: engines write one place as `/x`, `file:/x`, `file:///x`; or `s3://b`, `s3a://b`."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:(//)?")


def without_scheme(location: str) -> str:
    """A file's absolute path, or `bucket/key`: the name by which Arrow's file systems know it."""
    return _SCHEME.sub("", location)
