"""What lies on a real PushGateway: a group a run, counts as they are, nothing stale; its silence costs little."""

from __future__ import annotations

import base64
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from pydantic import SecretStr

from qpipe_resources import push_gateway
from qpipe_resources.batch_metrics import LaneCounts, push_batch
from qpipe_resources.exporter_settings import ExporterSettings, ExporterSettingsError, load_exporter_settings
from qpipe_resources.metrics_push import forget_machine, performance_monitor, push_run
from qpipe_resources.push_gateway import Group, Sample, delete_stale, pushed_groups
from simulation.record import VQEDecoratedResult
from tests.monitoring.own_names import record
from tests.monitoring.servers import PushGateway, let_monitors_end, wait_for

LIFETIMES = ExporterSettings().lifetimes
CPU = LaneCounts("cpu", done=3, failed=1, pending=4, in_progress=2, infeasible=1, last_completion=1_800_000_000.0)
GPU = LaneCounts("gpu1", done=0, failed=0, pending=9, in_progress=0)


def varied(one: VQEDecoratedResult, **changes: object) -> VQEDecoratedResult:
    initial = one.vqe_result.initial_data.model_copy(update=changes)
    return one.model_copy(update={"vqe_result": one.vqe_result.model_copy(update={"initial_data": initial})})


@pytest.mark.prometheus
def test_runs_that_differ_in_anything_lie_beside_each_other_and_the_same_run_replaces_itself(
    gateway: PushGateway,
) -> None:
    one = record()
    runs = [
        *(varied(one, seed=seed) for seed in (1, 2)),
        varied(one, init_strategy="zeros"),
        varied(one, optimizer="a/b c+d ü"),
        one.model_copy(update={"basis_set": "cc-pvdz"}),
        one.model_copy(update={"experiment_id": "another circuit"}),
        record(molecule="LiH"),
    ]
    for run in (*runs, *runs):
        assert push_run(run, gateway.settings())
    assert len(gateway.groups()) == len(runs)
    assert {group["optimizer"] for group in gateway.groups()} >= {"a/b c+d ü"}


@pytest.mark.prometheus
def test_a_campaigns_counts_are_its_state(gateway: PushGateway) -> None:
    assert push_batch("1", [CPU, GPU], gateway.settings())
    assert push_batch("2", [GPU], gateway.settings())
    (group,) = [group for group in gateway.get("/api/v1/metrics")["data"] if group["labels"]["tier"] == "1"]
    assert group["labels"] == {"job": "qp-batch", "tier": "1"}
    values = {
        (name, metric["labels"].get("lane")): float(metric["value"])
        for name, family in group.items()
        if name.startswith("qp_batch_")
        for metric in family["metrics"]
    }
    assert values == {
        ("qp_batch_total", None): 20,
        **{("qp_batch_done", "cpu"): 3, ("qp_batch_done", "gpu1"): 0},
        **{("qp_batch_failed", "cpu"): 1, ("qp_batch_failed", "gpu1"): 0},
        **{("qp_batch_pending", "cpu"): 4, ("qp_batch_pending", "gpu1"): 9},
        **{("qp_batch_in_progress", "cpu"): 2, ("qp_batch_in_progress", "gpu1"): 0},
        **{("qp_batch_infeasible", "cpu"): 1, ("qp_batch_infeasible", "gpu1"): 0},
        ("qp_batch_last_completion_ts", "cpu"): 1_800_000_000,
    }
    push_batch("1", [GPU], gateway.settings())
    assert len(gateway.groups()) == 2


def test_a_count_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"done of lane 'cpu' is -1, expected"):
        LaneCounts("cpu", done=-1, failed=0, pending=0, in_progress=0)


@pytest.mark.prometheus
def test_groups_are_deleted_when_their_lifetime_is_over_and_others_never(gateway: PushGateway) -> None:
    url = gateway.secret_url
    push_run(varied(record(), optimizer="a/b"), gateway.settings())
    push_batch("1", [CPU], gateway.settings())
    Group(url, "qp-sys-cpu", {"instance": "killed:1", "empty": ""}).push([("qp_sys_cpu_percent", "", {}, 1.0)])
    Group(url, "qp-vqeserver", {"instance": "else"}).push([("their_metric", "", {}, 1.0)])

    now = time.time()
    assert delete_stale(url, LIFETIMES, now) == []
    assert [group.job for group in delete_stale(url, LIFETIMES, now + 700)] == ["qp-sys-cpu"]
    assert [group.job for group in delete_stale(url, LIFETIMES, now + 3700)] == ["qp-vqe"]
    assert [group.job for group in delete_stale(url, LIFETIMES, now + 180_000)] == ["qp-batch"]
    assert [group.job for group in pushed_groups(url)] == ["qp-vqeserver"]


