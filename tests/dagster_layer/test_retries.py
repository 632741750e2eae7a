"""What is tried again, when, and what ends a step for good."""

from collections.abc import Callable, Iterator

import dagster as dg
import pytest
from dagster import DagsterEventType

from jobs.lost_runs import lost_runs
from qpipe_assets import retries
from qpipe_assets.campaign_progress import PROCESS_TAG
from qpipe_assets.retries import CappedRetries, storage_step

Work = Callable[[dg.AssetExecutionContext], None]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def execute(instance: dg.DagsterInstance, work: Work) -> tuple[dg.ExecuteInProcessResult, list[float | None]]:
    """A step that does the work inside `storage_step`; the result and the waits before its further attempts."""

    @dg.asset(retry_policy=CappedRetries(max_retries=3, delay=0.01))
    def table(context: dg.AssetExecutionContext) -> None:
        with storage_step(context):
            work(context)

    result = dg.materialize([table], instance=instance, raise_on_error=False)
    entries = instance.all_logs(result.run_id, of_type=DagsterEventType.STEP_UP_FOR_RETRY)
    return result, [entry.dagster_event.step_retry_data.seconds_to_wait for entry in entries if entry.dagster_event]


def test_waits_double_up_to_the_longest(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "LONGEST_WAIT", 0.03)

    def down(_: dg.AssetExecutionContext) -> None:
        raise OSError("the store does not answer")

    result, waits = execute(instance, down)
    assert not result.success and waits == [0.01, 0.02, 0.03]


def test_a_store_that_comes_back_lets_the_run_succeed(instance: dg.DagsterInstance) -> None:
    answers = [OSError("the store does not answer")]

    def back_soon(_: dg.AssetExecutionContext) -> None:
        if answers:
            raise answers.pop()

    result, waits = execute(instance, back_soon)
    assert result.success and waits == [0.01]


@pytest.mark.parametrize(
    "error", [ValueError("no such column"), KeyError("no table x"), dg.Failure("refused", allow_retries=False)]
)
def test_bad_input_is_final(instance: dg.DagsterInstance, error: Exception) -> None:
    def refuse(_: dg.AssetExecutionContext) -> None:
        raise error

    result, waits = execute(instance, refuse)
    assert not result.success and waits == []


def test_an_interruption_is_no_error_to_try_again_after(instance: dg.DagsterInstance) -> None:
    def interrupted(_: dg.AssetExecutionContext) -> None:
        raise dg.DagsterExecutionInterruptedError

    result, waits = execute(instance, interrupted)
    assert not result.success and waits == []


def test_a_run_that_is_cancelled_while_it_waits_does_nothing_more(instance: dg.DagsterInstance) -> None:
    attempts = []

    def cancelled(context: dg.AssetExecutionContext) -> None:
        attempts.append(context.run.run_id)
        instance.report_run_canceled(context.run)
        raise OSError("the store does not answer")

    result, waits = execute(instance, cancelled)
    assert (len(attempts), len(waits)) == (1, 1)
    run = instance.get_run_by_id(result.run_id)
    assert run is not None and run.status is not dg.DagsterRunStatus.SUCCESS


def test_a_step_notes_its_process_so_that_its_death_is_seen(instance: dg.DagsterInstance) -> None:
    result, _ = execute(instance, lambda _: None)
    run = instance.get_run_by_id(result.run_id)
    assert run is not None and run.tags[PROCESS_TAG].startswith(run.run_id)


def test_a_run_on_tables_whose_process_died_is_given_up() -> None:
    with dg.instance_for_test() as instance:
        run = instance.add_run(dg.DagsterRun(job_name="molecule_processing"))
        noted = retries.process_tag(run.run_id)[PROCESS_TAG].split(":")
        gone = ":".join([*noted[:2], "4194305", noted[3]])
        instance.add_run_tags(run.run_id, {PROCESS_TAG: gone})
        event = dg.DagsterEvent(DagsterEventType.RUN_START.value, job_name=run.job_name)
        instance.report_dagster_event(event, run_id=run.run_id)
        with dg.build_sensor_context(instance) as context:
            assert lost_runs(context).skip_message == "1 runs given up"
