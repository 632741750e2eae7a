"""Both ends looked at before any work: the source can be read; the target can be written, read and deleted from."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from qpipe_assets.exports.target import ExportTarget
from qpipe_resources.errors import ServiceError
from qpipe_resources.health.checks import Check, Finding, Status, fine, run_checks
from qpipe_resources.health.redaction import redaction
from qpipe_resources.object_store import StoreUnavailableError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from qpipe_resources.lakehouse import Lakehouse

SECONDS = 30.0
"""For which both ends together are waited for."""
PROBE = "probe-"
"""Beginning of the name of the file by which a target is tried; it is deleted again."""


class ExportEndError(ServiceError):
    """The source or the target of an export cannot be used; nothing was written."""


def check_both_ends(
    lakehouse: Lakehouse, table: str, target: ExportTarget, settings: list[BaseModel], *, write: bool
) -> None:
    """Look at both ends at the same time.

    Args:
        lakehouse: the source.
        table: of it.
        target: the target.
        settings: whose secrets no message may hold.
        write: whether the target is written to; else it is listed only.

    Raises:
        ExportEndError: one of them cannot be used within 30 seconds.
    """
    checks = [
        Check("source", lambda: _source(lakehouse, table), "look at `qpipe doctor`"),
        Check("target", lambda: _target(target, write), "start it, or name another; see docs/export.md"),
    ]
    for name, finding in run_checks(checks, deadline=SECONDS, redact=redaction(settings)):
        if finding.status is Status.FAILED:
            raise ExportEndError(f"{name} of the export: {finding.seen}; {finding.remedy}")


def _source(lakehouse: Lakehouse, table: str) -> Finding:
    loaded = lakehouse.load(table)
    snapshot = loaded.current_snapshot()
    if snapshot is not None:
        snapshot.manifests(loaded.io)
    return fine(table)


def _target(target: ExportTarget, write: bool) -> Finding:
    if not write:
        target.folders("")
        return fine(target.url)
    path = f"{PROBE}{uuid.uuid4().hex}"
    try:
        target.write(path, path.encode())
    except StoreUnavailableError:  # which would not answer a deletion either
        raise
    except Exception:
        target.delete(path)
        raise
    target.delete(path)
    return fine(target.url)
