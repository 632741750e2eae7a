"""Time limits: a run that takes too long is ended and listed as such, the others go on; a campaign's own limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from jobs.batch_generation import vqe_batch_generation
from jobs.simulation_pool import declare_simulation_pool
from qpipe_assets.campaigns.lanes import LANES
from qpipe_assets.campaigns.selection import select_campaign
from qpipe_assets.campaigns.status import CampaignStatus, State, campaign_status
from simulation.runner import checkpoint_path
from tests.dagster_layer.conftest import Deployment
from tests.dagster_layer.fake_simulation import FAILING_SEED, HANGING_SEED, warm_up
from tests.dagster_layer.test_vqe_runs import failure, landed

JOB = vqe_batch_generation.name
PROJECT = Path(__file__).resolve().parents[2]


def campaign_file(folder: Path, **limits: float) -> str:
    path = folder / "mine.yaml"
    asked = {"name": "mine", "molecules": "H2", "ansatz": "UCCSD", "optimizers": "COBYLA", "init_strategies": "random"}
    path.write_text(yaml.safe_dump(asked | {"seeds": [1, HANGING_SEED, FAILING_SEED, 2, 3], "limits": limits}))
    return str(path)


def run(deployment: Deployment, **config: Any) -> dg.ExecuteInProcessResult:
    warm_up()
    return deployment.run(JOB, "H2", {"vqe_runs": config})


def status(deployment: Deployment, path: str) -> CampaignStatus:
    return campaign_status(select_campaign(campaign_file=path), deployment.installation, deployment.instance)


def counts(found: CampaignStatus) -> dict[str, int]:
    return {str(state): count for state, count in found.counts().items() if count}


@pytest.mark.parametrize("where", ["campaign file", "run config", "environment"])
def test_a_run_over_its_limit_is_listed_as_timed_out_and_the_others_land(
    where: str, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = campaign_file(tmp_path, **({"run_seconds": 3} if where == "campaign file" else {}))
    if where == "environment":
        monkeypatch.setenv("QPIPE_RUN_SECONDS", "3")
    beside = {"run_seconds": 3.0} if where == "run config" else {}
    result = run(deployment, campaign_file=path, **beside)
    assert not result.success
    told = failure(result).user_failure_data
    assert told.description.startswith("2 of 5 runs of H2 failed; the others have landed:")
    assert (told.metadata["failed"].value, told.metadata["timed_out"].value) == (2, 1)
    assert len(landed(deployment)) == 3

    found = status(deployment, path)
    assert counts(found) == {"done": 3, "failed": 1, "timed_out": 1}
    [late] = [one for one in found.runs if one.state is State.TIMED_OUT]
    assert late.run.options.seed == HANGING_SEED
    assert late.reason == (
        "it took longer than 3 s and was ended; ask for it again, and it goes on from its checkpoint, or give it more "
        "with run_seconds"
    )
    assert checkpoint_path(deployment.settings.checkpoints, late.run.experiment_id).exists()


def test_a_run_that_timed_out_is_tried_again_by_the_next_launch(deployment: Deployment, tmp_path: Path) -> None:
    path = campaign_file(tmp_path, run_seconds=2)
    run(deployment, campaign_file=path)
    again = run(deployment, campaign_file=path, run_seconds=1.0)
    assert failure(again).user_failure_data.description.startswith("2 of 2 runs of H2 failed")
    assert counts(status(deployment, path)) == {"done": 3, "failed": 1, "timed_out": 1}


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_limit_that_is_none_is_refused_before_any_work(
    seconds: float, deployment: Deployment, tmp_path: Path
) -> None:
    result = run(deployment, campaign_file=campaign_file(tmp_path), run_seconds=seconds)
    words = f"run_seconds is {seconds:g}, expected a number of seconds above 0"
    assert failure(result).user_failure_data.description == words
    assert landed(deployment) == []


def test_a_campaign_ends_after_thirty_hours_and_waits_behind_all_others_with_a_slot_left_for_them() -> None:
    tags = vqe_batch_generation.tags
    assert tags["dagster/max_runtime"] == str(30 * 3600)
    assert int(tags["dagster/priority"]) < 0
    instance = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    assert instance["run_monitoring"]["enabled"], "or nobody looks at the limit"
    # Lanes let one run each go ahead.
    assert len(LANES) < instance["concurrency"]["runs"]["max_concurrent_runs"]


def test_campaigns_share_one_slot_from_the_first_on_unless_somebody_has_said_otherwise(tmp_path: Path) -> None:
    settings = {"concurrency": yaml.safe_load((PROJECT / "dagster.yaml").read_text())["concurrency"]}
    with dg.instance_for_test(overrides=settings, temp_dir=str(tmp_path)) as instance:
        for expected in ((1, True), (3, False)):
            declare_simulation_pool(instance)
            declare_simulation_pool(instance)
            [limit] = instance.event_log_storage.get_pool_limits()
            assert (limit.name, limit.limit, limit.from_default) == ("simulation", *expected)
            instance.event_log_storage.set_concurrency_slots("simulation", 3)
