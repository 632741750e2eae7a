"""One look at the machine and at this process: counters and levels at a moment, and what happened between two."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path
from typing import Self

import psutil
from pydantic import AwareDatetime, BaseModel, ConfigDict

from simulation.gpu_readings import Gpu, read_gpus
from simulation.provenance import host

UNKNOWN_CONTAINER = "unknown"

_CGROUP = Path("/sys/fs/cgroup")
_CGROUP_FILES = (
    ("memory.current", "memory.max", "memory.stat", "inactive_file"),
    ("memory/memory.usage_in_bytes", "memory/memory.limit_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
"""Used memory, its limit, what it consists of and there the file cache, in version 2 of control groups and in 1."""

_NO_CGROUP_LIMIT = 2**60
"""Version 1 writes "no limit" as the largest multiple of a page."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cpu(_Part):
    """Processors of the machine; `percent` is of the time since an earlier snapshot, None where there was none.

    `busy_seconds` and `total_seconds` are summed over all processors since the machine started.
    """

    percent: float | None
    count: int
    load_1m: float
    load_5m: float
    load_15m: float
    busy_seconds: float
    total_seconds: float


class Memory(_Part):
    """Main memory of the machine (bytes)."""

    total_bytes: int
    used_bytes: int
    available_bytes: int
    percent: float


class Swap(_Part):
    """Swap space of the machine (bytes)."""

    total_bytes: int
    used_bytes: int
    percent: float


class DiskIO(_Part):
    """What all disks together moved since the machine started."""

    read_bytes: int
    write_bytes: int
    read_count: int
    write_count: int


class NetworkIO(_Part):
    """What all network interfaces together moved since the machine started."""

    sent_bytes: int
    received_bytes: int
    sent_packets: int
    received_packets: int


class Process(_Part):
    """This process; `peak_rss_bytes` is its high-water mark since it started, None where the kernel keeps none."""

    pid: int
    rss_bytes: int
    peak_rss_bytes: int | None
    cpu_seconds: float
    uptime_seconds: float


class Container(_Part):
    """What this process runs in: the deployment's name for it and, from its control group, memory (bytes).

    The file cache that was not used lately is not in use: the kernel drops it before it kills for the limit.
    """

    type: str
    memory_used_bytes: int | None
    memory_limit_bytes: int | None

    @property
    def memory_percent(self) -> float | None:
        """Memory in use of what the limit allows (percent); None where there is no limit."""
        if self.memory_used_bytes is None or not self.memory_limit_bytes:
            return None
        return 100 * self.memory_used_bytes / self.memory_limit_bytes


class SystemSnapshot(_Part):
    """The machine and this process at a moment; differences of `monotonic_seconds` are true whatever the clock does."""

    timestamp: AwareDatetime
    monotonic_seconds: float
    host: str
    cpu: Cpu
    memory: Memory
    swap: Swap
    disk_io: DiskIO | None
    network_io: NetworkIO | None
    process: Process
    gpu: list[Gpu]
    container: Container

    def since(self, before: SystemSnapshot | None) -> Self:
        """The same with `cpu.percent` of the time since an earlier snapshot, where there is one."""
        if before is None:
            return self
        cpu = self.cpu.model_copy(update={"percent": _busy_percent(before.cpu, self.cpu)})
        return self.model_copy(update={"cpu": cpu})


class Usage(_Part):
    """What happened between two snapshots; `process_cores` is processor time of the process per second."""

    seconds: float
    cpu_percent: float | None
    process_cpu_seconds: float
    process_cores: float | None
    rss_change_bytes: int
    disk_read_bytes: int | None
    disk_write_bytes: int | None
    network_sent_bytes: int | None
    network_received_bytes: int | None

    @classmethod
    def between(cls, before: SystemSnapshot, after: SystemSnapshot) -> Self:
        """The differences of all counters.

        Raises:
            ValueError: the snapshots are not of one process, or in the wrong order.
        """
        one, other = (f"{s.host}, process {s.process.pid}" for s in (before, after))
        if one != other:
            raise ValueError(f"snapshots of {one} and of {other}: expected two of one process")
        seconds = after.monotonic_seconds - before.monotonic_seconds
        if seconds < 0:
            raise ValueError(
                f"the second snapshot is {-seconds:.6f} s before the first: expected the earlier one first"
            )
        cpu_seconds = after.process.cpu_seconds - before.process.cpu_seconds
        disk = (before.disk_io, after.disk_io)
        network = (before.network_io, after.network_io)
        return cls(
            seconds=seconds,
            cpu_percent=_busy_percent(before.cpu, after.cpu),
            process_cpu_seconds=cpu_seconds,
            process_cores=cpu_seconds / seconds if seconds else None,
            rss_change_bytes=after.process.rss_bytes - before.process.rss_bytes,
            disk_read_bytes=_change(disk, "read_bytes"),
            disk_write_bytes=_change(disk, "write_bytes"),
            network_sent_bytes=_change(network, "sent_bytes"),
            network_received_bytes=_change(network, "received_bytes"),
        )


