"""The generated documentation is what its source says."""

from pathlib import Path

import pytest

from qpipe_assets.tables.documentation import render
from qpipe_resources import exporter_settings
from qpipe_resources.kafka import settings as kafka_settings
from qpipe_resources.notify import settings as notify_settings
from qpipe_resources.settings import Settings, load_settings
from qpipe_resources.spark import settings as spark_settings
from simulation import monitor_settings

ROOT = Path(__file__).resolve().parents[1]
OF_CLIENTS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"}
"""Variables that the clients of S3 and PostgreSQL read themselves."""
SECRET_OF_NOTIFICATIONS = {notify_settings.VARIABLES[name] for name in notify_settings.SECRETS}
SECRET = {
    *OF_CLIENTS,
    *SECRET_OF_NOTIFICATIONS,
    *(kafka_settings.VARIABLES[name] for name in kafka_settings.SECRETS),
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
    others |= {*spark_settings.VARIABLES.values(), *exporter_settings.VARIABLES.values()}
    others |= set(notify_settings.VARIABLES.values())
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
        notify_settings.load_notify_settings(),
    )
