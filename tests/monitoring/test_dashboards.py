"""Dashboards and rules name nothing but what the stack exposes, and every expression can be evaluated."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import yaml

from deploy.monitoring.dashboards import DASHBOARDS, files
from deploy.monitoring.expressions import metric_names
from tests.monitoring.own_names import exporter_names, pushed_names
from tests.monitoring.servers import MONITORING, prometheus

GRAFANA = MONITORING / "grafana"


@functools.cache
def exposed() -> frozenset[str]:
    lists = [path.read_text().splitlines() for path in (MONITORING / "exposed").glob("*.txt")]
    listed = {line for lines in lists for line in lines if not line.startswith("#")}
    return frozenset(
        listed | pushed_names() | exporter_names() | {rule["record"] for rule in rules() if "record" in rule}
    )


def rules() -> list[dict[str, str]]:
    read = [yaml.safe_load(path.read_text()) for path in (MONITORING / "rules").glob("*.yml")]
    return [rule for file in read for group in file["groups"] for rule in group["rules"]]


def drawn() -> list[tuple[str, str]]:
    """Dashboard with panel, and expression, as Grafana reads them from the files."""
    found = []
    for path in sorted((GRAFANA / "dashboards").glob("*.json")):
        document = json.loads(path.read_text())
        for panel in document["panels"]:
            found += [(f"{path.stem}: {panel['title']}", target["expr"]) for target in panel.get("targets", ())]
    return found


def filled_in(expression: str) -> str:
    return expression.replace("$__rate_interval", "1m")


def test_the_files_are_what_the_declaration_says() -> None:
    assert {path: path.read_text() for path in (GRAFANA / "dashboards").glob("*.json")} == files()


def test_there_are_the_four_dashboards_with_the_choices_that_were_asked_for() -> None:
    assert [dashboard.title for dashboard in DASHBOARDS] == [
        "VQE runs",
        "Quality against FCI",
        "Campaign",
        "Platform",
    ]
    choices = {variable.name for dashboard in DASHBOARDS for variable in dashboard.variables}
    assert choices >= {"tier", "lane", "optimizer", "molecule", "container_type"}
    assert len(drawn()) >= 73


@pytest.mark.parametrize(("panel", "expression"), drawn())
def test_a_panel_names_only_metrics_that_the_stack_exposes(panel: str, expression: str) -> None:
    names = metric_names(expression)
    assert names, panel
    assert names <= exposed()


def test_rules_and_choices_name_only_metrics_that_the_stack_exposes() -> None:
    for rule in rules():
        assert metric_names(rule["expr"]) <= exposed(), rule
    for dashboard in DASHBOARDS:
        assert {variable.metric for variable in dashboard.variables} <= exposed()


def test_every_metric_of_a_run_and_of_a_campaign_is_on_a_dashboard() -> None:
    shown = set().union(*(metric_names(expression) for _, expression in drawn()))
    assert pushed_names() <= shown


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (job) (rate(a_total{x="b_c"}[5m])) / on (tier) group_left (q) max(d:e:f)', {"a_total", "d:e:f"}),
        ("a > 0 and b offset 1h unless c == bool 1e-6", {"a", "b", "c"}),
        ('label_replace(x, "gpu", "$1", "uuid", "(.*)") or vector(0)', {"x"}),
        ('quantile by (optimizer) (0.5, y{z=~"$molecule",w!="}"})', {"y"}),
    ],
)
def test_metric_names_are_told_from_all_else(expression: str, names: set[str]) -> None:
    assert metric_names(expression) == names


@pytest.mark.prometheus
def test_prometheus_can_evaluate_every_expression(tmp_path: Path) -> None:
    with prometheus(tmp_path, {}) as server:
        for panel, expression in drawn():
            assert server.reason_against(filled_in(expression)) is None, panel


def test_provisioning_names_no_address_and_no_password() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/qpipe.yml").read_text())["providers"]
    assert (source["type"], source["url"]) == ("prometheus", "${PROMETHEUS_URL}")
    assert provider["options"] == {"path": "${QPIPE_DASHBOARDS}"}
    assert "secureJsonData" not in source
