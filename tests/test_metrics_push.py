"""Metrics on a PushGateway: names, labels, keys, credentials; a gateway that is down or slow ends nothing."""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from qpipe_resources import push_gateway
from qpipe_resources.metrics_push import _system_samples, forget_machine, performance_monitor, push_run
from simulation.monitor_settings import MonitorSettings, load_monitor_settings
from simulation.provenance import host
from simulation.record import VQEDecoratedResult
from simulation.system_snapshot import Container, system_snapshot
from tests.monitoring.servers import wait_for
from tests.synthetic import plain_record


@dataclass
class Gateway:
    """A server that remembers what it was asked; method, path, headers and body of every request."""

    url: str = ""
    requests: list[tuple[str, str, dict[str, str], str]] = field(default_factory=list)
    status: int = 202

    def samples(self, request: int) -> dict[str, tuple[dict[str, str], float]]:
        text = self.requests[request][3]
        families = text_string_to_metric_families(text)
        return {s.name: (s.labels, s.value) for family in families for s in family.samples}


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    seen = Gateway()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            seen.requests.append((self.command, self.path, dict(self.headers), body))
            self.send_response(seen.status)
            self.end_headers()

        do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    seen.url = f"http://127.0.0.1:{server.server_port}"
    yield seen
    server.shutdown()
    server.server_close()


def settings(url: str, **values: object) -> MonitorSettings:
    return load_monitor_settings(
        {"enabled": True, "export_format": "prometheus", "pushgateway": url, "container_type": "cpu"} | values
    )


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor waits at its end for all that is left to do, however busy the machine is."""
    monkeypatch.setattr("simulation.monitor.STOP_SECONDS", 30.0)


def record() -> VQEDecoratedResult:
    return VQEDecoratedResult.model_validate_json(json.dumps(plain_record(1)))


def test_the_machines_metrics_are_pushed_under_a_key_of_this_process_and_stay_from_run_to_run(gateway: Gateway) -> None:
    watched = settings(gateway.url)
    monitor = performance_monitor(watched)
    for pushes in (2, 4):
        with monitor:
            pass
        assert wait_for(lambda pushes=pushes: len(gateway.requests) == pushes)
    forget_machine(watched, os.getpid())
    methods = [method for method, *_ in gateway.requests]
    assert methods == ["PUT", "PUT", "PUT", "PUT", "DELETE"]
    (path,) = {path for _, path, *_ in gateway.requests}
    instance = f"{host()}:{os.getpid()}".replace(":", "%3A")
    assert path == f"/metrics/job/qp-sys-cpu/container_type/cpu/instance/{instance}"
    assert set(gateway.samples(1)) >= {
        "qp_sys_cpu_load_1m",
        "qp_sys_memory_percent",
        "qp_sys_memory_used_bytes",
        "qp_sys_uptime_seconds",
    }
    assert "# TYPE qp_sys_memory_percent gauge" in gateway.requests[0][3]
    assert "# HELP qp_sys_memory_percent" in gateway.requests[0][3]


def test_memory_of_a_container_is_pushed_beside_the_machines_where_it_has_a_limit() -> None:
    snapshot = system_snapshot(gpu=[])
    for limit, told in ((8000, (75.0, 6000)), (None, (None, None))):
        container = Container(type="cpu", memory_used_bytes=6000, memory_limit_bytes=limit)
        of = {name: value for name, *_, value in _system_samples(snapshot.model_copy(update={"container": container}))}
        assert of["qp_sys_memory_percent"] == snapshot.memory.percent
        assert (of.get("qp_sys_container_memory_percent"), of.get("qp_sys_container_memory_used_bytes")) == told


CAMPAIGN = """
from qpipe_resources.simulation_task import SimulationTask
from qpipe_resources.simulation_workers import watched_pool
from simulation.molecules import catalogue
from simulation.options import VQEOptions

