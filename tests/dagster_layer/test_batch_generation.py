"""vqe_batch_generation: a tier on a molecule; the landed is skipped, what cannot fit listed, a kill loses nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import yaml

from jobs.batch_generation import LANE_TAG
from jobs.lost_runs import lost_runs
from qpipe_assets.campaign_progress import CAMPAIGN_TAG, PROCESS_TAG, process_lives, process_tag
from qpipe_assets.campaigns.campaign_file import Campaign
from qpipe_assets.campaigns.lanes import lane_of
from qpipe_assets.campaigns.selection import select_campaign
from qpipe_assets.campaigns.status import MEASURED, CampaignStatus, RunStatus, State, campaign_status
from qpipe_assets.tables.installation import open_installation
from qpipe_resources.settings import Settings
from tests.dagster_layer.conftest import Deployment
from tests.dagster_layer.fake_simulation import FAILING_SEED
from tests.dagster_layer.test_vqe_runs import failure, landed, metadata

JOB = "vqe_batch_generation"
STARTED = dg.DagsterRunStatus.STARTED
NOBODY = 2**22 + 1
"""No process has this id."""
PROJECT = Path(__file__).resolve().parents[2]


def batch(deployment: Deployment, molecule: str, **config: Any) -> dg.ExecuteInProcessResult:
    return deployment.run(JOB, molecule, {"vqe_runs": config})


def counted(result: dg.ExecuteInProcessResult) -> tuple[int, int, int, int]:
    found = metadata(result)
    return found["asked"], found["computed"], found["skipped"], found["infeasible"]


def status_of(campaign: Campaign, deployment: Deployment) -> CampaignStatus:
    return campaign_status(campaign, deployment.installation, deployment.instance)


def states(status: CampaignStatus) -> dict[str, int]:
    """The states that occur; whatever they are, they sum to the campaign's size."""
    counts = status.counts()
    assert sum(counts.values()) == len(status.runs)
    return {str(state): count for state, count in counts.items() if count}


def test_a_tier_on_a_molecule_lands_and_reaches_the_tables_and_is_computed_once(deployment: Deployment) -> None:
    first = batch(deployment, "H2", tier=1, seeds="1..2")
    assert first.success
    assert counted(first) == (32, 32, 0, 0)
    assert len(landed(deployment)) == deployment.rows()["ml_run_summary"] == 32
    assert counted(batch(deployment, "H2", tier=1, seeds="1..3")) == (48, 16, 32, 0)
    assert counted(batch(deployment, "H2", tier=1, seeds="3", force=True)) == (16, 16, 0, 0)
    assert deployment.rows()["vqe_results"] == 48


def test_the_runs_start_in_the_tiers_order(deployment: Deployment) -> None:
    result = batch(deployment, "H2", tier=3, seeds="1..2")
    started = [
        line.split(" x2 ")[0].split()[-1] + " " + line.split()[-2]
        for entry in deployment.instance.all_logs(result.run_id)
        if (line := entry.user_message).startswith("started ")
    ]
    assert started == [
        f"{ansatz} {optimizer}"
        for ansatz in ("RealAmplitudes", "ExcitationPreserving")
        for optimizer in ("L-BFGS-B", "COBYLA", "Nelder-Mead")
        for _ in range(4)
    ]


def test_what_cannot_fit_is_listed_with_the_space_that_would_and_is_no_failure(deployment: Deployment) -> None:
    result = batch(deployment, "CO2", tier=1)
    assert result.success
    assert counted(result) == (400, 0, 0, 400)
    listed = metadata(result)["infeasible_runs"]
    assert "400 runs: sto3g EfficientSU2 x2: the circuit has 30 qubits" in listed
    assert "an active_space of 14 electrons in 10 orbitals fits" in listed
    found = status_of(select_campaign(1, molecules="CO2"), deployment)
    assert states(found) == {"infeasible": 400}
    assert "active_space of 14 electrons" in (found.runs[0].reason or "")


def test_without_the_campaigns_own_wish_a_run_that_cannot_fit_is_not_passed_over(deployment: Deployment) -> None:
    asked = {"ansatz": ["EfficientSU2"], "init_strategy": ["random"], "seed": [1]}
    result = deployment.run("vqe_experiment", "CO2", {"vqe_runs": asked})
    assert metadata(result)["infeasible"] == 0


def test_a_molecule_that_the_tier_does_not_have_has_nothing_to_do(deployment: Deployment) -> None:
    result = batch(deployment, "N2", tier=2)
    assert result.success
    assert counted(result) == (0, 0, 0, 0)
    messages = [entry.user_message for entry in deployment.instance.all_logs(result.run_id)]
    assert "nothing to do on N2: campaign tier-2 is of H2, HeH+, LiH, BeH2, H2O" in messages


