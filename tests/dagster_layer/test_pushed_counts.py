"""A campaign's counts on their way to a PushGateway: of the whole campaign, as the status has them, in nobody's way."""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from qpipe_assets.campaign_progress import Progress, ToldLine, ToldProgress
from qpipe_assets.campaigns import pushed_counts
from qpipe_assets.campaigns.pushed_counts import Repeated, counts_pushed, lane_counts
from qpipe_assets.campaigns.selection import select_campaign
from qpipe_assets.campaigns.status import CampaignCount, CampaignStatus, campaign_status
from qpipe_resources import push_gateway
from qpipe_resources.batch_metrics import LaneCounts
from simulation.monitor_settings import load_monitor_settings
from tests.dagster_layer.conftest import Deployment
from tests.dagster_layer.fake_simulation import FAILING_SEED, HANGING_SEED, warm_up
from tests.dagster_layer.test_vqe_runs import failure

JOB = "vqe_batch_generation"
Pushed = list[tuple[str, Sequence[LaneCounts]]]


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> Pushed:
    """What would lie on a gateway, one after the other."""
    monkeypatch.setenv("MONITORING_ENABLED", "true")
    monkeypatch.setenv("MONITORING_EXPORT_FORMAT", "prometheus")
    monkeypatch.setenv("PUSHGATEWAY_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(pushed_counts, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(pushed_counts, "SHARE", 0)
    seen: Pushed = []
    monkeypatch.setattr(pushed_counts, "push_batch", lambda tier, lanes, settings: seen.append((tier, lanes)))
    return seen


def mine(folder: Path, **changes: Any) -> str:
    path = folder / "mine.yaml"
    asked = {"name": "mine", "molecules": ["H2", "HeH+", "LiH", "CO2"], "ansatz": "EfficientSU2"}
    asked |= {"optimizers": "COBYLA", "init_strategies": "random", "seeds": [1, 2, FAILING_SEED]}
    path.write_text(yaml.safe_dump(asked | changes))
    return str(path)


def summed(lanes: Sequence[LaneCounts]) -> dict[str, tuple[int, ...]]:
    return {one.lane: (one.done, one.failed, one.pending, one.in_progress, one.infeasible) for one in lanes}


def test_the_counts_are_of_the_whole_campaign_whatever_part_is_computed(
    persistent: Deployment, pushed: Pushed, tmp_path: Path
) -> None:
    path = mine(tmp_path)
    persistent.run(JOB, "H2", {"vqe_runs": {"campaign_file": path, "seeds": f"1,{FAILING_SEED}"}})
    assert {tier for tier, _ in pushed} == {"mine"}
    begin, end = pushed[0][1], pushed[-1][1]
    assert {one.lane: one.total for one in begin} == {"cpu": 6, "gpu1": 3, "gpu2": 3}
    assert summed(end) == {"cpu": (1, 1, 4, 0, 0), "gpu1": (0, 0, 0, 0, 3), "gpu2": (0, 0, 3, 0, 0)}
    assert {one.lane: one.last_completion is None for one in end} == {"cpu": False, "gpu1": True, "gpu2": True}
    found = campaign_status(select_campaign(campaign_file=path), persistent.installation, persistent.instance)
    assert lane_counts(found) == end
    persistent.run(JOB, "LiH", {"vqe_runs": {"campaign_file": path}})
    assert summed(pushed[-1][1]) == {"cpu": (1, 1, 4, 0, 0), "gpu1": (0, 0, 0, 0, 3), "gpu2": (2, 1, 0, 0, 0)}


def test_a_tier_is_pushed_under_its_number_and_what_takes_too_long_has_failed(
    persistent: Deployment, pushed: Pushed, tmp_path: Path
) -> None:
    persistent.run(JOB, "CO2", {"vqe_runs": {"tier": 1}})
    assert {tier for tier, _ in pushed} == {"1"}
    assert sum(one.total for one in pushed[-1][1]) == 3200
    path = mine(tmp_path, molecules="H2", seeds=[1, HANGING_SEED], limits={"run_seconds": 3})
    warm_up()
    persistent.run(JOB, "H2", {"vqe_runs": {"campaign_file": path}})
    assert summed(pushed[-1][1]) == {"cpu": (1, 1, 0, 0, 0)}
    assert any(one.in_progress for _, lanes in pushed for one in lanes), "counted while it goes on"


def test_without_monitoring_or_without_a_campaign_nothing_is_counted(
    persistent: Deployment, pushed: Pushed, monkeypatch: pytest.MonkeyPatch
) -> None:
    persistent.run("vqe_experiment", "H2", {"vqe_runs": {"init_strategy": ["random"], "seed": [1]}})
    monkeypatch.setenv("MONITORING_EXPORT_FORMAT", "json")
    persistent.run(JOB, "CO2", {"vqe_runs": {"tier": 1}})
    assert pushed == []


def test_a_gateway_that_takes_connections_and_never_answers_costs_a_campaign_one_wait(
    persistent: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pushed_counts, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(push_gateway, "PUSH_SECONDS", 1.0)
    monkeypatch.setattr(push_gateway, "_resting_until", {})
    path = mine(tmp_path, molecules="H2", seeds="1..4")
    persistent.run(JOB, "H2", {"vqe_runs": {"campaign_file": path, "seeds": "1"}})  # what is slow the first time only
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MONITORING_ENABLED", "true")
        monkeypatch.setenv("MONITORING_EXPORT_FORMAT", "prometheus")
        monkeypatch.setenv("PUSHGATEWAY_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert persistent.run(JOB, "H2", {"vqe_runs": {"campaign_file": path}}).success
    [line] = [one.getMessage() for one in caplog.records if "not pushed" in one.getMessage()]
    assert "is left alone for 60 s" in line


def test_a_monitor_setting_that_cannot_be_used_ends_the_run_before_any_work(
    persistent: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONITORING_INTERVAL", "often")
    result = persistent.run(JOB, "CO2", {"vqe_runs": {"tier": 1}})
    assert "MONITORING_INTERVAL" in failure(result).user_failure_data.description


def test_a_campaign_that_is_counted_again_sees_what_has_changed_and_reads_no_line_twice(
    persistent: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mine(tmp_path, molecules=["H2", "HeH+"])
    count = CampaignCount(select_campaign(campaign_file=path), persistent.installation, persistent.instance)

    def states(found: CampaignStatus) -> dict[str, int]:
        return {str(state): number for state, number in found.counts().items() if number}

    assert states(count.now()) == {"pending": 6}
    persistent.run(JOB, "H2", {"vqe_runs": {"campaign_file": path}})
    assert states(count.now()) == {"done": 2, "failed": 1, "pending": 3}
    persistent.run(JOB, "HeH+", {"vqe_runs": {"campaign_file": path, "seeds": "1"}})
    assert states(count.now()) == {"done": 3, "failed": 1, "pending": 2}
    read: list[int] = []
    fetch = persistent.instance.get_records_for_run

    def counted(*arguments: Any) -> Any:
        found = fetch(*arguments)
        read.append(len(found.records))
        return found

    monkeypatch.setattr(persistent.instance, "get_records_for_run", counted)
    assert states(count.now()) == {"done": 3, "failed": 1, "pending": 2}
    assert read == [0, 0]


def test_counts_of_two_molecules_at_once_are_pushed_in_the_order_in_which_they_were_made(
    persistent: Deployment,
    pushed: Pushed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    campaign = select_campaign(campaign_file=mine(tmp_path))
    made: list[int] = []
    taken: list[int] = []

    def slowly(status: CampaignStatus) -> list[LaneCounts]:
        made.append(len(made))
        mine = made[-1]
        time.sleep(0.05)
        return [LaneCounts("cpu", done=mine, failed=0, pending=0, in_progress=0)]

    monkeypatch.setattr(pushed_counts, "lane_counts", slowly)
    monkeypatch.setattr(pushed_counts, "push_batch", lambda tier, lanes, settings: taken.append(lanes[0].done))
    settings = load_monitor_settings()
    with (
        counts_pushed(campaign, persistent.installation, persistent.instance, settings) as first,
        counts_pushed(campaign, persistent.installation, persistent.instance, settings) as second,
    ):
        for _ in range(5):
            first()
            second()
            time.sleep(0.05)
    assert taken == sorted(taken)
    assert len(taken) >= 4


def test_asking_does_not_wait_for_what_is_going_on() -> None:
    going_on, released = threading.Event(), threading.Event()
    times: list[bool] = []

    def slow() -> None:
        times.append(going_on.is_set())
        going_on.set()
        assert released.wait(60)

    repeated = Repeated(slow, "a test")
    assert going_on.wait(60)
    for _ in range(100):
        repeated.again()
    assert times == [False]
    released.set()
    repeated.end()
    assert times == [False, True]


def test_there_is_a_pause_in_between_and_the_last_time_is_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushed_counts, "EVERY_SECONDS", 0.2)
    monkeypatch.setattr(pushed_counts, "SHARE", 0)
    times: list[float] = []
    enough, over = threading.Event(), threading.Event()
    late: list[bool] = []

    def slow() -> None:
        times.append(time.monotonic())
        late.append(over.is_set())
        if len(times) == 4:
            enough.set()

    repeated = Repeated(slow, "a test")
    end = time.monotonic() + 60
    while not enough.wait(0.01) and time.monotonic() < end:
        repeated.again()
    over.set()
    repeated.end()
    assert late[-1] and not any(late[:-1])
    assert len(times) >= 5
    # But for the last time, which comes when it is over.
    assert min(later - earlier for earlier, later in itertools.pairwise(times[:-1])) >= 0.2


def test_what_fails_is_a_warning_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pushed_counts, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(pushed_counts, "SHARE", 0)
    tried: list[int] = []
    failed = threading.Event()

    def fails_once() -> None:
        tried.append(len(tried))
        if len(tried) == 1:
            failed.set()
            raise OSError("the disk is away")

    repeated = Repeated(fails_once, "the counts of mine")
    assert failed.wait(10)
    repeated.end()
    assert len(tried) == 2
    [line] = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert line.getMessage() == "the counts of mine could not be pushed: OSError: the disk is away"


def test_what_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(pushed_counts, "LAST_SECONDS", 0.2)
    released = threading.Event()
    repeated = Repeated(lambda: released.wait(30) and None, "the counts of mine")
    began = time.monotonic()
    repeated.end()
    assert time.monotonic() - began < 5
    assert "not waited for any longer" in caplog.text
    released.set()


def test_a_run_whose_process_died_alone_waits_again_and_says_nothing_of_an_end() -> None:
    told = ToldProgress()
    told.read([ToldLine(Progress.STARTED, "a", 1.0, ""), ToldLine(Progress.INTERRUPTED, "a", 2.0, "its process died")])
    assert (told.latest, told.last_end, told.computed) == ({"a": Progress.INTERRUPTED}, None, [])
    told.read([ToldLine(Progress.STARTED, "a", 3.0, ""), ToldLine(Progress.FINISHED, "a", 7.0, "")])
    assert (told.latest, told.last_end, told.computed) == ({"a": Progress.FINISHED}, 7.0, [(7.0, 4.0)])