def system_snapshot(*, gpu: list[Gpu] | None = None, container_type: str = UNKNOWN_CONTAINER) -> SystemSnapshot:
    """A snapshot of now, in under a millisecond where `gpu` is given.

    Args:
        gpu: GPU readings to put in; read here, which may take a second, when not given.
        container_type: The deployment's name for what this process runs in.
    """
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    disk, network = psutil.disk_io_counters(), psutil.net_io_counters()
    return SystemSnapshot(
        timestamp=dt.datetime.now(dt.UTC),
        monotonic_seconds=time.monotonic(),
        host=host(),
        cpu=_cpu(),
        memory=Memory(
            total_bytes=memory.total,
            used_bytes=memory.used,
            available_bytes=memory.available,
            percent=memory.percent,
        ),
        swap=Swap(total_bytes=swap.total, used_bytes=swap.used, percent=swap.percent),
        disk_io=None
        if disk is None
        else DiskIO(
            read_bytes=disk.read_bytes,
            write_bytes=disk.write_bytes,
            read_count=disk.read_count,
            write_count=disk.write_count,
        ),
        network_io=None
        if network is None
        else NetworkIO(
            sent_bytes=network.bytes_sent,
            received_bytes=network.bytes_recv,
            sent_packets=network.packets_sent,
            received_packets=network.packets_recv,
        ),
        process=_process(),
        gpu=read_gpus() if gpu is None else gpu,
        container=_container(container_type),
    )


def _cpu() -> Cpu:
    times = psutil.cpu_times()._asdict()
    # Linux counts the time of guests in user and nice already.
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    load = os.getloadavg()
    return Cpu(
        percent=None,
        count=psutil.cpu_count() or 1,
        load_1m=load[0],
        load_5m=load[1],
        load_15m=load[2],
        busy_seconds=total - times["idle"] - times.get("iowait", 0.0),
        total_seconds=total,
    )


def _busy_percent(before: Cpu, after: Cpu) -> float | None:
    """None where the kernel's clock, of 10 ms, has not moved."""
    total = after.total_seconds - before.total_seconds
    if total <= 0:
        return None
    return min(100.0, max(0.0, 100 * (after.busy_seconds - before.busy_seconds) / total))


def _process() -> Process:
    process = psutil.Process()
    with process.oneshot():
        times = process.cpu_times()
        return Process(
            pid=process.pid,
            rss_bytes=process.memory_info().rss,
            peak_rss_bytes=_peak_rss(),
            cpu_seconds=times.user + times.system,
            uptime_seconds=max(0.0, time.time() - process.create_time()),
        )


def _peak_rss() -> int | None:
    # Not getrusage: its ru_maxrss starts at what the parent had when it started this process.
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # not Linux
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def _container(container_type: str) -> Container:
    for used, limit, stat, cache in _CGROUP_FILES:
        used_bytes = _bytes_of(_cgroup_text(used))
        if used_bytes is not None:
            parts = dict(line.split() for line in _cgroup_text(stat).splitlines())
            return Container(
                type=container_type,
                memory_used_bytes=max(0, used_bytes - int(parts.get(cache, 0))),
                memory_limit_bytes=_bytes_of(_cgroup_text(limit)),
            )
    return Container(type=container_type, memory_used_bytes=None, memory_limit_bytes=None)


def _cgroup_text(name: str) -> str:
    try:
        return (_CGROUP / name).read_text().strip()
    except OSError:  # no control group of this version
        return ""


def _bytes_of(text: str) -> int | None:
    """None for what says that there is no limit."""
    return int(text) if text.isdigit() and int(text) < _NO_CGROUP_LIMIT else None


def _change(pair: tuple[BaseModel | None, BaseModel | None], name: str) -> int | None:
    before, after = pair
    return None if before is None or after is None else getattr(after, name) - getattr(before, name)
