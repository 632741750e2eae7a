"""One server process that outlives whoever started it, and is told from any other by more than its number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from deploy.services.errors import ServiceError

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""Servers that this very process started: only their parent can clear them away when they die."""


class ServerProcess:
    """The process recorded in `<folder>/process.json`; its output goes to `<folder>/log`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self._record = folder / "process.json"

    @property
    def files(self) -> tuple[Path, Path]:
        """What is kept of it in its folder."""
        return self.log, self._record

    @property
    def pid(self) -> int | None:
        """Number of the recorded process while it runs, else None.

        A number may be used again after a process died: kernel start time and boot must match too.
        """
        try:
            record = json.loads(self._record.read_text())
        except FileNotFoundError:
            return None
        child = _CHILDREN.get(record["pid"])
        if child is not None and child.poll() is not None:
            del _CHILDREN[record["pid"]]
        identity, alive = observe(record["pid"])
        return record["pid"] if alive and identity == record else None

    def start(self, command: Sequence[str], environment: Mapping[str, str], user: str | None = None) -> int:
        """Start the command in a session of its own and record it.

        Args:
            command: program and arguments; no shell looks at them.
            environment: the whole environment of the process.
            user: who it runs as; None: as the caller.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=dict(environment),
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        _CHILDREN[child.pid] = child
        part = self._record.with_suffix(".part")
        part.write_text(json.dumps(observe(child.pid)[0]))
        part.replace(self._record)
        return child.pid

    def stop(self, how: signal.Signals, timeout: float) -> None:
        """Ask the process to end, and wait until it and its children are gone.

        Raises:
            ServiceError: it still runs after `timeout` seconds.
        """
        family = self.family()
        if not family:
            return
        _send(family[0], how)
        self._wait(family, timeout)

    def kill(self) -> None:
        """End the process and its children by SIGKILL, as a power cut would, and wait until they are gone."""
        family = self.family()
        for process in family:
            _send(process, signal.SIGKILL)
        self._wait(family, 30)

    def last_words(self, lines: int = 12) -> str:
        """End of the log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def family(self) -> list[psutil.Process]:
        """The process and those that it started, as far as they run."""
        pid = self.pid
        if pid is None:
            return []
        try:
            parent = psutil.Process(pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _wait(self, family: list[psutil.Process], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while any(_runs(process) for process in family):
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{self.folder.name} (process {family[0].pid}) still runs after {timeout:.0f} s; see {self.log}"
                )
            time.sleep(0.02)
        self._record.unlink(missing_ok=True)


def observe(pid: int) -> tuple[dict[str, object] | None, bool]:
    """What makes a process itself (number, start in kernel ticks, boot), and whether it is more than a zombie.

    A process whose first thread is a zombie lives on, with its ports and locks, until its other threads have ended.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        threads = len(os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return None, False
    identity: dict[str, object] = {"pid": pid, "started": int(fields[19]), "boot": _BOOT.read_text().strip()}
    return identity, fields[0] not in "ZX" or threads > 1


def _send(process: psutil.Process, how: signal.Signals) -> None:
    try:
        process.send_signal(how)
    except psutil.NoSuchProcess:
        pass


def _runs(process: psutil.Process) -> bool:
    child = _CHILDREN.get(process.pid)
    if child is not None:
        # A zombie is cleared away by being waited for, and nobody but its parent can do it.
        return child.poll() is None
    return process.is_running() and observe(process.pid)[1]


def base_environment() -> dict[str, str]:
    """The few variables that servers need; none of the caller's settings or secrets."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME", "LANG", "TMPDIR") if name in os.environ}
