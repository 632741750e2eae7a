"""The folders of an installation: QPIPE_HOME with its outbox, and DAGSTER_HOME."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from qpipe_resources.health.checks import Finding, failed, fine, warning
from qpipe_resources.outbox import WAYS, OutboxFile, open_outbox, replay_command
from qpipe_resources.settings import Settings

GIBIBYTE = 1024**3
SCARCE_BYTES = 2 * GIBIBYTE
"""Free bytes below which there is a warning: a campaign's batches and checkpoints take less."""
FULL_BYTES = 256 * 1024**2
"""Free bytes below which records no longer fit reliably: twice the largest object."""
LATE_SECONDS = 600.0
"""Age from which an undelivered record is more than a retry that is under way."""
_DAY = 86_400.0


def check_home(settings: Settings) -> Finding:
    """Whether QPIPE_HOME can be written, durably, and has room."""
    folder = _existing(settings.home)
    if not folder.is_dir():
        return failed(f"{folder} is a file", "name another folder in QPIPE_HOME")
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".tmp-doctor-") as file:
        file.write(b"doctor")
        file.flush()
        os.fsync(file.fileno())
    free = shutil.disk_usage(folder).free
    seen = f"{settings.home}, {free / GIBIBYTE:.1f} GiB free"
    remedy = "make room on this disk, or move QPIPE_HOME (tables of QPIPE_ENV=local do not move: rebuild them)"
    if free < FULL_BYTES:
        return failed(seen, remedy)
    if free < SCARCE_BYTES:
        return warning(seen, remedy)
    return fine(seen if folder == settings.home else f"{seen}; made at first use")


def check_dagster_home(settings: Settings) -> Finding:
    """Whether DAGSTER_HOME is a folder that Dagster accepts."""
    remedy = 'eval "$(qpipe home)" makes it ready and names it'
    given = os.environ.get("DAGSTER_HOME")
    if given and not Path(given).is_absolute():
        return failed(f"DAGSTER_HOME={given} is relative, which Dagster refuses", remedy)
    folder = settings.dagster_home
    if not (folder / "dagster.yaml").is_file():
        return warning(f"no dagster.yaml in {folder}", remedy)
    if not os.access(folder, os.W_OK | os.X_OK):
        return failed(f"{folder} cannot be written", "give this user the folder, or name another in DAGSTER_HOME")
    return fine(str(folder) if given else f"{folder}; DAGSTER_HOME is not set, other shells do not know it")


def check_outbox(settings: Settings) -> Finding:
    """Whether computed records wait here for delivery, and since when."""
    outboxes = {way: open_outbox(settings, way) for way in WAYS}
    waiting = {way: ages for way, outbox in outboxes.items() if (ages := _ages(outbox.undelivered()))}
    sent = sum(len(outbox.sent()) for outbox in outboxes.values())
    seen = f"{sum(map(len, waiting.values()))} undelivered, {sent} sent and not known to be in the tables"
    if not waiting:
        return fine(seen)
    oldest = max(max(ages) for ages in waiting.values())
    seen = f"{seen}; the oldest undelivered one waits for {_duration(oldest)}"
    commands = [replay_command(settings, way) for way in waiting]
    remedy = f"put the service right that refused them, then: {', '.join(commands)}"
    return warning(seen, remedy) if oldest > LATE_SECONDS else fine(f"{seen}, which a run may still deliver")


def _ages(files: list[OutboxFile]) -> list[float]:
    """Seconds since each was written; one that is gone meanwhile is left out."""
    found = []
    for file in files:
        try:
            found.append(max(time.time() - file.path.stat().st_mtime, 0.0))
        except FileNotFoundError:
            continue
    return found


def _duration(seconds: float) -> str:
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * _DAY else f"{seconds / _DAY:.0f} days"


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