def test_without_a_campaign_in_its_configuration_a_run_computes_the_tier_of_its_tag(deployment: Deployment) -> None:
    assert counted(deployment.run(JOB, "CO2")) == (400, 0, 0, 400)
    assert counted(deployment.run(JOB, "LiH", tags={"qpipe/default-tier": "4"})) == (60, 0, 0, 60)
    assert counted(batch(deployment, "LiH", tier=2, seeds="1..15")) == (240, 0, 0, 240)
    wrong = deployment.run(JOB, "LiH", tags={"qpipe/default-tier": "four"})
    assert "'four', expected the number of a tier" in failure(wrong).user_failure_data.description


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"tier": 7}, "tier is 7, expected one of 1, 2, 3, 4"),
        ({"tier": 1, "basis": ["cc-pvdz"], "threshold": 1e-3}, "decides on basis, threshold: leave them out"),
        ({"tier": 1, "seeds": "26"}, "seeds 26: not in campaign tier-1"),
        ({"campaign_file": "/nowhere/mine.yaml"}, "campaign file /nowhere/mine.yaml cannot be read"),
    ],
)
def test_an_impossible_choice_fails_before_any_work(deployment: Deployment, config: dict[str, Any], words: str) -> None:
    result = batch(deployment, "H2", **config)
    assert words in failure(result).user_failure_data.description
    assert landed(deployment) == []


def test_seeds_without_a_campaign_are_refused(deployment: Deployment) -> None:
    result = deployment.run("vqe_experiment", "H2", {"vqe_runs": {"seeds": "1..3"}})
    assert "give one of these, too" in failure(result).user_failure_data.description


def test_a_campaign_file_is_computed_like_a_tier(deployment: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    asked = {"name": "mine", "molecules": "H2", "ansatz": "UCCSD", "optimizers": ["COBYLA"], "seeds": 1}
    path.write_text(yaml.safe_dump(asked | {"init_strategies": "random"}))
    result = batch(deployment, "H2", campaign_file=str(path))
    assert counted(result) == (1, 1, 0, 0)
    run = deployment.instance.get_run_by_id(result.run_id)
    assert run is not None and run.tags[CAMPAIGN_TAG] == "mine"
    assert states(status_of(select_campaign(campaign_file=path), deployment)) == {"done": 1}


def test_the_status_is_right_before_after_and_when_runs_fail(deployment: Deployment) -> None:
    part = select_campaign(1, molecules="H2,CO2", seeds=f"1,{FAILING_SEED}", optimizers="COBYLA")
    before = status_of(part, deployment)
    assert states(before) == {"pending": 4, "infeasible": 4}
    assert before.eta_seconds() is None
    result = batch(deployment, "H2", tier=1, seeds=f"1,{FAILING_SEED}", optimizers="COBYLA")
    assert not result.success
    found = status_of(part, deployment)
    assert states(found) == {"done": 2, "failed": 2, "infeasible": 4}
    assert {one.reason for one in found.runs if one.state is State.FAILED} == {
        "ArithmeticError: the energy of evaluation 3 is not finite"
    }
    whole = status_of(select_campaign(1, molecules="H2"), deployment)
    assert states(whole) == {"done": 2, "failed": 2, "pending": 396}
    assert whole.counts("H2") == whole.counts()


def test_what_failed_stays_failed_while_other_parts_are_computed(deployment: Deployment) -> None:
    whole = select_campaign(1, molecules="H2")
    batch(deployment, "H2", tier=1, seeds=str(FAILING_SEED), optimizers="COBYLA")
    for seed in range(1, 6):
        assert batch(deployment, "H2", tier=1, seeds=str(seed), optimizers="COBYLA").success
    assert states(status_of(whole, deployment)) == {"done": 10, "failed": 2, "pending": 388}


def test_the_time_that_is_left_is_pending_over_parallelism_times_the_mean_of_the_last_twenty() -> None:
    status = CampaignStatus("mine", workers=2, live=3)
    status.computed = [(float(moment), 100.0) for moment in range(5)]
    status.computed += [(float(100 + moment), 2.0 if moment % 2 else 4.0) for moment in range(MEASURED)]
    assert status.mean_seconds == 3.0
    assert status.eta_seconds() == 0.0
    [(_, [run, *_])] = select_campaign(1, molecules="H2").plan()
    status.runs = [RunStatus("H2", run, State.PENDING)] * 60 + [RunStatus("H2", run, State.DONE)] * 40
    assert status.eta_seconds() == 60 / (2 * 3) * 3.0


def test_a_lane_is_a_tag_of_the_run_by_its_molecule_and_no_part_of_the_experiment(deployment: Deployment) -> None:
    assert {m: lane_of(m) for m in ("H2", "HeH+", "NH3", "CO2", "LiH", "BeH2", "N2", "H2O", "CH4")} == {
        **dict.fromkeys(("H2", "HeH+", "CH4"), "cpu"),
        **dict.fromkeys(("NH3", "CO2"), "gpu1"),
        **dict.fromkeys(("LiH", "BeH2", "N2", "H2O"), "gpu2"),
    }
    result = batch(deployment, "LiH", tier=4)
    run = deployment.instance.get_run_by_id(result.run_id)
    assert run is not None and run.tags[LANE_TAG] == "gpu2"
    limits = yaml.safe_load((PROJECT / "dagster.yaml").read_text())["concurrency"]["runs"]["tag_concurrency_limits"]
    assert {"key": LANE_TAG, "value": {"applyLimitPerUniqueValue": True}, "limit": 1} in limits
    batch(deployment, "H2", tier=1, seeds="1", optimizers="COBYLA")
    assert counted(batch(deployment, "H2", tier=1, seeds="1", optimizers="COBYLA", gpu=True, cpu_fallback=True)) == (
        2,
        0,
        2,
        0,
    )


def test_runs_whose_process_is_gone_are_given_up_and_no_others(persistent: Deployment) -> None:
    here, me = socket.gethostname(), os.getpid()
    alive = process_tag("me")[PROCESS_TAG].removeprefix("me:")
    job = persistent.definitions.resolve_job_def(JOB)

    def under_way(process: str, of_another: bool = False, status: dg.DagsterRunStatus = STARTED) -> str:
        run = persistent.instance.create_run_for_job(job, status=status)
        owner = "another" if of_another else run.run_id
        persistent.instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{owner}:{process}"})
        return run.run_id

    gone = [under_way(f"{here}:{NOBODY}:1.00"), under_way(f"{here}:{me}:1.00")]
    cancelled = under_way(f"{here}:{NOBODY}:1.00", status=dg.DagsterRunStatus.CANCELING)
    kept = [under_way(alive), under_way("elsewhere:1:1.00"), under_way(f"{here}:{NOBODY}:1.00", of_another=True)]
    lost_runs(dg.build_sensor_context(persistent.instance))
    statuses = {run.run_id: run.status for run in persistent.instance.get_runs()}
    assert [statuses[run] for run in gone] == [dg.DagsterRunStatus.FAILURE] * 2
    assert statuses[cancelled] is dg.DagsterRunStatus.CANCELED
    assert [statuses[run] for run in kept] == [STARTED] * 3


def test_a_clock_that_is_set_loses_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run = dg.DagsterRun(JOB)
    run = run.with_tags(process_tag(run.run_id))
    assert process_lives(run)
    # What psutil reckons on Linux: the moment of the boot by the clock as it is now, and the time since.
    boot_time = psutil._psplatform.boot_time
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: boot_time() + 3600)
    assert process_lives(run)


