"""A running `dagster dev` (webserver, daemon, code location) with homes of its own, for tests of the real thing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
START_SECONDS = 180.0
RUN_SECONDS = 60.0
"""What a small run may take on a busy machine, where one waits for the other."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Shell:
    """A shell of its own, with the homes named as the README names them."""

    home: Path
    environment: dict[str, str]

    @classmethod
    def with_home(cls, home: Path, **settings: str) -> Shell:
        """Prepare the homes with `qpipe home`, and take the variables that it prints."""
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | settings | {"QPIPE_HOME": str(home), "PATH": path, "OMP_NUM_THREADS": "1"}
        environment.pop("DAGSTER_HOME", None)
        shell = cls(home, environment)
        lines = shell.run(str(BIN / "qpipe"), "home").stdout.split()
        named = dict(word.split("=", 1) for word in lines if "=" in word)
        return cls(home, environment | named)

    def run(self, *command: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run one command in the project's folder; its output is part of the failure."""
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Rows of a query, by the qpipe command."""
        return json.loads(self.run(str(BIN / "qpipe"), "sql", query, "--format", "json").stdout)


@dataclass(frozen=True)
class Daemon:
    """A running `dagster dev`."""

    shell: Shell
    url: str
    pid: int

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the webserver."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def runs(self) -> list[dict[str, Any]]:
        """All runs, newest first: id, job, status, partition."""
        query = "{runsOrError{... on Runs{results{runId jobName status tags{key value}}}}}"
        results = self.graphql(query)["runsOrError"]["results"]
        for run in results:
            run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
        return results

    def of_each(self, ask: Callable[[psutil.Process], Found]) -> list[Found]:
        """What it and each process that it has started answer; one that ends meanwhile says nothing."""
        own = psutil.Process(self.pid)
        answers = []
        for process in (own, *own.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                answers.append(ask(process))
        return answers

    def run_workers(self) -> set[psutil.Process]:
        """Processes that execute runs: the code server starts one for each."""
        workers = set()
        for child in psutil.Process(self.pid).children(recursive=True):
            try:
                command, parent = " ".join(child.cmdline()), child.parent()
                if "spawn_main" in command and parent is not None and "dagster" in " ".join(parent.cmdline()):
                    workers.add(child)
            except psutil.NoSuchProcess:
                continue
        return workers

    def wait_for_runs(self, wanted: Callable[[dict[str, Any]], bool], count: int = 1) -> list[dict[str, Any]]:
        """Wait until `count` runs of those wanted have ended, and return them; none may end but in SUCCESS."""

        def ended() -> list[dict[str, Any]] | None:
            runs = [run for run in self.runs() if wanted(run)]
            done = [run for run in runs if run["status"] in ("SUCCESS", "FAILURE", "CANCELED")]
            return done if len(done) >= count else None

        runs = wait_for(ended, "runs to end", START_SECONDS + count * RUN_SECONDS)
        assert {run["status"] for run in runs} == {"SUCCESS"}, runs
        return runs


def wait_for(probe: Callable[[], Found | None], what: str, seconds: float = START_SECONDS) -> Found:
    """Ask `probe` until it gives something; fails after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = probe()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")


@contextmanager
def dagster_dev(shell: Shell) -> Iterator[Daemon]:
    """Run `dagster dev` on a free loopback port; all its processes end with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = shell.home / "dagster-dev.log"
    with open(log, "w") as output:
        process = subprocess.Popen(
            [str(BIN / "dagster"), "dev", "--host", "127.0.0.1", "--port", str(port), "--workspace", "workspace.yaml"],
            cwd=ROOT,
            env=shell.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    daemon = Daemon(shell, f"http://127.0.0.1:{port}", process.pid)
    try:
        try:
            wait_for(lambda: process.poll() is not None or _is_up(daemon), "the webserver with its code")
            assert process.poll() is None, f"dagster dev ended with {process.poll()}"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text()[-4000:]}") from error
        yield daemon
    finally:
        _end(process)


def _is_up(daemon: Daemon) -> bool:
    try:
        answer = daemon.graphql("{repositoriesOrError{... on RepositoryConnection{nodes{name}}}}")
    except (OSError, AssertionError):
        return False
    return bool(answer["repositoriesOrError"].get("nodes"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and everything it started: they share its session's process group."""
    for number, patience in ((signal.SIGINT, 30.0), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
