"""A real campaign through the job, its metrics as a real Prometheus has scraped them: every name, every label."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.servers import Prometheus, PushGateway, prometheus, wait_for
from tests.monitoring.test_scrape import BATCH_NAMES, RUN_LABELS, RUN_NAMES, SYSTEM_NAMES

pytestmark = pytest.mark.prometheus

OPTIMIZERS = ["L-BFGS-B", "Powell"]
CAMPAIGN = {
    "name": "scraped",
    "molecules": ["H2", "CO2"],
    "ansatz": "EfficientSU2",
    "optimizers": OPTIMIZERS,
    "init_strategies": "random",
    "seeds": 1,
    "limits": {"threshold": 1e-6},
}
OUR_LABELS = {"molecule", "init_strategy", "seed", "experiment", "reference"}


def tiers(home: Path, gateway: str, *arguments: str) -> list[dict[str, Any]]:
    """Rows that the command prints, as a process of its own."""
    environment = os.environ | {
        "QPIPE_HOME": str(home),
        "QPIPE_WORKERS": "1",
        "MONITORING_ENABLED": "true",
        "MONITORING_INTERVAL": "0.1",
        "MONITORING_EXPORT_FORMAT": "prometheus",
        "PUSHGATEWAY_URL": gateway,
        "CONTAINER_TYPE": "cpu",
    }
    command = [sys.executable, "-m", "qpipe_cli.main", "tiers", *arguments, "--format", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def scraped(server: Prometheus, name: str, count: int = 1) -> list[dict[str, str]]:
    """Labels of everything of this name that was ever scraped, as soon as there is so much of it.

    What is of a machine ends with its runs, and a scrape that comes too late on a busy one ends everything for a while.
    """
    found = f"last_over_time({name}[10m])"
    wait_for(lambda: len(server.query(found)) >= count)
    return [one["metric"] for one in server.query(found)]


def numbers(server: Prometheus, expression: str) -> list[float]:
    return [float(one["value"][1]) for one in server.query(expression)]


def test_every_metric_of_a_real_campaign_is_scraped_with_its_labels(gateway: PushGateway, tmp_path: Path) -> None:
    path = tmp_path / "scraped.yaml"
    path.write_text(yaml.safe_dump(CAMPAIGN))
    (tmp_path / "prometheus").mkdir()
    with prometheus(tmp_path / "prometheus", {"pushgateway": gateway.address}, every="100ms") as server:
        tiers(tmp_path / "home", gateway.url, "run", "-f", str(path))

        assert len(RUN_NAMES) == 16
        for name in RUN_NAMES:
            found = scraped(server, f"qp_vqe_{name}", len(OPTIMIZERS))
            assert sorted(one["optimizer"] for one in found) == sorted(OPTIMIZERS), name
            for one in found:
                assert one.keys() >= RUN_LABELS | OUR_LABELS, name
                assert (one["job"], one["container_type"], one["molecule_symbols"]) == ("qp-vqe", "cpu", "HH")
                assert (one["molecule"], one["basis_set"], one["seed"]) == ("H2", "sto3g", "1")
        assert {one["reference"] for one in scraped(server, "qp_vqe_accuracy_score")} == {"FCI"}

        assert len(SYSTEM_NAMES) == 5
        for name in SYSTEM_NAMES:
            for one in scraped(server, f"qp_sys_{name}"):
                assert (one["job"], one["container_type"]) == ("qp-sys-cpu", "cpu"), name
                assert one["instance"].startswith(socket.gethostname()), name

        for name in BATCH_NAMES | {"infeasible"}:
            for one in scraped(server, f"qp_batch_{name}"):
                assert (one["job"], one["tier"]) == ("qp-batch", "scraped"), name
                assert ("lane" in one) == (name != "total"), name

        [*_, whole] = tiers(tmp_path / "home", gateway.url, "status", "-f", str(path))
        states = {"done": "done", "pending": "pending", "running": "in_progress", "infeasible": "infeasible"}
        for state, name in states.items():
            counted = f"sum(last_over_time(qp_batch_{name}[10m]))"
            assert wait_for(lambda counted=counted, state=state: numbers(server, counted) == [whole[state]]), name
        done = server.query("last_over_time(qp_batch_done[10m])")
        lanes = {one["metric"]["lane"]: float(one["value"][1]) for one in done}
        assert lanes == {"cpu": 2, "gpu1": 0}
