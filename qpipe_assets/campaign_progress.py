"""What a materialization of vqe_runs tells Dagster about each run, and how that is read again.

Dagster's run storage is the only place where it is: tags name the campaign and the process that computes, log lines
say of each run that it has started and how it ended.
"""

from __future__ import annotations

import enum
import os
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dagster import DagsterRunStatus

from qpipe_assets.campaign import IDENTITY_DIGITS

if TYPE_CHECKING:
    import psutil
    from dagster import DagsterInstance, DagsterRun, EventLogEntry

CAMPAIGN_TAG = "qpipe/campaign"
PROCESS_TAG = "qpipe/process"
"""RUN:HOST:PID:START of the process that computes: after a kill the run's own status stays what it was.

A run that is launched again inherits its tags: another run's process says nothing of it.
"""

UNNAMED = "-"
COMPUTING = (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)
"""What Dagster calls a run whose process is taken to be there."""


class Progress(enum.StrEnum):
    """What a log line says of a run."""

    STARTED = "started"
    INTERRUPTED = "interrupted"
    """Its process died: it waits to be tried once more."""
    FINISHED = "finished"
    COMPUTED = "computed"
    """Computed, and kept in the outbox."""
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    """Ended because it took longer than a run may; its checkpoint is kept."""


_LINE = re.compile(
    rf"(?:\[[^\]]*\] )?({'|'.join(Progress)}) [^\n]*?\[([0-9a-f]{{{IDENTITY_DIGITS}}})\](?::|$)", re.MULTILINE
)


def progress_line(progress: Progress, label: str, done: str = "") -> str:
    """The beginning of a log line on a run.

    Args:
        progress: What became of it.
        label: The run's label, which ends with the first digits of its identity.
        done: How far the campaign is, in brackets.
    """
    return f"{done} {progress} {label}".lstrip()


def tag_run(instance: DagsterInstance, run_id: str, campaign: str | None) -> None:
    """Note on a Dagster run which campaign it computes, and in which process."""
    instance.add_run_tags(run_id, {CAMPAIGN_TAG: campaign or UNNAMED} | process_tag(run_id))


def process_tag(run_id: str) -> dict[str, str]:
    """What notes on a Dagster run that this process executes it."""
    return {PROCESS_TAG: f"{run_id}:{_this_process()}"}


def process_lives(run: DagsterRun) -> bool:
    """Whether the process of a run is there; one that it has not noted, or of another machine, is taken to be."""
    import psutil

    noted = run.tags.get(PROCESS_TAG, "").split(":")
    if noted[:2] != [run.run_id, socket.gethostname()]:
        return True
    pid, started = noted[2:]
    try:
        process = psutil.Process(int(pid))
        return _start_of(process) == started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _this_process() -> str:
    import psutil

    return f"{socket.gethostname()}:{os.getpid()}:{_start_of(psutil.Process())}"


def _start_of(process: psutil.Process) -> str:
    """When it started: on Linux since the boot, because a clock that is set moves what psutil makes of that."""
    import psutil

    return f"{process.create_time() - (psutil.boot_time() if psutil.LINUX else 0):.2f}"


@dataclass(frozen=True)
class ToldLine:
    """What one log line says.

    Attributes:
        progress: What became of the run.
        identity: First digits of its experiment's identity.
        moment: When (seconds since the epoch).
        text: The rest of its first line: why it failed.
    """

    progress: Progress
    identity: str
    moment: float
    text: str


class ProgressLog:
    """The lines of Dagster runs' logs that tell of progress; each is fetched once, however often it is asked for."""

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance
        self._read: dict[str, tuple[str | None, list[ToldLine]]] = {}

    def of(self, run_id: str) -> list[ToldLine]:
        """The lines of one Dagster run until now, in their order."""
        cursor, lines = self._read.get(run_id, (None, []))
        found = self._instance.get_records_for_run(run_id, cursor)
        lines = [*lines, *_told(record.event_log_entry for record in found.records)]
        self._read[run_id] = found.cursor, lines
        return lines


def _told(entries: Iterable[EventLogEntry]) -> Iterator[ToldLine]:
    for entry in entries:
        if entry.dagster_event is None and (found := _LINE.match(entry.user_message)) is not None:
            [text, *_] = entry.user_message[found.end() :].strip().splitlines() or [""]
            yield ToldLine(Progress(found[1]), found[2], entry.timestamp, text)


@dataclass
class ToldProgress:
    """What log lines say of each run, by the first digits of the experiments' identities."""

    latest: dict[str, Progress] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    """Of the runs that failed or timed out last: why."""
    computed: list[tuple[float, float]] = field(default_factory=list)
    """Of each run that was computed: when (seconds since 1970), and how long it took (seconds)."""
    last_end: float | None = None
    """When the last run ended, in whatever way (seconds since 1970)."""

    def read(self, lines: Iterable[ToldLine]) -> None:
        """Take in the log of one more Dagster run, later than those before."""
        started: dict[str, float] = {}
        for line in lines:
            self.latest[line.identity] = line.progress
            if line.progress is Progress.STARTED:
                started[line.identity] = line.moment
            if line.progress in (Progress.STARTED, Progress.INTERRUPTED):
                continue
            self.last_end = max(line.moment, self.last_end or line.moment)
            if line.progress in (Progress.FAILED, Progress.TIMED_OUT):
                self.reasons[line.identity] = line.text
            elif line.identity in started:
                self.computed.append((line.moment, line.moment - started.pop(line.identity)))