def test_a_run_that_ends_while_it_is_looked_at_is_no_lost_one(
    persistent: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = persistent.instance
    run = instance.create_run_for_job(persistent.definitions.resolve_job_def(JOB), status=STARTED)

    def ends(looked_at: dg.DagsterRun) -> bool:
        instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", job_name=JOB), run_id=looked_at.run_id)
        return False

    monkeypatch.setattr("jobs.lost_runs.process_lives", ends)
    lost_runs(dg.build_sensor_context(instance))
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None and ended.status is dg.DagsterRunStatus.SUCCESS


@pytest.fixture
def shared(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance on disk that other processes use as well."""
    settings.dagster_home.mkdir()
    monkeypatch.setenv("QPIPE_HOME", str(settings.home))
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    with dg.DagsterInstance.get() as instance:
        yield instance


def start(log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.dagster_layer.batch_worker", *arguments]
    with open(log, "ab") as output:
        return subprocess.Popen(command, cwd=PROJECT, stdout=output, stderr=output, start_new_session=True)


def test_killed_in_the_middle_and_launched_again_it_computes_only_what_is_missing(
    settings: Settings, shared: dg.DagsterInstance, tmp_path: Path
) -> None:
    part = select_campaign(1, molecules="H2", seeds="1..2")

    def now() -> CampaignStatus:
        return campaign_status(part, open_installation(settings), shared)

    def objects() -> dict[str, int]:
        found = settings.raw_results.glob("experiments/experiment.vqe/molecule=H2/**/*.json")
        return {path.stem: path.stat().st_mtime_ns for path in found}

    assert states(now()) == {"pending": 32}
    process = start(tmp_path / "log", "1", "H2", "1..2")
    try:
        end = time.monotonic() + 120
        while len(objects()) < 5:
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.05)
        found = now()
        assert 1 <= states(found)["running"] <= 2, "two processes compute"
        assert found.live == 1
        assert found.eta_seconds()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before, killed = objects(), now()
    assert 5 <= len(before) < 32
    assert states(killed) == {"done": len(before), "pending": 32 - len(before)}
    assert killed.live == 0
    assert start(tmp_path / "log", "1", "H2", "1..2").wait(180) == 0, (tmp_path / "log").read_text()[-3000:]
    assert states(now()) == {"done": 32}
    assert {name: moment for name, moment in objects().items() if name in before} == before
    [last, first] = shared.get_run_records(dg.RunsFilter(job_name=JOB))
    outcome = [first.dagster_run.status, last.dagster_run.status]
    assert outcome == [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS], "a kill tells nobody"
    starts = [
        entry.user_message
        for entry in shared.all_logs(last.dagster_run.run_id)
        if entry.user_message.startswith("started ")
    ]
    assert len(starts) == 32 - len(before)
    rows = open_installation(settings).lakehouse.arrow("vqe_results")["experiment_id"].to_pylist()
    assert sorted(rows) == sorted(objects())
