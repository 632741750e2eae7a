"""A part of tier 1 as a backfill of the real daemon, its processes killed in the middle: completed, nothing twice.

QPIPE_CAMPAIGN=full computes H2, HeH+ and LiH with three seeds, 144 runs, and kills every kind of process; add -s to see
the status at each stage. Otherwise a sixth of it, and two kills.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from dagster import DagsterInstance, RunsFilter

from qpipe_assets.campaign_progress import Progress, ProgressLog
from tests.daemon import BIN, Daemon, Shell, dagster_dev, wait_for

FULL = os.environ.get("QPIPE_CAMPAIGN") == "full"

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.timeout(3600)]

JOB = "vqe_batch_generation"
MOLECULES = ["H2", "HeH+", "LiH"] if FULL else ["H2", "HeH+"]
ASKED = {"seeds": "1..3"} if FULL else {"seeds": "1..2", "optimizers": "L-BFGS-B,COBYLA,Powell"}
RUNS = 144 if FULL else 24
STATES = ("done", "running", "failed", "timed_out", "pending", "infeasible")
LAUNCH = """mutation($backfill: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfill) { __typename ... on PythonError { message } }
}"""


def launch(daemon: Daemon) -> None:
    where = {"repositoryName": "__repository__", "repositoryLocationName": "qpipe"}
    backfill = {
        "selector": {"partitionSetName": f"{JOB}_partition_set", "repositorySelector": where},
        "partitionNames": MOLECULES,
        "runConfigData": {"ops": {"vqe_runs": {"config": {"tier": 1, **ASKED}}}},
    }
    answer = daemon.graphql(LAUNCH, backfill=backfill)["launchPartitionBackfill"]
    assert answer == {"__typename": "LaunchBackfillSuccess"}


# What is killed: processes by what they are.


def _command(process: psutil.Process | None) -> str:
    try:
        return " ".join(process.cmdline()) if process else ""
    except psutil.NoSuchProcess:
        return ""


def everything(daemon: Daemon) -> list[psutil.Process]:
    process = psutil.Process(daemon.pid)
    return [process, *process.children(recursive=True)]


def run_workers(daemon: Daemon) -> list[psutil.Process]:
    """The processes in which Dagster executes a run."""
    return sorted(daemon.run_workers(), key=lambda process: process.pid)


def simulation_workers(daemon: Daemon) -> list[psutil.Process]:
    """The processes of those that compute; one that Python uses for its own ends is none."""
    children = [child for worker in run_workers(daemon) for child in worker.children()]
    return [child for child in children if "spawn_main" in _command(child)]


def code_servers(daemon: Daemon) -> list[psutil.Process]:
    return [one for one in everything(daemon) if "code-server start" in _command(one) or "api grpc" in _command(one)]


def the_daemon(daemon: Daemon) -> list[psutil.Process]:
    return [one for one in everything(daemon) if "dagster._daemon" in _command(one)]


def daemon_and_code_servers(daemon: Daemon) -> list[psutil.Process]:
    """The run that is under way goes on without them."""
    return [*the_daemon(daemon), *code_servers(daemon)]


Kind = Callable[[Daemon], list[psutil.Process]]
KILLS: list[tuple[Kind, int]] = (
    [(simulation_workers, 8), (run_workers, 40), (the_daemon, 70), (daemon_and_code_servers, 100), (everything, 118)]
    if FULL
    else [(simulation_workers, 3), (everything, 8)]
)
"""What is killed, and how many runs have landed by then."""


@dataclass
class Campaign:
    """The campaign as it can be seen from outside."""

    shell: Shell
    began: float = field(default_factory=time.monotonic)
    kept: dict[str, int] = field(default_factory=dict)
    """Bytes of each checkpoint at the kill that it has survived."""
    landed: dict[str, int] = field(default_factory=dict)
    """When each object was written (ns), as it was seen first."""

    def look(self) -> int:
        """How many runs have landed; no object is written twice, and no run that was killed begins anew."""
        for path in self.shell.home.glob("raw-results/experiments/**/*.json"):
            moment = path.stat().st_mtime_ns
            assert self.landed.setdefault(path.stem, moment) == moment, f"{path.name} was written twice"
        for name, size in self.checkpoints().items():
            # A frame that the kill cut off is written again.
            assert size >= 0.95 * self.kept.get(name, 0), f"{name} began anew"
        return len(self.landed)

    def checkpoints(self) -> dict[str, int]:
        found = {}
        for path in self.shell.home.glob("checkpoints/*.evaluations"):
            try:
                found[path.stem] = path.stat().st_size
            except FileNotFoundError:
                continue  # its record has landed
        return found

    def status(self, stage: str) -> dict[str, int]:
        """What `qpipe tiers status` says; every run is in one state."""
        part = ["--tier", "1", "--molecules", ",".join(MOLECULES)]
        part += [word for name, value in ASKED.items() for word in (f"--{name}", value)]
        printed = self.shell.run(str(BIN / "qpipe"), "tiers", "status", *part, "--format", "json").stdout
        *of_molecules, whole = json.loads(printed)
        assert sum(whole[state] for state in STATES) == whole["total"] == RUNS
        assert all(sum(row[state] for row in of_molecules) == whole[state] for state in STATES)
        counts = {state: whole[state] for state in STATES}
        print(f"{time.monotonic() - self.began:6.0f} s  {stage:32} {counts}", flush=True)
        return counts

    def told(self) -> tuple[Counter[str], Counter[str], int]:
        """From Dagster's logs: how often each experiment was started, how often computed; and Dagster's runs."""
        started, computed = Counter[str](), Counter[str]()
        with DagsterInstance.from_config(self.shell.environment["DAGSTER_HOME"]) as instance:
            log = ProgressLog(instance)
            runs = instance.get_runs(RunsFilter(job_name=JOB))
            for line in (line for run in runs for line in log.of(run.run_id)):
                started[line.identity] += line.progress is Progress.STARTED
                computed[line.identity] += line.progress in (Progress.FINISHED, Progress.COMPUTED)
        return started, computed, len(runs)


def kill(processes: list[psutil.Process]) -> None:
    assert processes
    for one in processes:
        try:
            one.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, 10)


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def serves(daemon: Daemon) -> bool:
    return psutil.pid_exists(daemon.pid) and alive(psutil.Process(daemon.pid))


@contextmanager
def restartable(shell: Shell) -> Iterator[Callable[[], Daemon]]:
    """Gives the running `dagster dev`, a new one where the last one has ended."""
    with ExitStack() as stack:
        running: list[Daemon] = []

        def current() -> Daemon:
            if not running or not serves(running[-1]):
                running.append(stack.enter_context(dagster_dev(shell)))
            return running[-1]

        yield current


def strike(campaign: Campaign, served: Daemon, kind: Kind, landed: int, computing: list[psutil.Process]) -> None:
    """Kill processes of a kind as soon as so many runs have landed, and look what the status makes of it.

    `computing` are the processes of Dagster's runs so far: one may survive its daemon and its code server.
    """
    wait_for(lambda: campaign.look() >= landed, f"{landed} results", 900)
    wait_for(lambda: campaign.status("during")["running"] == 1, "a run under way")
    victims = wait_for(lambda: kind(served), "something to kill")
    computing += run_workers(served)
    if kind is everything:
        victims += [one for worker in computing if alive(worker) for one in (worker, *worker.children())]
    kill(victims)
    campaign.kept = campaign.checkpoints()
    counts = campaign.status(f"{kind.__name__} killed")
    assert counts["done"] <= campaign.look()
    assert counts["running"] <= 1 and counts["failed"] == 0
    if kind is everything:
        assert (counts["done"], counts["running"]) == (len(campaign.landed), 0)
    if kind in (the_daemon, daemon_and_code_servers):
        wait_for(lambda: not serves(served), "the end of what served without its daemon")
    left = sum(map(alive, computing))
    print(f"{'':10}checkpoints kept: {campaign.kept}, processes of runs alive: {left}", flush=True)


def test_a_backfill_whose_processes_are_killed_is_completed_and_nothing_is_computed_twice(tmp_path: Path) -> None:
    shell = Shell.with_home(tmp_path / "home", QPIPE_WORKERS="1")
    campaign = Campaign(shell)
    assert campaign.status("before")["pending"] == RUNS
    computing: list[psutil.Process] = []
    with restartable(shell) as current:
        launch(current())
        for kind, landed in KILLS:
            strike(campaign, current(), kind, landed, computing)
        current()
        wait_for(lambda: campaign.look() == RUNS, "the rest", 1800)
        assert campaign.status("all landed")["done"] == RUNS
        wait_for(lambda: _rows(shell) == RUNS, "the rows", 300)
    end = campaign.status("end")
    assert end == dict.fromkeys(STATES, 0) | {"done": RUNS}

    [whole] = shell.sql(
        "select count(*) as rows, count(distinct experiment_id) as experiments, sum(total_iterations) as evaluations "
        "from vqe_results"
    )
    assert (whole["rows"], whole["experiments"]) == (RUNS, RUNS)
    assert shell.sql("select count(*) as n from vqe_iterations") == [{"n": whole["evaluations"]}]
    assert shell.sql("select count(*) as n from ml_run_summary") == [{"n": RUNS}]
    started, computed, runs = campaign.told()
    assert len(started) == RUNS
    assert max(computed.values()) == 1, "nothing is computed twice"
    again = {one: starts for one, starts in started.items() if starts > 1}
    assert sum(again.values()) - len(again) <= len(KILLS), "only what was under way at a kill is begun again"
    assert campaign.checkpoints() == {}
    print(
        f"{RUNS} runs in {time.monotonic() - campaign.began:.0f} s and {runs} runs of Dagster: {whole['rows']} rows, "
        f"{whole['experiments']} experiments, {whole['evaluations']} evaluations; begun more than once: {again}"
    )


def _rows(shell: Shell) -> int:
    return int(shell.sql("select count(*) as n from ml_run_summary")[0]["n"])
