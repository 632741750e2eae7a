"""The performance monitor: snapshots of the machine, in the background, that never disturb what is watched."""

from __future__ import annotations

import itertools
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from simulation import gpu_readings
from simulation.monitor import CPU_SECONDS, STOP_SECONDS, PerformanceMonitor, file_exporter
from simulation.monitor_settings import MonitorSettingsError, load_monitor_settings, without_credentials
from simulation.system_snapshot import SystemSnapshot, Usage, system_snapshot

MEBIBYTE = 1024**2
VARIABLES = (
    "MONITORING_ENABLED",
    "MONITORING_INTERVAL",
    "PUSHGATEWAY_URL",
    "MONITORING_EXPORT_FORMAT",
    "CONTAINER_TYPE",
)


@pytest.fixture(autouse=True)
def _no_monitoring_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program of that name, with this shell text, first on the PATH."""

    def install(script: str) -> None:
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """stop() waits for all that is left to do, however busy the machine is."""
    monkeypatch.setattr("simulation.monitor.STOP_SECONDS", 30.0)


class Looks:
    """An exporter that keeps what it gets, and can be waited for."""

    def __init__(self, wanted: int) -> None:
        self.seen: list[SystemSnapshot] = []
        self._wanted = wanted
        self._enough = threading.Event()

    def __call__(self, snapshot: SystemSnapshot) -> None:
        self.seen.append(snapshot)
        if len(self.seen) >= self._wanted:
            self._enough.set()

    def wait(self) -> None:
        assert self._enough.wait(60), f"{len(self.seen)} of {self._wanted} snapshots in 60 s"


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_usage_is_what_happened_between_two_snapshots(tmp_path: Path) -> None:
    before = system_snapshot()
    burn(0.3)
    ballast = bytearray(os.urandom(64 * MEBIBYTE))
    after = system_snapshot().since(before)
    usage = Usage.between(before, after)
    assert 0.28 <= usage.process_cpu_seconds <= usage.seconds + 0.02
    assert usage.process_cores == pytest.approx(usage.process_cpu_seconds / usage.seconds)
    assert usage.rss_change_bytes >= len(ballast) * 0.9
    assert 0 < usage.cpu_percent <= 100
    assert usage.cpu_percent == after.cpu.percent


def test_usage_of_two_processes_or_backwards_is_refused() -> None:
    before, after = system_snapshot(), system_snapshot()
    other = after.model_copy(update={"process": after.process.model_copy(update={"pid": 1})})
    with pytest.raises(ValueError, match="process 1"):
        Usage.between(before, other)
    with pytest.raises(ValueError, match="earlier one first"):
        Usage.between(after, before)


def test_the_gpus_are_what_nvidia_smi_reports(nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi(
        'echo "$@" > "${0%/*}/asked"\n'
        'echo "0, NVIDIA H200, 37, 5500, 143771, 41, 120.50"\n'
        'echo "1, NVIDIA H200, [N/A], 0, 143771, [Not Supported], [Unknown Error]"'
    )
    first, second = system_snapshot().gpu
    assert (first.index, first.name, first.percent) == (0, "NVIDIA H200", 37)
    assert first.memory_used_bytes == 5500 * MEBIBYTE
    assert first.memory_total_bytes == 143771 * MEBIBYTE
    assert (first.temperature_celsius, first.power_watts) == (41, 120.5)
    assert (second.percent, second.memory_used_bytes, second.temperature_celsius, second.power_watts) == (
        None,
        0,
        None,
        None,
    )


def test_without_nvidia_smi_there_are_no_gpus_and_no_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_readings.read_gpus() == []


def test_a_run_has_its_first_and_last_snapshot_as_json_text() -> None:
    with PerformanceMonitor(interval=3600) as monitor:
        burn(0.2)
        assert monitor.performance_end is None
    start, end = (
        SystemSnapshot.model_validate_json(text) for text in (monitor.performance_start, monitor.performance_end)
    )
    usage = Usage.between(start, end)
    assert usage.process_cpu_seconds >= 0.18  # the kernel counts in steps of 10 ms
    assert monitor.summary.usage == usage


def test_the_peak_of_memory_is_found_between_snapshots() -> None:
    # Larger than whatever this process had before, so that its high-water mark must rise.
    ballast = system_snapshot().process.peak_rss_bytes
    with PerformanceMonitor(interval=3600) as monitor:
        held = bytearray(b"x") * ballast
        del held
    end = SystemSnapshot.model_validate_json(monitor.performance_end)
    assert monitor.summary.peak_rss_bytes > ballast
    assert end.process.rss_bytes < monitor.summary.peak_rss_bytes


def test_it_looks_again_every_interval_in_the_background(patient: None) -> None:
    looks = Looks(4)
    with PerformanceMonitor(interval=0.05, exporters=[looks]) as monitor:
        looks.wait()
    assert monitor.summary.snapshots == len(looks.seen)
    moments = [snapshot.monotonic_seconds for snapshot in looks.seen]
    assert moments == sorted(moments)
    # But for the last one, which comes when the run ends.
    assert min(later - earlier for earlier, later in itertools.pairwise(moments[:-1])) >= 0.049
    assert all(snapshot.cpu.percent is None or 0 <= snapshot.cpu.percent <= 100 for snapshot in looks.seen)


class HalfBusy:
    """A machine whose processors are half in use, at a moment that the test says."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._like = system_snapshot(gpu=[])

    def __call__(self, **_: object) -> SystemSnapshot:
        cpu = self._like.cpu.model_copy(
            update={"busy_seconds": self.seconds, "total_seconds": 2 * self.seconds, "percent": None}
        )
        return self._like.model_copy(update={"cpu": cpu, "monotonic_seconds": self.seconds})


