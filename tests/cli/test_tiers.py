"""`qpipe tiers`: what the tiers hold, how far they are, and a small campaign computed by the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dagster import DagsterInstance

from qpipe_resources.deployment import resources_for
from tests.cli.conftest import qpipe, rows
from tests.dagster_layer.fake_simulation import FAILING_SEED, fake_workers_class

MINE = """
name: mine
molecules: [H2, CO2]
ansatz: EfficientSU2
optimizers: [[L-BFGS-B], [COBYLA]]
init_strategies: [random]
seeds: 1..2
limits: {max_iterations: 5}
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    return str(path)


def test_the_list_gives_the_size_of_every_tier() -> None:
    found = rows(qpipe("tiers", "list", "--format", "json"))
    assert [(row["campaign"], row["runs"]) for row in found] == [
        ("tier-1", 3200),
        ("tier-2", 1200),
        ("tier-3", 1440),
        ("tier-4", 180),
    ]


def test_the_status_of_all_tiers_sums_to_their_totals_where_nothing_was_computed(home: Path) -> None:
    found = rows(qpipe("tiers", "status", "--format", "json"))
    states = ("done", "running", "failed", "timed_out", "pending", "infeasible")
    assert [(row["campaign"], sum(row[state] for state in states), row["total"]) for row in found] == [
        ("tier-1", 3200, 3200),
        ("tier-2", 1200, 1200),
        ("tier-3", 1440, 1440),
        ("tier-4", 180, 180),
    ]
    assert {(row["done"], row["running"], row["failed"], row["eta_seconds"]) for row in found} == {(0, 0, 0, None)}


def test_a_dry_run_prints_the_runs_in_their_order_and_computes_none(home: Path) -> None:
    part = ("--tier", "1", "--molecules", "CO2,H2", "--seeds", "1..2", "--optimizers", "L-BFGS-B,CG")
    result = qpipe("tiers", "run", *part, "--dry-run", "--format", "json")
    found = rows(result)
    assert [(r["number"], r["molecule"], r["optimizer"], r["init_strategy"], r["seed"]) for r in found[:5]] == [
        (1, "H2", "L-BFGS-B", "random", 1),
        (2, "H2", "L-BFGS-B", "random", 2),
        (3, "H2", "L-BFGS-B", "hf", 1),
        (4, "H2", "L-BFGS-B", "hf", 2),
        (5, "H2", "CG", "random", 1),
    ]
    assert [r["state"] for r in found] == ["pending"] * 8 + ["infeasible"] * 8
    assert "CO2: 8 infeasible: the circuit has 30 qubits" in result.stderr
    assert "an active_space of 14 electrons in 10 orbitals fits" in result.stderr
    assert not (home / "raw-results" / "experiments").exists()


def test_a_campaign_file_is_computed_listed_and_gone_on_with(home: Path, mine: str) -> None:
    [held] = rows(qpipe("tiers", "list", "-f", mine, "--format", "json"))
    assert (held["campaign"], held["runs"]) == ("mine", 8)
    first = qpipe("tiers", "run", "-f", mine, "--seeds", "1", "--format", "json")
    assert [(r["molecule"], r["done"], r["infeasible"], r["total"]) for r in rows(first)] == [
        ("H2", 2, 0, 2),
        ("CO2", 0, 2, 2),
        ("all", 2, 2, 4),
    ]
    [*_, whole] = rows(qpipe("tiers", "status", "-f", mine, "--format", "json"))
    assert (whole["done"], whole["pending"], whole["infeasible"], whole["total"]) == (2, 2, 4, 8)
    assert whole["eta_seconds"] > 0
    result = qpipe("tiers", "run", "-f", mine, "--molecules", "H2", "--format", "json")
    assert rows(result)[-1]["done"] == 4
    with DagsterInstance.from_config(str(home / "dagster")) as instance:
        limits = {run.tags["dagster/max_runtime"] for run in instance.get_runs()}
    assert limits == {"0"}, "the daemon's limit is of what it has launched"
    table = qpipe("tiers", "status", "-f", mine)
    assert table.exit_code == 0 and "time left" in table.stdout
    assert rows(qpipe("sql", "select count(*) as n from ml_run_summary", "--format", "json")) == [{"n": 4}]


def test_what_has_landed_reaches_the_tables_although_another_run_failed(
    home: Path, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = {"simulation_workers": fake_workers_class()()}
    monkeypatch.setattr("jobs.definitions.resources_for", lambda *asked: {**resources_for(*asked), **workers})
    Path(mine).write_text(MINE.replace("seeds: 1..2", f"seeds: [1, {FAILING_SEED}]"))
    result = qpipe("tiers", "run", "-f", mine, "--molecules", "H2", "--format", "json")
    assert result.exit_code == 1
    [*_, whole] = json.loads(result.stdout)
    assert (whole["done"], whole["failed"]) == (2, 2)
    assert rows(qpipe("sql", "select count(*) as n from ml_run_summary", "--format", "json")) == [{"n": 2}]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--tier", "5"), "tier is 5, expected one of 1, 2, 3, 4"),
        (("status", "--tier", "2", "--molecules", "N2"), "not in campaign tier-2"),
        (("run", "-f", "absent.yaml"), "campaign file absent.yaml cannot be read"),
        (("run", "--tier", "1", "--seeds", "x"), "'x' is no seed"),
        (("run", "--tier", "1", "-f", "absent.yaml"), "exclude each other"),
        (("run", "--tier", "1", "--run-seconds", "0"), "--run-seconds is 0, expected a number of seconds above 0"),
    ],
)
def test_bad_input_is_refused_before_any_work(home: Path, arguments: tuple[str, ...], words: str) -> None:
    result = qpipe("tiers", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not home.exists()