pool = watched_pool(workers=1, threads=1)
tasks = [SimulationTask(catalogue()["H2"], VQEOptions(seed=seed)) for seed in (1, 2)]
print([type(outcome).__name__ for outcome in pool.run(tasks)], pool._idle[0].process.pid)
"""


def test_a_workers_machine_stays_on_the_gateway_from_run_to_run_and_goes_with_the_campaigns_process(
    gateway: Gateway,
) -> None:
    asked = {"MONITORING_ENABLED": "true", "MONITORING_EXPORT_FORMAT": "prometheus", "PUSHGATEWAY_URL": gateway.url}
    done = subprocess.run(
        [sys.executable, "-c", CAMPAIGN], env=os.environ | asked, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    outcomes, worker = done.stdout.rsplit(maxsplit=1)
    assert outcomes == "['Finished', 'Finished']"
    of_machine = [(method, path) for method, path, *_ in gateway.requests if "/job/qp-sys" in path]
    *before, last = (method for method, _ in of_machine)
    assert (set(before), last) == ({"PUT"}, "DELETE")
    assert {path.rsplit("%3A", 1)[-1] for _, path in of_machine} == {worker}


def test_a_runs_metrics_have_all_names_and_labels(gateway: Gateway) -> None:
    one = record()
    assert push_run(one, settings(gateway.url))
    ((method, path, _, _),) = gateway.requests
    parts = path.removeprefix("/metrics/").split("/")
    key = dict(zip(parts[::2], parts[1::2], strict=True))
    initial = one.vqe_result.initial_data
    assert method == "PUT"
    assert (key["job"], key["container_type"], key["optimizer"]) == ("qp-vqe", "cpu", initial.optimizer)
    samples = gateway.samples(0)
    assert samples["qp_vqe_minimum_energy"][1] == one.vqe_result.minimum
    assert samples["qp_vqe_iterations_count"][1] == len(one.vqe_result.iteration_list)
    labels = set(samples["qp_vqe_minimum_energy"][0]) | set(key)
    assert labels >= {"container_type", "molecule_id", "molecule_symbols", "basis_set", "optimizer", "backend_type"}


def test_runs_that_differ_in_seed_or_start_never_overwrite_each_other(gateway: Gateway) -> None:
    one = record()
    initial = one.vqe_result.initial_data
    for changes in ({"seed": 1}, {"seed": 2}, {"init_strategy": "zeros"}):
        varied = one.vqe_result.model_copy(update={"initial_data": initial.model_copy(update=changes)})
        push_run(one.model_copy(update={"vqe_result": varied}), settings(gateway.url))
    assert len({path for _, path, *_ in gateway.requests}) == 3


def test_values_with_special_characters_are_escaped_in_the_path(gateway: Gateway) -> None:
    initial = record().vqe_result.initial_data.model_copy(update={"optimizer": "a/b c+d"})
    odd = record().model_copy(update={"vqe_result": record().vqe_result.model_copy(update={"initial_data": initial})})
    push_run(odd, settings(gateway.url))
    encoded = base64.urlsafe_b64encode(b"a/b c+d").decode()
    assert f"/optimizer@base64/{encoded}" in gateway.requests[0][1]


def test_credentials_of_the_url_are_sent_as_basic_authentication_and_logged_nowhere(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gateway.status = 401
    guarded = settings(gateway.url.replace("http://", "http://ann:pa55%2Fword@"))
    assert not push_run(record(), guarded)
    with performance_monitor(guarded):
        pass
    for _, _, headers, _ in gateway.requests:
        assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"ann:pa55/word"
    assert "401" in caplog.text
    assert "pa55" not in caplog.text


def test_a_gateway_that_is_down_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert push_run(record(), settings(url)) is False
    with performance_monitor(settings(url)) as monitor:
        pass
    assert monitor.performance_end is not None
    push_gateway._resting_until.clear()
    forget_machine(settings(url), 7)
    assert "the machine's metrics of process 7 were not deleted from" in caplog.text
    assert "refused" in caplog.text


def test_a_run_does_not_wait_for_a_gateway_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_gateway, "PUSH_SECONDS", 60.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with performance_monitor(settings(url)):
            pass
        assert time.monotonic() - began < 10


def test_the_format_says_where_metrics_go(gateway: Gateway, tmp_path: Path, patient: None) -> None:
    folder = tmp_path / "metrics"
    assert performance_monitor(settings(gateway.url, enabled=False)) is None
    assert not push_run(record(), settings(gateway.url, enabled=False))
    assert not push_run(record(), settings(gateway.url, export_format="json"))
    with performance_monitor(settings(gateway.url, export_format="json", folder=folder)):
        pass
    assert wait_for(lambda: len(list(folder.iterdir())) == 2)
    assert gateway.requests == []
    with performance_monitor(settings(gateway.url, export_format="both", folder=folder)):
        pass
    assert wait_for(lambda: len(gateway.requests) == 2 and len(list(folder.iterdir())) == 4)
    forget_machine(settings(gateway.url, enabled=False), 7)
    forget_machine(settings(gateway.url, export_format="json"), 7)
    assert len(gateway.requests) == 2