@pytest.mark.parametrize("run_seconds", [0.01, 0.4, 0.999, 40.0])
def test_a_percentage_covers_a_second_at_least_of_this_run_and_those_before(
    run_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = HalfBusy()
    monkeypatch.setattr("simulation.system_snapshot.system_snapshot", machine)
    seen: queue.Queue[SystemSnapshot] = queue.Queue()
    monitor = PerformanceMonitor(interval=3600, exporters=[seen.put])
    looks = []
    for _ in range(8 + int(CPU_SECONDS / run_seconds)):
        with monitor:
            looks.append(seen.get(timeout=60))
            machine.seconds += run_seconds
        looks.append(seen.get(timeout=60))
    for look in looks:
        expected = None if look.monotonic_seconds < CPU_SECONDS else pytest.approx(50.0)
        assert look.cpu.percent == expected, look.monotonic_seconds
    assert looks[-1].cpu.percent is not None


def test_stop_does_not_wait_for_the_interval_nor_for_an_exporter_that_hangs() -> None:
    released = threading.Event()
    for exporter in (lambda _: None, lambda _: released.wait(60) and None):
        monitor = PerformanceMonitor(interval=86_400, exporters=[exporter])
        began = time.monotonic()
        monitor.start()
        monitor.stop()
        assert time.monotonic() - began < STOP_SECONDS + 10
        assert monitor.performance_end is not None
    released.set()


def test_failures_end_nothing_and_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(snapshot: SystemSnapshot) -> None:
        raise OSError("disk full")

    good = Looks(4)
    with PerformanceMonitor(interval=0.02, exporters=[refuse, good]):
        good.wait()
    (warning,) = warnings(caplog)
    assert "disk full" in warning


def test_a_gpu_program_that_fails_leaves_the_rest_of_the_snapshots(
    nvidia_smi: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    nvidia_smi("exit 9")
    looks = Looks(3)
    with PerformanceMonitor(interval=0.02, exporters=[looks]) as monitor:
        looks.wait()
    assert json.loads(monitor.performance_end)["gpu"] == []
    (warning,) = warnings(caplog)
    assert "GPUs" in warning and "9" in warning


def test_readings_of_the_gpu_reach_the_record_and_the_summary(nvidia_smi: Callable[[str], None], patient: None) -> None:
    nvidia_smi(
        'n=$(cat "${0%/*}/n" 2>/dev/null || echo 0); echo $((n + 1)) > "${0%/*}/n"\n'
        'test "$n" = 1 && used=900 || used=100; echo "0, NVIDIA H200, 5, $used, 143771, 40, 80"'
    )
    looks = Looks(3)
    with PerformanceMonitor(interval=0.1, exporters=[looks]) as monitor:
        looks.wait()
    for text in (monitor.performance_start, monitor.performance_end):
        (gpu,) = json.loads(text)["gpu"]
        assert gpu["memory_used_bytes"] == 100 * MEBIBYTE
    assert monitor.summary.peak_gpu_memory_bytes == 900 * MEBIBYTE


def test_when_snapshots_fail_the_run_goes_on_without_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise PermissionError("/proc is closed")

    monkeypatch.setattr("psutil.virtual_memory", fail)
    with PerformanceMonitor(interval=3600) as monitor:
        pass
    assert (monitor.performance_start, monitor.performance_end, monitor.summary) == (None, None, None)
    assert any("/proc is closed" in warning for warning in warnings(caplog))


def test_an_error_of_the_run_passes_through_and_the_monitor_ends() -> None:
    with pytest.raises(ZeroDivisionError), PerformanceMonitor(interval=3600) as monitor:
        1 / 0  # noqa: B018
    assert monitor.performance_end is not None


def test_a_monitor_watches_one_run_after_the_other_and_never_two_at_once() -> None:
    monitor = PerformanceMonitor()
    assert (monitor.performance_start, monitor.performance_end, monitor.summary) == (None, None, None)
    texts = []
    for _ in range(2):
        with monitor:
            with pytest.raises(RuntimeError, match="already"):
                monitor.start()
            assert monitor.performance_end is None
        texts += [monitor.performance_start, monitor.performance_end]
    moments = [SystemSnapshot.model_validate_json(text).monotonic_seconds for text in texts]
    assert moments == sorted(moments) and len(set(moments)) == 4


def test_files_are_named_by_container_type_and_time_and_hold_snapshots(tmp_path: Path, patient: None) -> None:
    folder = tmp_path / "metrics"
    with PerformanceMonitor(interval=3600, exporters=[file_exporter(folder)], container_type="gpu-1"):
        pass
    paths = sorted(folder.iterdir())
    assert len(paths) == 2
    for path in paths:
        snapshot = SystemSnapshot.model_validate_json(path.read_text())
        assert path.name == f"system_metrics_gpu-1_{snapshot.timestamp:%Y%m%dT%H%M%S.%fZ}.json"


def test_a_folder_that_cannot_be_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="taken"):
        file_exporter(tmp_path / "taken")


def test_what_is_given_comes_before_the_environment_and_that_before_the_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_monitor_settings().model_dump(exclude={"folder"}) == {
        "enabled": False,
        "interval": 30.0,
        "export_format": "both",
        "pushgateway": None,
        "container_type": "unknown",
    }
    for name, value in zip(VARIABLES, ("true", "5", "http://gateway:9091", "json", "cpu-lane"), strict=True):
        monkeypatch.setenv(name, value)
    settings = load_monitor_settings({"interval": 2, "export_format": None})
    assert (settings.enabled, settings.interval, settings.export_format) == (True, 2.0, "json")
    assert settings.container_type == "cpu-lane"
    assert settings.pushgateway.get_secret_value() == "http://gateway:9091"
    assert settings.gateway is None, "the format is json alone"
    assert load_monitor_settings({"enabled": False}).enabled is False


@pytest.mark.parametrize(
    ("given", "variable", "words"),
    [
        ({"interval": 0}, None, ["interval=0", "0.1"]),
        ({"interval": float("nan")}, None, ["interval=nan", "finite"]),
        ({"export_format": "xml"}, None, ["export_format='xml'", "json"]),
        ({"pushgateway": "ftp://gateway"}, None, ["pushgateway='ftp://gateway'", "http://HOST:PORT"]),
        ({"pushgateway": "http://gateway:port"}, None, ["gateway:port", "http://HOST:PORT"]),
        ({"enabled": True, "export_format": "prometheus"}, None, ["prometheus", "URL"]),
        ({}, ("MONITORING_INTERVAL", "soon"), ["MONITORING_INTERVAL='soon'", "number"]),
        ({}, ("MONITORING_ENABLED", "perhaps"), ["MONITORING_ENABLED='perhaps'", "boolean"]),
        ({}, ("MONITORING_EXPORT_FORMAT", "xml"), ["MONITORING_EXPORT_FORMAT='xml'"]),
        ({}, ("CONTAINER_TYPE", "a/b"), ["CONTAINER_TYPE='a/b'"]),
    ],
)
def test_a_bad_setting_is_refused_by_name_value_and_expectation(
    monkeypatch: pytest.MonkeyPatch, given: dict, variable: tuple[str, str] | None, words: list[str]
) -> None:
    if variable:
        monkeypatch.setenv(*variable)
    with pytest.raises(MonitorSettingsError) as refused:
        load_monitor_settings(given)
    for word in words:
        assert word in str(refused.value)


def test_a_gateway_given_without_password_takes_that_of_the_environment_for_the_same_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PUSHGATEWAY_URL", "http://ann:pa55word@gateway:9091/")
    for given in ("gateway:9091", "http://gateway:9091"):
        settings = load_monitor_settings({"pushgateway": given})
        assert settings.pushgateway.get_secret_value() == "http://ann:pa55word@gateway:9091"
    for given in ("http://gateway:9092", "https://gateway:9091"):
        settings = load_monitor_settings({"pushgateway": given})
        assert settings.pushgateway.get_secret_value() == given


@pytest.mark.parametrize(
    "url", ["ftp://ann:pa55word@gateway", "http://ann:pa55word@gateway:x", "http://ann:pa/55word@gateway", "pa55word@"]
)
def test_no_message_and_no_form_of_the_settings_shows_a_password(url: str) -> None:
    with pytest.raises(MonitorSettingsError) as refused:
        load_monitor_settings({"pushgateway": url})
    assert "55word" not in str(refused.value)
    settings = load_monitor_settings({"pushgateway": "http://ann:pa55word@gateway:9091"})
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "pa55word" not in shown
    assert without_credentials(settings.pushgateway.get_secret_value()) == "http://gateway:9091"
