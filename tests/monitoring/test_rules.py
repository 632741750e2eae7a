"""Rules and alerts: promtool accepts them, every alert fires and clears in its unit test and has its runbook entry."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulation.metrics import CHEMICAL_ACCURACY_MHA
from tests.monitoring.servers import MONITORING

RULES = MONITORING / "rules"
RUNBOOK = MONITORING.parents[1] / "docs" / "monitoring.md"
ASKED_FOR = {
    "BatchStalled": "10m",
    "BatchFailureRate": "5m",
    "BatchLaneIdle": "15m",
    "AccuracyLow": "5m",
    "CpuSaturated": "10m",
    "MemoryNearlyFull": "10m",
    "GpuHot": "5m",
    "ServiceDown": "5m",
    "RedpandaConnectErrors": "10m",
}
"""The alerts that the field's operators have, and for how long each condition must hold."""


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def unit_tests() -> dict[str, dict[str, Any]]:
    files = [yaml.safe_load(path.read_text()) for path in sorted((RULES / "tests").glob("*.yml"))]
    return {test["name"]: test for file in files for test in file["tests"]}


def promtool(*arguments: object) -> str:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.prometheus
def test_promtool_accepts_the_configuration_and_its_rules() -> None:
    assert "SUCCESS" in promtool("check", "config", MONITORING / "prometheus.yml")


@pytest.mark.prometheus
@pytest.mark.parametrize("path", sorted((RULES / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_every_alert_fires_and_clears(path: Path) -> None:
    promtool("test", "rules", path)


@pytest.mark.prometheus
@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_a_unit_test_would_notice_that_its_alert_never_fires(rule: dict[str, Any], tmp_path: Path) -> None:
    broken = {"groups": [{"name": "broken", "rules": [rule | {"expr": f"({rule['expr']}) and vector(1) == 2"}]}]}
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(broken))
    test = {"rule_files": ["alerts.yml", str(RULES / "recording.yml")], "tests": [unit_tests()[rule["alert"]]]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test | {"evaluation_interval": "1m"}))
    done = subprocess.run(["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, check=False)
    assert done.returncode == 1


def test_each_alert_has_a_test_that_is_quiet_then_fires_then_clears() -> None:
    tests = unit_tests()
    assert set(tests) == {rule["alert"] for rule in alerts()}
    for name, test in tests.items():
        steps = test["alert_rule_test"]
        assert {step["alertname"] for step in steps} == {name}
        assert [bool(step.get("exp_alerts")) for step in steps] == [False, True, False]


def test_the_alerts_that_were_asked_for_are_there_with_their_patience() -> None:
    patience = {rule["alert"]: rule["for"] for rule in alerts()}
    assert {name: patience.get(name) for name in ASKED_FOR} == ASKED_FOR


def test_each_alert_has_an_entry_in_the_runbook_where_it_points() -> None:
    headings = re.findall(r"^### (\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == [rule["alert"] for rule in alerts()]
    for rule in alerts():
        assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{rule['alert'].lower()}"


def test_chemical_accuracy_is_the_libraries() -> None:
    assert f"<= bool {CHEMICAL_ACCURACY_MHA})" in (RULES / "recording.yml").read_text()


def test_each_scrape_job_has_its_targets_on_loopback_only() -> None:
    jobs = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    files = {path.stem: yaml.safe_load(path.read_text()) for path in (MONITORING / "targets").glob("*.yml")}
    assert [job["file_sd_configs"] for job in jobs] == [[{"files": [f"targets/{job['job_name']}.yml"]}] for job in jobs]
    assert set(files) == {job["job_name"] for job in jobs}
    assert [job["job_name"] for job in jobs if job.get("honor_labels")] == ["pushgateway"]
    addresses = [target for groups in files.values() for group in groups for target in group["targets"]]
    assert len(set(addresses)) == len(addresses)
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+", address) for address in addresses)
