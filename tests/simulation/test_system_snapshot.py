"""A look at the machine: what the kernel says, and a container's memory as its control group's limit counts it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from simulation import system_snapshot as snapshots
from simulation.system_snapshot import SystemSnapshot, system_snapshot


def test_a_snapshot_agrees_with_the_kernel() -> None:
    snapshot = system_snapshot()
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    assert snapshot.memory.total_bytes == 1024 * int(meminfo["MemTotal"].split()[0])
    assert snapshot.cpu.count == os.cpu_count()
    assert snapshot.cpu.percent is None, "there was no earlier snapshot to compare with"
    assert snapshot.cpu.load_1m == pytest.approx(os.getloadavg()[0], abs=0.5)
    assert snapshot.process.pid == os.getpid()
    assert snapshot.process.rss_bytes <= snapshot.process.peak_rss_bytes
    assert snapshot.process.cpu_seconds == pytest.approx(time.process_time(), abs=0.5)
    assert snapshot.timestamp.utcoffset().total_seconds() == 0


def test_a_snapshot_survives_json() -> None:
    snapshot = system_snapshot()
    assert SystemSnapshot.model_validate_json(snapshot.model_dump_json()) == snapshot


VERSION_2 = ("memory.current", "memory.max", "memory.stat", "inactive_file")
VERSION_1 = (
    "memory/memory.usage_in_bytes",
    "memory/memory.limit_in_bytes",
    "memory/memory.stat",
    "total_inactive_file",
)


@pytest.mark.parametrize("files", [VERSION_2, VERSION_1], ids=["version 2", "version 1"])
@pytest.mark.parametrize(
    ("limit", "percent"),
    [("8000", 75.0), ("max", None), ("9223372036854771712", None)],
    ids=["8000", "none", "none, 1"],
)
def test_memory_of_a_container_is_what_its_limit_kills_for_without_the_file_cache_that_would_go_first(
    files: tuple[str, ...], limit: str, percent: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, most, stat, cache = files
    for name, text in {used: "7000", most: limit, stat: f"anon 5\nnot_{cache} 5\n{cache} 1000\nslab 5"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr(snapshots, "_CGROUP", tmp_path)
    container = system_snapshot(gpu=[]).container
    assert (container.memory_used_bytes, container.memory_percent) == (6000, percent)


def test_without_a_control_group_a_container_has_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_CGROUP", tmp_path)
    container = system_snapshot(gpu=[]).container
    assert (container.memory_used_bytes, container.memory_limit_bytes, container.memory_percent) == (None, None, None)
