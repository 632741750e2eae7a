"""A real PushGateway and a real Prometheus as processes on loopback, at ports that were free."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from simulation.monitor_settings import MonitorSettings, load_monitor_settings

MONITORING = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
START_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    """A server that runs; it ends with the test."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            return json.loads(answer.read())


@dataclass(frozen=True)
class PushGateway(Server):
    """Debian's prometheus-pushgateway."""

    @property
    def secret_url(self) -> SecretStr:
        return SecretStr(self.url)

    def settings(self, **values: object) -> MonitorSettings:
        given = {"enabled": True, "export_format": "prometheus", "pushgateway": self.url, "container_type": "cpu"}
        return load_monitor_settings(given | values)

    def groups(self) -> list[dict[str, str]]:
        return [group["labels"] for group in self.get("/api/v1/metrics")["data"]]

    def pause(self) -> None:
        """It takes connections, and never answers."""
        self.process.send_signal(signal.SIGSTOP)


@dataclass(frozen=True)
class Prometheus(Server):
    """Debian's prometheus."""

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = self.get(f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        return answer["data"]["result"]

    def reason_against(self, expression: str) -> str | None:
        """What is wrong with an expression, None where it can be evaluated."""
        try:
            self.query(expression)
        except urllib.error.HTTPError as error:
            return json.loads(error.read())["error"]
        return None


@contextmanager
def pushgateway(folder: Path) -> Iterator[PushGateway]:
    port = _free_port()
    # Debian's keeps what was pushed in a file of the machine's unless told otherwise.
    kept = f"--persistence.file={folder / 'pushed'}"
    command = [
        "prometheus-pushgateway",
        f"--web.listen-address=127.0.0.1:{port}",
        kept,
        "--push.disable-consistency-check",
    ]
    with _process(command, folder / "pushgateway.log") as process:
        server = PushGateway(port, process)
        wait_for(lambda: server.get("/api/v1/status"))
        yield server


@contextmanager
def prometheus(folder: Path, targets: Mapping[str, str], every: str = "1s") -> Iterator[Prometheus]:
    """The shipped configuration and rules, scraping `every` so often what `targets` names by job."""
    text = (MONITORING / "prometheus.yml").read_text().replace("15s", every)
    (folder / "prometheus.yml").write_text(text)
    (folder / "rules").symlink_to(MONITORING / "rules")
    (folder / "targets").mkdir()
    for job, address in targets.items():
        (folder / "targets" / f"{job}.yml").write_text(f'- targets: ["{address}"]\n')
    port = _free_port()
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _process(command, folder / "prometheus.log") as process:
        server = Prometheus(port, process)
        wait_for(lambda: server.get("/api/v1/status/buildinfo"))
        yield server


def let_monitors_end() -> None:
    """Wait for what the monitors of runs that are over still push in the background."""
    for thread in threading.enumerate():
        if thread.name == "performance-monitor":
            thread.join(START_SECONDS)
            assert not thread.is_alive()


def wait_for(probe: Callable[[], Any], seconds: float = START_SECONDS) -> Any:
    """Ask until there is something; a server that does not answer yet is nothing."""
    end = time.monotonic() + seconds
    while True:
        try:
            if found := probe():
                return found
            last: object = found
        except OSError as error:
            last = error
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain; the last answer: {last}"
        time.sleep(0.1)


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