@contextmanager
def answering(text: bytes) -> Iterator[tuple[str, list[str]]]:
    """A server that answers everything so: its address, and the Authorization of each request."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def test_who_sweeps_signs_in_as_who_pushes() -> None:
    with answering(b'{"status": "success", "data": []}') as (address, seen):
        assert delete_stale(SecretStr(f"http://ann:pa55%2Fword@{address}"), LIFETIMES, 0.0) == []
        assert delete_stale(SecretStr(f"http://{address}"), LIFETIMES, 0.0) == []
    assert seen == ["Basic " + base64.b64encode(b"ann:pa55/word").decode(), ""]


def test_what_is_no_gateway_is_named_without_its_password() -> None:
    with answering(b"<html>") as (address, _), pytest.raises(ValueError, match="PUSHGATEWAY_URL") as refused:
        delete_stale(SecretStr(f"http://ann:secret@{address}"), LIFETIMES, 0.0)
    assert address in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.prometheus
def test_a_push_keeps_a_group_alive(gateway: PushGateway) -> None:
    push_batch("1", [CPU], gateway.settings())
    time.sleep(1.1)
    between = time.time()
    push_batch("1", [CPU], gateway.settings())
    assert delete_stale(gateway.secret_url, {"qp-batch": 60.0}, between + 60) == []
    assert len(gateway.groups()) == 1


@pytest.mark.prometheus
def test_a_gateway_that_hangs_costs_a_campaign_one_wait_and_one_warning(
    gateway: PushGateway, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Group] = []
    push = Group.push

    def counted(group: Group, samples: Iterable[Sample]) -> None:
        attempts.append(group)
        push(group, samples)

    monkeypatch.setattr(Group, "push", counted)
    monkeypatch.setattr(push_gateway, "PUSH_SECONDS", 0.2)
    monkeypatch.setattr(push_gateway, "REST_SECONDS", 86_400.0)
    gateway.pause()
    for number in range(50):
        assert not push_run(record(number), gateway.settings())
        assert not push_batch("1", [CPU], gateway.settings())
    assert len(attempts) == 1
    assert len([line for line in caplog.records if line.levelno >= logging.WARNING]) == 1


@pytest.mark.prometheus
def test_after_its_rest_a_gateway_is_tried_again(gateway: PushGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = gateway.settings(pushgateway=f"{gateway.url}/nowhere")
    assert not push_run(record(), wrong)
    monkeypatch.setattr(push_gateway.Group, "push", lambda group, samples: None)
    assert not push_run(record(), wrong)
    push_gateway._resting_until[wrong.pushgateway.get_secret_value()] -= push_gateway.REST_SECONDS  # they have passed
    assert push_run(record(), wrong)


@pytest.mark.prometheus
def test_the_machine_of_a_process_lies_there_from_run_to_run_until_it_is_forgotten(gateway: PushGateway) -> None:
    watched = gateway.settings()
    monitor = performance_monitor(watched)
    for _ in range(2):
        with monitor:
            (group,) = wait_for(gateway.groups)
            assert group["job"] == "qp-sys-cpu"
        assert len(gateway.groups()) == 1
    let_monitors_end()
    forget_machine(watched, os.getpid())
    # The gateway answers a DELETE before it has done it.
    wait_for(lambda: not gateway.groups())


def test_lifetimes_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPIPE_METRICS_RUN_SECONDS", "7200")
    assert load_exporter_settings({"port": None, "interval": 3}).lifetimes["qp-vqe"] == 7200
    assert load_exporter_settings({"interval": 3}).interval == 3


@pytest.mark.parametrize(
    ("variable", "value"),
    [("QPIPE_EXPORTER_PORT", "70000"), ("QPIPE_METRICS_BATCH_SECONDS", "0"), ("QPIPE_EXPORTER_INTERVAL", "often")],
)
def test_a_setting_that_cannot_be_used_is_named_with_its_value(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ExporterSettingsError, match=f"{variable}='{value}'"):
        load_exporter_settings()
