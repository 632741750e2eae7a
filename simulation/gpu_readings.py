"""What `nvidia-smi` says of the GPUs: nothing where there is no such program, so it costs nothing there."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess

from pydantic import AwareDatetime, BaseModel, ConfigDict

TIMEOUT_SECONDS = 5.0

_MEBIBYTE = 1024**2
_FIELDS = ("index", "name", "utilization.gpu", "memory.used", "memory.total", "temperature.gpu", "power.draw")


class Gpu(BaseModel):
    """One NVIDIA GPU at `timestamp`; what the device does not report is None. Watt, degree Celsius, bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timestamp: AwareDatetime
    index: int
    name: str
    percent: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    temperature_celsius: float | None
    power_watts: float | None


def read_gpus(timeout: float = TIMEOUT_SECONDS) -> list[Gpu]:
    """The GPUs that `nvidia-smi` reports; empty where there is no such program.

    Args:
        timeout: Seconds it may take.

    Raises:
        subprocess.SubprocessError: the program failed or took too long.
        ValueError: it printed something else than what was asked for.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = f"--query-gpu={','.join(_FIELDS)}"
    printed = subprocess.run(
        [program, asked, "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=True,
    ).stdout
    now = dt.datetime.now(dt.UTC)
    return [_gpu(now, line) for line in printed.splitlines() if line.strip()]


def _gpu(now: dt.datetime, line: str) -> Gpu:
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != len(_FIELDS):
        raise ValueError(f"nvidia-smi printed {line!r}, expected {len(_FIELDS)} values: {', '.join(_FIELDS)}")
    index, name, *levels = cells
    percent, used, total, temperature, power = (_level(cell) for cell in levels)
    return Gpu(
        timestamp=now,
        index=int(index),
        name=name,
        percent=percent,
        memory_used_bytes=None if used is None else int(used * _MEBIBYTE),
        memory_total_bytes=None if total is None else int(total * _MEBIBYTE),
        temperature_celsius=temperature,
        power_watts=power,
    )


def _level(cell: str) -> float | None:
    # What a device does not have is printed as [N/A], N/A, [Not Supported] or [Unknown Error].
    return float(cell) if cell[:1].isdigit() else None
