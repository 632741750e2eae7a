"""A finished campaign as a real Prometheus sees it: runs, counts, the state of Dagster, and the end of all that."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.monitoring.dashboards import DASHBOARDS
from deploy.monitoring.expressions import metric_names
from qpipe_resources.batch_metrics import LaneCounts, push_batch
from qpipe_resources.exporter_settings import ExporterSettings
from qpipe_resources.metrics_push import forget_machine, performance_monitor, push_run
from qpipe_resources.push_gateway import delete_stale
from tests.monitoring.own_names import pushed_names, record
from tests.monitoring.servers import MONITORING, Prometheus, PushGateway, let_monitors_end, prometheus, wait_for

pytestmark = pytest.mark.prometheus

RUN_LABELS = {"container_type", "molecule_id", "molecule_symbols", "basis_set", "optimizer", "backend_type"}
RUN_NAMES = set(
    "total_time hamiltonian_time mapping_time vqe_time minimum_energy iterations_count optimal_parameters_count "
    "reference_energy energy_error_hartree energy_error_millihartree accuracy_score iterations_per_second "
    "time_per_iteration overhead_ratio efficiency setup_ratio".split()
)
SYSTEM_NAMES = {"cpu_percent", "cpu_load_1m", "memory_percent", "memory_used_bytes", "uptime_seconds"}
BATCH_NAMES = {"total", "done", "failed", "pending", "in_progress", "last_completion_ts"}
CPU = LaneCounts("cpu", done=2, failed=1, pending=0, in_progress=0, infeasible=1, last_completion=1_800_000_000.0)


def drawn_names() -> set[str]:
    """What the dashboards use."""
    queries = [query for dashboard in DASHBOARDS for panel in dashboard.panels for query in panel.queries]
    return set().union(*(metric_names(query.expr) for query in queries))


def names_in(server: Prometheus) -> set[str]:
    return {one["metric"]["__name__"] for one in server.query('{__name__=~".+"}')}


def labels_of(server: Prometheus, name: str) -> dict[str, str]:
    return wait_for(lambda: server.query(name))[0]["metric"]


def by_molecule(server: Prometheus, name: str) -> dict[str, float]:
    return {one["metric"]["molecule"]: float(one["value"][1]) for one in server.query(name)}


def gone(server: Prometheus, name: str) -> bool:
    """Whether the gateway answers and has nothing of this name: a scrape that comes too late has nothing at all."""
    return bool(server.query(f'up{{job="pushgateway"}} == 1 unless on () {name}'))


@contextmanager
def exporter(home: Path, gateway: PushGateway, **settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process of its own, and its address."""
    environment = os.environ | {"QPIPE_HOME": str(home), "PUSHGATEWAY_URL": gateway.url} | settings
    command = [sys.executable, "-m", "qpipe_cli.main", "exporter", "--port", "0", "--interval", "0.5"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://(127\.0\.0\.1:\d+)/metrics", line):
                yield process, found[1]
                return
        pytest.fail(f"the exporter ended with {process.wait()}")
    finally:
        process.kill()
        process.communicate()


def test_every_metric_of_a_finished_campaign_is_scraped_with_its_labels_and_goes_when_it_is_stale(
    gateway: PushGateway, tmp_path: Path
) -> None:
    (tmp_path / "prometheus").mkdir()
    with prometheus(tmp_path / "prometheus", {"pushgateway": gateway.address}) as server:
        watched = gateway.settings(interval=0.5)
        with performance_monitor(watched):
            assert push_run(record(1), gateway.settings())
            assert push_run(record(2, "LiH"), gateway.settings())
            assert push_batch("1", [CPU], gateway.settings())
            for name in [*(f"qp_sys_{name}" for name in SYSTEM_NAMES), *(f"qp_vqe_{name}" for name in RUN_NAMES)]:
                assert wait_for(lambda name=name: server.query(name)), name
            assert labels_of(server, "qp_sys_cpu_load_1m").keys() >= {"container_type", "instance"}

        let_monitors_end()
        forget_machine(watched, os.getpid())

        for name in RUN_NAMES:
            assert labels_of(server, f"qp_vqe_{name}").keys() >= RUN_LABELS, name
        assert wait_for(lambda: by_molecule(server, "qp_vqe_minimum_energy").keys() == {"H2", "LiH"})
        # What was pushed keeps its own labels: the scrape's are not put beside them.
        assert labels_of(server, "qp_vqe_minimum_energy")["job"] == "qp-vqe"
        for name in BATCH_NAMES:
            lane = set() if name == "total" else {"lane"}
            assert labels_of(server, f"qp_batch_{name}").keys() >= {"tier", *lane}, name
        assert {name for name in pushed_names() if "gpu" not in name and "container" not in name} == {
            *(f"qp_vqe_{name}" for name in RUN_NAMES),
            *(f"qp_sys_{name}" for name in SYSTEM_NAMES),
            *(f"qp_batch_{name}" for name in (*BATCH_NAMES, "infeasible")),
        }

        (failed,) = wait_for(lambda: server.query("qpipe:batch_failure:ratio"))
        assert float(failed["value"][1]) == pytest.approx(1 / 3)
        accurate = "qpipe:chemically_accurate:ratio"
        assert wait_for(lambda: by_molecule(server, accurate) == {"H2": 1.0, "LiH": 1.0})

        assert wait_for(lambda: gone(server, "qp_sys_cpu_percent")), "the machine's metrics end with its process"
        delete_stale(gateway.secret_url, ExporterSettings().lifetimes, time.time() + 4000)
        assert wait_for(lambda: gone(server, "qp_vqe_minimum_energy"))
        assert wait_for(lambda: server.query("qp_batch_total")), "a campaign's counts live on"


def test_the_exporter_is_scraped_deletes_stale_groups_and_ends_when_it_is_told(
    gateway: PushGateway, tmp_path: Path
) -> None:
    push_run(record(1), gateway.settings())
    push_batch("1", [CPU], gateway.settings())
    (tmp_path / "prometheus").mkdir()
    with exporter(tmp_path / "home", gateway, QPIPE_METRICS_RUN_SECONDS="1") as (process, address):
        targets = {"pushgateway": gateway.address, "qpipe": address}
        with prometheus(tmp_path / "prometheus", targets) as server:
            assert wait_for(lambda: server.query('qp_dagster_runs{dagster_job="vqe_experiment",status="SUCCESS"}'))
            assert wait_for(lambda: server.query("qp_dagster_daemon_healthy == 0"))
            assert wait_for(lambda: server.query("qp_exporter_groups_deleted_total == 1"))
            assert [group["job"] for group in gateway.groups()] == ["qp-batch"]
            up = wait_for(lambda: found if len(found := server.query("up == 1")) == 2 else None)
            assert {one["metric"]["job"] for one in up} == {"pushgateway", "qpipe"}

            gateway.process.kill()
            assert wait_for(lambda: server.query('qp_exporter_part_up{part="pushgateway"} == 0'))
            assert wait_for(lambda: server.query('qp_exporter_part_up{part="runs"} == 1'))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_what_is_listed_of_prometheus_and_the_gateway_is_what_they_have(gateway: PushGateway, tmp_path: Path) -> None:
    push_batch("1", [CPU], gateway.settings())
    (tmp_path / "prometheus").mkdir()
    with prometheus(tmp_path / "prometheus", {"pushgateway": gateway.address}) as server:
        (tmp_path / "prometheus" / "targets" / "prometheus.yml").write_text(f'- targets: ["{server.address}"]\n')
        for name in ("pushgateway", "prometheus"):
            lines = (MONITORING / "exposed" / f"{name}.txt").read_text().splitlines()
            listed = {line for line in lines if not line.startswith(("#", "ALERTS"))}
            needed = listed & drawn_names()
            assert wait_for(lambda needed=needed: needed <= names_in(server)), name
            assert wait_for(lambda listed=listed: len(listed & names_in(server)) > len(listed) / 2), name


def test_the_exporter_refuses_a_setting_that_cannot_be_used(tmp_path: Path) -> None:
    environment = os.environ | {"QPIPE_HOME": str(tmp_path), "QPIPE_EXPORTER_PORT": "many"}
    command = [sys.executable, "-m", "qpipe_cli.main", "exporter"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "QPIPE_EXPORTER_PORT='many'" in done.stderr
    assert not list(tmp_path.iterdir())
