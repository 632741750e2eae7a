"""What a user does with the running platform, and what must come of it."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from deploy.compose import ROOT
from deploy.smoke.machine import Local, Machine, SmokeError

MOLECULE = "H2"
CAMPAIGN = {"tier": 1, "seeds": "1", "optimizers": "L-BFGS-B,COBYLA"}
RUNS = 4
"""Of that campaign on one molecule: two optimizers from two starts."""
RUN_SECONDS = 240.0
ROWS_SECONDS = 180.0
COMMAND_SECONDS = 240.0
SCRAPE_SECONDS = 60.0
MONITORING = ROOT / "deploy" / "monitoring"
_ENDED = ("SUCCESS", "FAILURE", "CANCELED")

Found = TypeVar("Found")


class Drive:
    """A user of the platform that a machine runs."""

    def __init__(self, machine: Machine) -> None:
        """Prepare; does nothing yet."""
        self._machine = machine
        self._services = machine.services
        self._absent = set(machine.absent)
        self._run_id = ""
        self._rows: dict[str, int] = {}

    @property
    def steps(self) -> dict[str, Callable[[], str]]:
        """What is done, in this order; each says what it saw or raises SmokeError."""
        return {
            "the webserver has the code location": self.code_location,
            f"dagster job launch: {RUNS} runs of {MOLECULE}": self.launch,
            "the run succeeds": self.run_succeeds,
            "rows in all tables, once": self.rows,
            "they came through Redpanda Connect": self.objects,
            "Prometheus sees every target": self.targets,
            "Prometheus has the run's metrics": self.metrics,
            "Spark counts the same rows on its worker": self.spark,
            "Grafana would have its dashboards": self.provisioning,
            "the set-up programs may be repeated": self.repeat,
            "nobody listens beyond this machine": self.listeners,
            "nobody writes where the image is read-only": self.written,
        }

    def code_location(self) -> str:
        """The user interface answers, and the definitions are loaded from the code server."""
        page = self._get("dagster-webserver", "/").decode()
        if "<div id=" not in page:
            raise SmokeError(f"the webserver's page is none: {page[:200]}")
        query = "{workspaceOrError{... on Workspace{locationEntries{name loadStatus locationOrLoadError{__typename}}}}}"
        (entry,) = self._ask(query)["workspaceOrError"]["locationEntries"]
        if entry["locationOrLoadError"]["__typename"] != "RepositoryLocation":
            raise SmokeError(f"the code location is not loaded: {entry}")
        return f"{entry['name']}: {entry['loadStatus']}"

    def launch(self) -> str:
        """Launch the campaign from the shell, as the documentation says."""
        webserver = self._services["dagster-webserver"]
        workspace = webserver.translation.text("/opt/qpipe/deploy/workspace.yaml")
        config = {"ops": {"vqe_runs": {"config": CAMPAIGN}}}
        tags = {"dagster/partition": MOLECULE, "qpipe/lane": "cpu"}
        what = ("--job", "vqe_batch_generation", "--config-json", json.dumps(config), "--tags", json.dumps(tags))
        _output(webserver, "dagster", "job", "launch", "--workspace", workspace, *what)
        query = '{runsOrError(filter:{pipelineName:"vqe_batch_generation"}){... on Runs{results{runId}}}}'
        (run,) = self._ask(query)["runsOrError"]["results"]
        self._run_id = run["runId"]
        return self._run_id

    def run_succeeds(self) -> str:
        """The daemon takes it from the queue, and the code server runs it to its end."""

        def ended() -> str | None:
            run = self._ask(f'{{runOrError(runId:"{self._run_id}"){{... on Run{{status}}}}}}')["runOrError"]
            return run["status"] if run["status"] in _ENDED else None

        status = _wait(ended, RUN_SECONDS, "the end of the run")
        if status != "SUCCESS":
            logs = "{... on EventConnection{events{... on MessageEvent{message}}}}"
            events = self._ask(f'{{logsForRun(runId:"{self._run_id}"){logs}}}')["logsForRun"]["events"]
            raise SmokeError(f"it ended in {status}: {[event.get('message') for event in events][-6:]}")
        return status

    def rows(self) -> str:
        """Each of the runs has its rows in the nine tables and the ML tables, and none has them twice."""
        from qpipe_assets.tables import schemas

        names = (*schemas.NORMALIZED_NAMES, *schemas.ML_NAMES)
        query = " union all ".join(
            f"select '{name}' as name, count(*) as n, count(distinct experiment_id) as runs from {name}"
            for name in names
        )

        def all_there() -> dict[str, Any] | None:
            counted = {row["name"]: row for row in self._sql(query)}
            return counted if all(row["runs"] >= RUNS for row in counted.values()) else None

        counted = _wait(all_there, ROWS_SECONDS, f"rows of {RUNS} runs in {len(names)} tables", every=3.0)
        once = ("molecules", "ansatz_info", "performance_metrics", "vqe_results", "ml_run_summary")
        if wrong := [
            row for name, row in counted.items() if row["runs"] != RUNS or (name in once and row["n"] != RUNS)
        ]:
            raise SmokeError(f"expected {RUNS} runs, each once: {wrong}")
        (steps,) = self._sql("select count(*) as n, count(distinct iteration_id) as different from vqe_iterations")
        if steps["n"] != steps["different"]:
            raise SmokeError(f"iterations are there twice: {steps}")
        self._rows = {name: row["n"] for name, row in counted.items()}
        return f"{sum(self._rows.values())} rows in {len(names)} tables"

    def objects(self) -> str:
        """The raw bucket has one JSON object for each message, named by the connector's layout."""
        import boto3

        environment = self._services["code-server"].environment
        s3 = boto3.client(
            "s3",
            endpoint_url=environment["QPIPE_S3_ENDPOINT"],
            region_name=environment["QPIPE_S3_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )
        bucket = environment["QPIPE_S3_RAW_BUCKET"]
        prefix = f"experiments/{environment['QPIPE_TOPIC']}/year="
        keys = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", ())]
        everything = [
            one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix="experiments/").get("Contents", ())
        ]
        if len(keys) != RUNS or keys != everything:
            raise SmokeError(f"expected {RUNS} objects below {prefix} and no others, found {everything}")
        return f"{len(keys)} objects, such as {keys[0]}"

    def targets(self) -> str:
        """Every target of the compose file is up, but for those of services that are not here."""

        def seen() -> dict[str, str] | None:
            active = json.loads(self._get("prometheus", "/api/v1/targets"))["data"]["activeTargets"]
            health = {one["labels"]["job"]: f"{one['health']} {one['lastError']}" for one in active}
            here = {job: state for job, state in health.items() if not self._is_absent(job)}
            return health if all(state.startswith("up") for state in here.values()) else None

        health = _wait(seen, SCRAPE_SECONDS, "up == 1 of every target")
        expected = {file.stem for file in self._target_files()}
        if set(health) != expected:
            raise SmokeError(f"expected the targets {sorted(expected)}, Prometheus has {sorted(health)}")
        down = sorted(job for job in health if self._is_absent(job))
        return f"{len(health) - len(down)} up" + (f"; not here: {', '.join(down)}" if down else "")

    def metrics(self) -> str:
        """Prometheus has scraped the metrics that the runs pushed, and Dagster's."""

        def seen() -> list[str] | None:
            query = urllib.parse.urlencode({"query": 'count by (__name__) ({__name__=~"qp_(vqe|sys|dagster)_.*"})'})
            found = json.loads(self._get("prometheus", f"/api/v1/query?{query}"))["data"]["result"]
            names = sorted(one["metric"]["__name__"] for one in found)
            vqe = [name for name in names if name.startswith("qp_vqe_")]
            return names if len(vqe) >= 16 and "qp_dagster_runs" in " ".join(names) else None

        names = _wait(seen, SCRAPE_SECONDS, "16 metrics qp_vqe_* and those of Dagster")
        return f"{len(names)} names, {sum(name.startswith('qp_vqe_') for name in names)} of them qp_vqe_*"

    def spark(self) -> str:
        """A driver in the code server's place has the tables counted by the worker, from the same catalog and store."""
        printed = _output(self._services["code-server"], "python", "-m", "deploy.smoke.spark_query")
        counted = json.loads(printed.splitlines()[-1])
        if counted != self._rows:
            raise SmokeError(f"Spark counts {counted}, expected {self._rows}")
        state = json.loads(self._get("spark-master", "/json/"))
        if not state["completedapps"] or state["aliveworkers"] != 1:
            raise SmokeError(f"the master has seen no application, or lost its worker: {state}")
        return f"{state['aliveworkers']} worker, {state['cores']} cores, {len(counted)} tables"

    def provisioning(self) -> str:
        """What Grafana would be given: Prometheus takes every expression of every dashboard."""
        folder = MONITORING / "grafana" / "dashboards"
        dashboards = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
        panels = [panel for one in dashboards for panel in one["panels"] if panel.get("targets")]
        drawn = sum(any(self._evaluate(target["expr"]) for target in panel["targets"]) for panel in panels)
        return f"{len(dashboards)} dashboards, {len(panels)} panels, {drawn} of them with data"

    def repeat(self) -> str:
        """What runs at each `up` changes nothing the second time."""
        ones = [local for name, local in self._services.items() if local.service.is_once and name.endswith("-init")]
        for local in ones:
            local.run_once()
        words = [local.process.last_words(1) for local in ones if local.process.last_words(1)]
        if wrong := [line for line in words if "nothing was missing" not in line and "was there" not in line]:
            raise SmokeError(f"something was missing again: {wrong}")
        return "; ".join(words)

    def listeners(self) -> str:
        """Every service listens on its own loopback address alone."""
        found = {name: addresses for name, addresses in self._machine.listening().items() if addresses}
        wide = {
            name: sorted(beyond)
            for name, addresses in found.items()
            if (beyond := {one for one in addresses if not one.startswith(f"{self._services[name].translation.own}:")})
        }
        if wide:
            raise SmokeError(f"listening elsewhere than at their own address: {wide}")
        return f"{sum(map(len, found.values()))} ports of {len(found)} services"

    def written(self) -> str:
        """What docker-compose.yml makes read-only has been read only."""
        if found := self._machine.written():
            raise SmokeError(
                f"written beside volumes and tmpfs: { {name: sorted(paths) for name, paths in found.items()} }"
            )
        read_only = [name for name, local in self._services.items() if local.service.is_read_only]
        return f"{len(read_only)} of {len(self._services)} services are read-only"

    def _evaluate(self, expression: str) -> bool:
        """Whether the expression selects anything now, with each variable's choice being all."""
        plain = re.sub(r"\$(?!__)\w+", ".*", expression.replace("$__rate_interval", "5m"))
        try:
            answer = self._get("prometheus", f"/api/v1/query?{urllib.parse.urlencode({'query': plain})}")
            return bool(json.loads(answer)["data"]["result"])
        except urllib.error.HTTPError as error:
            raise SmokeError(f"Prometheus refuses {plain!r}: {error.read().decode(errors='replace')}") from None

    def _target_files(self) -> list[Path]:
        folder = Path(self._services["prometheus"].translation.text("/etc/prometheus/targets"))
        return sorted(folder.glob("*.yml"))

    def _is_absent(self, job: str) -> bool:
        return job in self._absent or f"{job}-exporter" in self._absent

    def _address(self, name: str) -> str:
        port = {"dagster-webserver": 3000, "prometheus": 9090, "spark-master": 8080}[name]
        return f"http://{self._services[name].translation.own}:{port}"

    def _get(self, name: str, path: str) -> bytes:
        with urllib.request.urlopen(f"{self._address(name)}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def _ask(self, query: str) -> dict[str, Any]:
        body = json.dumps({"query": query}).encode()
        address = f"{self._address('dagster-webserver')}/graphql"
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        if "errors" in found:
            raise SmokeError(f"the webserver refuses {query}: {found['errors']}")
        return found["data"]

    def _sql(self, query: str) -> list[dict[str, Any]]:
        return json.loads(_output(self._services["code-server"], "qpipe", "sql", query, "--format", "json"))


def _output(local: Local, *command: str) -> str:
    """What a command prints in a service's environment, as `docker compose exec` would run it."""
    words = local.located(command)
    done = subprocess.run(
        words,
        env=local.environment,
        cwd=local.folder,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if done.returncode:
        raise SmokeError(
            f"{' '.join(command[:3])} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}"
        )
    return done.stdout


def _wait(probe: Callable[[], Found | None], seconds: float, what: str, every: float = 1.0) -> Found:
    end = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < end:
        try:
            if found := probe():
                return found
        except (OSError, SmokeError) as error:
            last = error
        time.sleep(every)
    raise SmokeError(f"waited {seconds:.0f} s in vain for {what}" + (f"; the last answer: {last}" if last else ""))
