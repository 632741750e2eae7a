"""The Dagster resource: its configuration is the settings without the secrets, and no secret shows anywhere."""

import json
import logging
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from qpipe_resources.deployment import DeliveryResource
from qpipe_resources.kafka.delivery import KafkaDelivery
from qpipe_resources.kafka.resource import KafkaResource
from qpipe_resources.kafka.settings import SECRETS, VARIABLES, KafkaSettings, KafkaSettingsError
from qpipe_resources.object_store import FolderObjectStore

PASSWORD = "not-to-be-told"


@dg.asset
def opened(context: dg.AssetExecutionContext, delivery: DeliveryResource) -> dg.MaterializeResult:
    """Opens the delivery and tells how Dagster shows it."""
    assert isinstance(delivery, KafkaResource)
    context.log.info("%r %s", delivery, delivery)
    context.log.info("%r %s", delivery.settings(), delivery.settings())
    way = delivery.open(FolderObjectStore(Path("unused")))
    assert isinstance(way, KafkaDelivery)
    way.close()
    return dg.MaterializeResult(metadata=json.loads(delivery.settings().model_dump_json(exclude_none=True)))


def materialize(config: dict[str, Any], instance: dg.DagsterInstance | None = None) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [opened],
        resources={"delivery": KafkaResource()},
        run_config={"resources": {"delivery": {"config": config}}},
        instance=instance,
    )


def shown(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    metadata = result.asset_materializations_for_node("opened")[0].metadata
    return {name: value.value for name, value in metadata.items()}


def test_every_setting_that_is_no_secret_can_be_configured_and_none_must_be() -> None:
    names = set(KafkaResource.model_fields)
    assert names == set(KafkaSettings.model_fields) - set(SECRETS)
    assert all(field.default is None for field in KafkaResource.model_fields.values())
    assert all(VARIABLES[name] in (KafkaResource.model_fields[name].description or "") for name in names)


def test_run_config_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SERVERS", "environment:1")
    monkeypatch.setenv("KAFKA_RETRIES", "9")
    result = shown(materialize({"servers": "config:2", "retry_delay": 0.5, "ssl": True, "kafka_retries": 1}))
    assert (result["servers"], result["retries"]) == ("config:2", 9)
    assert (result["retry_delay"], result["ssl"], result["kafka_retries"]) == (0.5, True, 1)


@pytest.mark.parametrize(
    ("config", "said"),
    [({"acks": "2"}, "acks='2'"), ({"sasl_mechanism": "PLAIN"}, "sasl_mechanism without SASL: give sasl_ssl")],
)
def test_settings_that_cannot_be_used_are_refused_before_the_step_starts(config: dict[str, Any], said: str) -> None:
    with pytest.raises(dg.DagsterResourceFunctionError) as error:
        materialize(config)
    assert isinstance(error.value.__cause__, KafkaSettingsError) and said in str(error.value.__cause__)


@pytest.mark.parametrize("secret", SECRETS)
def test_run_config_takes_no_secret(secret: str) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError):
        materialize({secret: PASSWORD})


def test_secrets_of_the_environment_are_in_no_event_no_log_and_no_run_config(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA_SASL_PLAIN_PASSWORD", PASSWORD)
    monkeypatch.setenv("SCHEMA_REGISTRY_BASIC_AUTH", f"user:{PASSWORD}")
    config = {"servers": "127.0.0.1:1", "sasl_ssl": True, "sasl_mechanism": "PLAIN", "sasl_plain_username": "user"}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, caplog.at_level(logging.DEBUG):
        result = materialize(config, instance)
        events = [str(entry) for entry in instance.all_logs(result.run_id)]
        run = instance.get_run_by_id(result.run_id)
    assert shown(result)["sasl_plain_password"] == "**********"
    stored = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(PASSWORD.encode() in content for content in stored)
    captured = capfd.readouterr()
    assert len(events) > 5 and run is not None
    for text in (*events, str(run), caplog.text, captured.out, captured.err):
        assert PASSWORD not in text
