"""docker-compose.yml: its schema, what it lets out, and that it agrees with everything it is made of."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import compose, environment
from deploy.services import versions

ROOT = Path(__file__).resolve().parents[2]
WHOLE: dict[str, Any] = yaml.safe_load(compose.FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = WHOLE["services"]
DOCUMENTS = "\n".join(path.read_text() for path in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
EXAMPLE = environment.EXAMPLE.read_text()
SECRET_NAME = re.compile(r"PASSWORD|PASS$|SECRET|TOKEN|ACCESS_KEY")
WRITABLE = {"kafka", "kafka-connect"}
"""Their images write their configuration into their own folders as they start."""

HAS: dict[str, set[str]] = {
    "apache/kafka": {"bash"},
    "apicurio/apicurio-registry": {"bash"},
    "danielqsj/kafka-exporter": {"wget"},
    "dxflrs/garage": {"/garage"},
    "grafana/grafana": {"wget"},
    "postgres": {"pg_isready"},
    "prom/prometheus": {"wget"},
    "prom/pushgateway": {"wget"},
    "prometheuscommunity/postgres-exporter": {"wget"},
    "qpipe-cpu": {"python", "dagster", "dagster-daemon"},
    "qpipe-gpu": {"python", "dagster"},
    "qpipe-kafka-connect": {"curl"},
    "qpipe-spark": {"python", "dagster", "bash"},
    "redpandadata/connect": {"wget"},
    "utkuozdemir/nvidia_gpu_exporter": {"bash"},
}
"""What a health check can call in each image: its own programs, and those of what it is made from.

