"""The documentation is what its sources say, and what it tells people to type exists."""

import re
from pathlib import Path

import pytest
import typer
import yaml

from deploy import compose, environment
from qpipe_assets.tables.documentation import render
from qpipe_resources import export_settings, exporter_settings
from qpipe_resources.kafka import settings as kafka_settings
from qpipe_resources.notify import settings as notify_settings
from qpipe_resources.settings import Settings, load_settings
from qpipe_resources.spark import settings as spark_settings
from simulation import monitor_settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
OF_NO_TREE = {"qpipe_assets/campaigns/tier-N.yaml", "deploy/monitoring/targets-compose/gpu.yml"}
"""Paths in the documentation that stand for others, or that an operator makes."""
OF_CLIENTS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"}
"""Variables that the clients of S3 and PostgreSQL read themselves."""
_OURS = ("QPIPE_", "KAFKA_", "MONITORING_", "AIRFLOW_", "R2_SYNC_")
OF_COMPOSE = {name for name in compose.variables() if not name.startswith(_OURS)}
"""Variables of docker-compose.yml alone."""
SECRET_OF_NOTIFICATIONS = {notify_settings.VARIABLES[name] for name in notify_settings.SECRETS}
SECRET = {
    *OF_CLIENTS,
    *environment.MADE,
    *(kafka_settings.VARIABLES[name] for name in kafka_settings.SECRETS),
    *SECRET_OF_NOTIFICATIONS,
    *(export_settings.VARIABLES[name] for name in export_settings.SECRETS),
    "PUSHGATEWAY_URL",
}


def example() -> list[str]:
    """The lines of the example that set a variable, or would without their comment sign."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "=" in line and line.lstrip("#")[:1].isupper()]


def test_tables_page_is_not_stale() -> None:
    assert (ROOT / "docs" / "tables.md").read_text(encoding="utf-8") == render()


def test_environment_example_names_every_setting_and_nothing_else() -> None:
    named = [line.lstrip("#").split("=")[0] for line in example()]
    ours = {"DAGSTER_HOME" if name == "dagster_home" else f"QPIPE_{name.upper()}" for name in Settings.model_fields}
    others = {*monitor_settings.VARIABLES.values(), *kafka_settings.VARIABLES.values(), *OF_CLIENTS}
    others |= OF_COMPOSE
    others |= {*spark_settings.VARIABLES.values(), *exporter_settings.VARIABLES.values()}
    others |= {*export_settings.VARIABLES.values(), *export_settings.EARLIER.values()}
    others |= {*notify_settings.VARIABLES.values(), notify_settings.OLD_EMAIL_TO}
    assert sorted(named) == sorted(ours | others)


def test_environment_example_sets_no_secret() -> None:
    secrets = [line for line in example() if line.lstrip("#").split("=")[0] in SECRET]
    assert sorted(secrets) == sorted(f"#{name}=" for name in SECRET)


def test_environment_example_sets_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in monitor_settings.VARIABLES.values():
        monkeypatch.delenv(name, raising=False)
    for variable in ("QPIPE_HOME", "DAGSTER_HOME"):
        monkeypatch.delenv(variable, raising=False)
    before = _loaded()
    for line in example():
        if not line.startswith("#"):
            monkeypatch.setenv(*line.split("=", 1))
    assert _loaded() == before


def _loaded() -> tuple[object, ...]:
    return (
        load_settings(),
        kafka_settings.load_kafka_settings(),
        monitor_settings.load_monitor_settings(),
        spark_settings.load_spark_settings(),
        exporter_settings.load_exporter_settings(),
        export_settings.load_export_settings(),
        notify_settings.load_notify_settings(),
    )


def _typed(pattern: str) -> set[tuple[str, str]]:
    """(page, what the pattern finds) in all that is shown to be typed: indented lines and code in a sentence."""
    found = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        code = [line for line in text.splitlines() if line.startswith("    ")] + re.findall(r"`([^`\n]+)`", text)
        found |= {(page.name, hit) for line in code for hit in re.findall(pattern, line)}
    return found


def test_every_qpipe_command_that_the_pages_show_exists() -> None:
    from qpipe_cli.main import app

    group = typer.main.get_command(app)
    commands = getattr(group, "commands")  # noqa: B009 - typer declares no group here
    shown = _typed(r"(?:^|[\s/(\"])qpipe ([a-z]+)\b(?! *=)")
    assert {("backup.md", "backup"), ("operations.md", "doctor")} <= shown
    assert {(page, name) for page, name in shown if name not in commands} == set()


def test_every_make_target_that_the_pages_show_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {(page, name) for page, names in _typed(r"\bmake ((?:[a-z-]+ ?)+)") for name in names.split()}
    assert {("security.md", "audit"), ("README.md", "demo")} <= shown
    assert {(page, name) for page, name in shown if name not in targets and page != "compose.md"} == set()


def test_only_the_readme_asks_for_a_demo_and_to_install_computes_nothing() -> None:
    """A demo's runs land where the environment says: on a server in the tables that hold its results."""
    assert {page for page, _ in _typed(r"\bmake demo\b")} == {"README.md"}
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^install: \$\(VENV\)/\.installed\n\n", makefile, re.MULTILINE), "it needs the environment alone"
    phony = set(re.findall(r"[\w-]+", re.search(r"^\.PHONY: (.+)", makefile, re.MULTILINE)[1]))  # type: ignore[index]
    assert phony == set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_every_file_of_the_tree_that_the_pages_name_exists() -> None:
    named = _typed(r"\b((?:tests|deploy|jobs|qpipe_[a-z]+|simulation|benchmarks)/[\w/.-]+\w)")
    pictures = r"\]\((images/[^)#]+)\)"
    named |= {(page.name, f"docs/{link}") for page in PAGES for link in re.findall(pictures, page.read_text())}
    assert ("operations.md", "docs/images/backfill.png") in named
    assert {(page, path) for page, path in named if path not in OF_NO_TREE and not (ROOT / path).exists()} == set()


def test_what_is_installed_for_metrics_never_listens_beyond_the_machine() -> None:
    """Debian starts what it installs at once, on all interfaces and without a login."""
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    units = r"((?: [a-z]+(?:-[a-z]+)*)+)"
    [(masked, installed)] = re.findall(
        rf"^    systemctl mask{units}.*\n    apt-get install --no-install-recommends{units}$", text, re.MULTILINE
    )
    assert masked == installed
    commands = re.findall(r"^    prometheus.*(?:\\\n.*)?", text, re.MULTILINE)
    exporters = re.findall(r"^\| \w+ \| .*exporter.*", text, re.MULTILINE)
    others = [line for line in (*commands, *exporters) if "`qpipe exporter`" not in line]
    assert len(others) == 5
    assert [line for line in others if "--web.listen-address=127.0.0.1:" not in line] == []


def test_the_runbook_has_every_alert() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "monitoring" / "rules" / "alerts.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    text = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"\[(\w+)\]\(monitoring\.md#\w+\)", text)) == alerts
    sections = re.findall(r"^### (\w+)$", (ROOT / "docs" / "monitoring.md").read_text(), re.MULTILINE)
    assert alerts <= set(sections)


def test_the_charts_values_are_yaml_and_name_no_secret() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    values = yaml.safe_load(block)
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    assert launcher["envSecrets"] == values["dagster-user-deployments"]["deployments"][0]["envSecrets"]
    assert [name for name in SECRET if name in block] == []
