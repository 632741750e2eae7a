"""What runs here in place of each image: the ONE list of programs, what images do first, and what cannot be had."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.compose import ROOT, Service
from deploy.connectors import redpanda_connect
from deploy.services.garage import Garage
from deploy.services.kafka import Kafka
from deploy.services.postgres import Postgres
from deploy.services.process import base_environment
from deploy.services.programs import java, need, run
from deploy.services.registry import Registry
from deploy.services.state import State
from qpipe_resources.spark.jars import default_folder as spark_jars

BIN = Path(sys.executable).parent
_POSTGRES_ACCOUNT = "postgres"

Localize = Callable[[str], str]
"""From a path or address in the container to the one here."""

First = Callable[[Service, Localize, str | None], None]
"""What an image does before its command: given the service, what its words mean here, and the account it runs as."""


@dataclass(frozen=True)
class Program:
    """A program of this machine, set up as its image sets it up.

    Attributes:
        what: Name and version of what runs here.
        entrypoint: What the image puts before the command.
        command: The image's own command in the words of this machine, where docker-compose.yml gives none.
        paths: Where this machine has the image's programs.
        files: Text of the image's own files that name addresses or paths.
        environment: Variables that the image sets.
        first: What the image does before its command; None: nothing.
        account: Who it runs as where root calls; None: the caller.
    """

    what: str
    entrypoint: tuple[str, ...] = ()
    command: Callable[[Service, Localize], list[str]] | None = None
    paths: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path | tuple[Path, ...]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    first: First | None = None
    account: str | None = None


def _qpipe() -> Program:
    deploy = ROOT / "deploy"
    workspace, metrics = deploy / "workspace.yaml", deploy / "monitoring" / "spark-metrics.properties"
    return Program(
        "this tree",
        paths={"/opt/spark-jars": str(spark_jars())},
        files={
            "/opt/dagster/dagster.yaml": (ROOT / "dagster.yaml", deploy / "dagster.yaml"),
            "/opt/qpipe/deploy/workspace.yaml": workspace,
            "/opt/qpipe/deploy/monitoring/spark-metrics.properties": metrics,
        },
        environment={
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "SPARK_NO_DAEMONIZE": "1",
            "OMP_NUM_THREADS": "1",
        },
    )


def _spark() -> Program:
    from deploy.spark_jars import fetch

    java()
    fetch()
    return _qpipe()


def _postgres() -> Program:
    Postgres(State(Path())).install()
    programs = max(Path("/usr/lib/postgresql").glob("[0-9]*/bin"), key=lambda folder: int(folder.parts[4]))
    return Program(
        f"PostgreSQL {programs.parts[4]} of Debian",
        environment={"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        first=_make_cluster,
        account=_POSTGRES_ACCOUNT if os.geteuid() == 0 else None,
    )


def _make_cluster(service: Service, local: Localize, account: str | None) -> None:
    """As the image does: an empty cluster whose superuser has POSTGRES_PASSWORD, and which lets the network in."""
    if "POSTGRES_PASSWORD" not in service.environment:
        return
    cluster = Path(local(service.environment["PGDATA"]))
    if account is not None:
        owner = pwd.getpwnam(account)
        for mount in service.mounts:
            if not mount.is_bound:
                os.chown(local(mount.target), owner.pw_uid, owner.pw_gid)
    secret = cluster.with_name("superuser")
    secret.write_text(service.environment["POSTGRES_PASSWORD"])
    shutil.chown(secret, account or os.getuid())
    secret.chmod(0o600)
    made = ["--username=postgres", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
    initdb = shutil.which("initdb", path=_postgres_path())
    command = [str(initdb), f"--pgdata={cluster}", *made]
    run(command, "PostgreSQL's cluster cannot be made", Path("/"), base_environment(), account)
    secret.unlink()
    with (cluster / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 127.0.0.0/8 scram-sha-256\n")


def _postgres_path() -> str:
    return os.pathsep.join(
        str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("[0-9]*/bin"), reverse=True)
    )


def _kafka() -> Program:
    kafka = Kafka(State(Path()))
    kafka.install()
    properties = "/mnt/shared/config/server.properties"

    def words(service: Service, *rest: str) -> list[str]:
        heap = service.environment.get("KAFKA_HEAP_OPTS", "").split()
        return [java(), *heap, "-cp", f"{kafka.libraries}/*", *rest]

    def format_storage(service: Service, local: Localize, account: str | None) -> None:
        tool = ("kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", "qpipe-smoke-AAAAAAAAAA", "-c")
        run(
            words(service, *tool, local(properties)),
            "Kafka's storage cannot be formatted",
            environment=base_environment(),
        )

    return Program(
        kafka.title,
        command=lambda service, local: words(service, "kafka.Kafka", local(properties)),
        first=format_storage,
    )


def _registry() -> Program:
    registry = Registry(State(Path()))
    registry.install()
    return Program(registry.title, command=lambda *_: [java(), "-jar", str(registry.program)])


def _garage() -> Program:
    garage = Garage(State(Path()))
    garage.install()
    return Program(garage.title, paths={"/garage": str(garage.program)})


def _redpanda_connect() -> Program:
    return Program("the module 4.31.0, built here", entrypoint=(str(redpanda_connect.program()),))


def _debian(program: str, package: str) -> Callable[[], Program]:
    """A server of Debian's whose name is the image's entrypoint."""

    def had() -> Program:
        path = need(program, package)
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        version = re.search(r"version (\d[\w.]*)", said.stdout + said.stderr)
        return Program(f"{package} {version[1] if version else ''} of Debian".replace("  ", " "), entrypoint=(path,))

    return had


PROGRAMS: Mapping[str, Callable[[], Program]] = {
    "qpipe-cpu": _qpipe,
    "qpipe-spark": _spark,
    "postgres": _postgres,
    "dxflrs/garage": _garage,
    "apache/kafka": _kafka,
    "apicurio/apicurio-registry": _registry,
    "redpandadata/connect": _redpanda_connect,
    "prom/prometheus": _debian("prometheus", "prometheus"),
    "prom/pushgateway": _debian("prometheus-pushgateway", "prometheus-pushgateway"),
    "prometheuscommunity/postgres-exporter": _debian("prometheus-postgres-exporter", "prometheus-postgres-exporter"),
}
"""By image without its tag; each is installed where it is missing."""

NOT_HERE: Mapping[str, str] = {
    "grafana/grafana": "no package registry carries the program; its provisioning and dashboards are checked instead",
    "danielqsj/kafka-exporter": "no package registry carries the program",
}
"""Images for which this machine has nothing, and why."""