BusyBox and Alpine have wget, which Ubuntu and Debian lack; these have bash.
"""

each_service = pytest.mark.parametrize("name", SERVICES)


def settings(**others: str) -> dict[str, str]:
    """What .env sets after `make env`."""
    return {name: "made" for name in environment.MADE} | environment.variables(EXAMPLE) | others


def test_it_is_valid_by_the_schema_of_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(compose.FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_variable_is_in_the_example_and_in_the_documents() -> None:
    named = {line.lstrip("#").partition("=")[0] for line in EXAMPLE.splitlines() if "=" in line}
    asked = set(compose.variables())
    assert asked - named == set(), "add them to .env.example"
    assert {name for name in asked if name not in DOCUMENTS and name not in EXAMPLE} == set()
    page = (ROOT / "docs" / "compose.md").read_text()
    own = {*environment.CHOICES, *environment.MADE}
    assert {name for name in own if name not in page} == set(), "tell of them in docs/compose.md"


def test_what_it_alone_reads_is_declared_as_such() -> None:
    given = environment.variables(EXAMPLE)
    others = {variable for one in SERVICES.values() for variable in (one.get("environment") or {})}
    assert {name for name in compose.variables() if name in given and name not in others} == set(environment.CHOICES)


def test_what_make_env_makes_is_what_has_no_default() -> None:
    needed = set(re.findall(r"\$\{([A-Z_]+):\?", compose.FILE.read_text()))
    assert needed == set(environment.MADE)


def test_defaults_are_those_of_the_example() -> None:
    given = environment.variables(EXAMPLE)
    defaults = {name: value for name, value in compose.variables().items() if value is not None}
    assert defaults == {name: given[name] for name in defaults}


def test_a_missing_secret_is_told_with_its_remedy() -> None:
    with pytest.raises(compose.ComposeError, match="GARAGE_KEY_ID is not set: run make env"):
        compose.services(settings(GARAGE_KEY_ID=""))


@each_service
def test_ports_are_published_for_this_machine_only(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


def test_no_two_services_publish_the_same_port() -> None:
    ports = [port.split(":")[1] for one in SERVICES.values() for port in one.get("ports", ())]
    assert len(ports) == len(set(ports))


@each_service
def test_the_image_is_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9./_-]+:v?\d+\.\d+(\.\d+)?", SERVICES[name]["image"])


@each_service
def test_a_container_has_no_more_than_it_needs(name: str) -> None:
    one = SERVICES[name]
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["read_only"] is (name not in WRITABLE)
    assert "mem_limit" in one
    assert not one.get("privileged") and one.get("network_mode") in (None, "none")
    assert "pid" not in one and "ipc" not in one
    assert one.get("cap_add", []) == (["CHOWN"] if name == "garage-volume" else [])
    sources = [text.split(":")[0] for text in one.get("volumes", ())]
    assert not [source for source in sources if source.startswith("/")], "nothing of the machine, no docker socket"
    assert not [text for text in one.get("volumes", ()) if text.startswith(".") and not text.endswith(":ro")]


@each_service
def test_no_secret_stands_in_the_file(name: str) -> None:
    for variable, value in (SERVICES[name].get("environment") or {}).items():
        # Without a value it is passed on from .env, where it is an installation's choice.
        if SECRET_NAME.search(variable) and value is not None:
            assert re.fullmatch(r"\$\{[A-Z_]+:\?run make env\}", str(value)), variable


@each_service
def test_a_server_has_a_health_check_and_what_runs_once_is_waited_for(name: str) -> None:
    one = SERVICES[name]
    conditions = {
        after[name]["condition"] for other in SERVICES.values() if name in (after := other.get("depends_on", {}))
    }
    if "healthcheck" in one:
        assert one["healthcheck"]["test"][0] == "CMD", "no shell between"
        assert conditions <= {"service_healthy"}
    else:
        assert one["restart"] in ("on-failure", "no")
        assert conditions == {"service_completed_successfully"} or name == "kafka-connect-init"


@each_service
def test_a_health_check_calls_what_its_image_has(name: str) -> None:
    if check := SERVICES[name].get("healthcheck"):
        assert check["test"][1] in HAS[SERVICES[name]["image"].rpartition(":")[0]]


def test_volumes_are_those_that_are_used() -> None:
    used = {text.split(":")[0] for one in SERVICES.values() for text in one.get("volumes", ())}
    assert {source for source in used if not source.startswith(".")} == set(WHOLE["volumes"])
    assert all((ROOT / source).exists() for source in used if source.startswith("."))


@pytest.mark.parametrize("profiles", [("cpu",), ("gpu",), ("cpu", "kafka-connect"), ("gpu", "kafka-connect")])
def test_every_choice_of_profiles_has_one_code_server(profiles: tuple[str, ...]) -> None:
    found = compose.services(settings(), profiles)
    code = [name for name in found if name.startswith("code-server")]
    assert code == ["code-server" if "cpu" in profiles else "code-server-gpu"]
    assert found["dagster-daemon"].depends_on == {code[0]: "service_healthy"}
    assert ("kafka-connect" in found) is ("kafka-connect" in profiles)


# Where a server elsewhere would be, what docker-compose.yml itself says, and what a single machine without it needs.
NOT_FOR_CONTAINERS = re.compile(r"KAFKA_SSL|KAFKA_SASL|SCHEMA_REGISTRY_(BASIC_AUTH|CAFILE)")


def test_every_setting_of_the_example_reaches_a_service() -> None:
    named = {
        line.lstrip("#").partition("=")[0] for line in EXAMPLE.splitlines() if re.match(r"#?[A-Z][A-Z0-9_]*=", line)
    }
    reached = {variable for one in SERVICES.values() for variable in (one.get("environment") or {})}
    lost = {name for name in named - reached - set(compose.variables()) if not NOT_FOR_CONTAINERS.match(name)}
    assert lost == set(), "give them to the services that read them (x-code in docker-compose.yml)"


def test_a_name_without_a_value_is_taken_from_the_environment_file_or_left_out() -> None:
    code = compose.services(settings(QPIPE_BATCH_BYTES="7"))["code-server"].environment
    assert code["QPIPE_BATCH_BYTES"] == "7"
    assert "QPIPE_WORKERS" not in code


def test_what_spark_writes_between_its_stages_is_on_a_disk_not_in_the_containers_memory() -> None:
    worker = compose.services(settings())["spark-worker"]
    volumes = {mount.target for mount in worker.mounts if mount.source}
    assert worker.environment.get("SPARK_LOCAL_DIRS") in volumes
    # Spark looks through its work folder for what a killed worker has left.
    assert worker.environment["SPARK_LOCAL_DIRS"] == worker.command[worker.command.index("--work-dir") + 1]


def test_scrape_targets_are_services_and_every_job_of_prometheus_has_one() -> None:
    monitoring = ROOT / "deploy" / "monitoring"
    jobs = {job["job_name"] for job in yaml.safe_load((monitoring / "prometheus.yml").read_text())["scrape_configs"]}
    files = {path.name.partition(".")[0]: path for path in (monitoring / "targets-compose").iterdir()}
    assert set(files) == jobs
    for path in files.values():
        ((address,),) = [group["targets"] for group in yaml.safe_load(path.read_text())]
        assert address.partition(":")[0] in SERVICES


def test_versions_are_those_that_the_tests_on_real_services_run() -> None:
    images = {one["image"].rpartition(":")[0]: one["image"].rpartition(":")[2] for one in SERVICES.values()}
    assert images["apache/kafka"] == versions.KAFKA
    assert images["apicurio/apicurio-registry"] == versions.REGISTRY
    assert images["dxflrs/garage"] == f"v{versions.GARAGE}"
    connect = (ROOT / "deploy" / "connectors" / "redpanda-connect" / "go.mod").read_text()
    assert f"connect/v4 v{images['redpandadata/connect']}\n" in connect
    own = {version for image, version in images.items() if image.startswith("qpipe-")}
    assert own == {tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]}


def test_dagsters_settings_on_a_server_are_the_projects_and_the_storage_besides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster._core.instance.ref import InstanceRef

    project, server = ROOT / "dagster.yaml", ROOT / "deploy" / "dagster.yaml"
    mine, added = (yaml.safe_load(path.read_text()) for path in (project, server))
    assert set(mine).isdisjoint(added), "the image appends one file to the other"
    (tmp_path / "dagster.yaml").write_text(project.read_text() + server.read_text())
    monkeypatch.setenv("DAGSTER_POSTGRES_HOST", "postgres")
    monkeypatch.setenv("DAGSTER_POSTGRES_PASSWORD", "secret")
    # Dagster's own reading of the file; a section that it does not know is refused.
    instance = InstanceRef.from_dir(str(tmp_path))
    assert instance.storage_data is not None
    assert instance.storage_data.class_name == "DagsterPostgresStorage"
    assert instance.settings["concurrency"] == mine["concurrency"]


def test_the_code_server_is_where_the_workspace_says() -> None:
    (entry,) = yaml.safe_load((ROOT / "deploy" / "workspace.yaml").read_text())["load_from"]
    command = SERVICES["code-server"]["command"]
    assert entry["grpc_server"]["host"] == SERVICES["code-server"]["hostname"] == "code-server"
    assert str(entry["grpc_server"]["port"]) == command[command.index("--port") + 1]
    assert SERVICES["code-server-gpu"]["networks"] == {"default": {"aliases": ["code-server"]}}


def test_grafana_is_given_what_its_provisioning_asks_for() -> None:
    provisioning = ROOT / "deploy" / "monitoring" / "grafana" / "provisioning"
    asked = {name for path in provisioning.rglob("*.yml") for name in re.findall(r"\$\{(\w+)\}", path.read_text())}
    given = SERVICES["grafana"]["environment"]
    assert asked <= set(given)
    mounts = dict(text.removesuffix(":ro").split(":") for text in SERVICES["grafana"]["volumes"])
    assert mounts["./deploy/monitoring/grafana/dashboards"] == given["QPIPE_DASHBOARDS"]
    assert mounts["./deploy/monitoring/grafana/provisioning"] == "/etc/grafana/provisioning"
