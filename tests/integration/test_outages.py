"""What an operator sees when a part is down, misconfigured or full: the service and the remedy; and nothing is lost."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from deploy.services.stack import Stack
from qpipe_assets.tables.decode import decode_usable, records_of
from qpipe_assets.tables.installation import open_installation
from qpipe_resources.kafka.client_config import producer_config
from qpipe_resources.kafka.delivery import KafkaDelivery
from qpipe_resources.kafka.serialization import RecordSerializer
from qpipe_resources.kafka.settings import load_kafka_settings
from qpipe_resources.object_layout import DEAD_LETTERS
from qpipe_resources.opening import open_store
from qpipe_resources.settings import load_settings
from tests.integration.conftest import Sandbox
from tests.integration.fault_commands import IMPATIENT, Operator
from tests.integration.fault_disk import MIB, on_a_small_disk, small_garage
from tests.integration.fault_records import Shape, full_record, molecule_of
from tests.integration.fault_schedule import until

SIMULATE = ("simulate", "-m", "H2")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def operator(sandbox: Sandbox, tmp_path: Path) -> Operator:
    return Operator({**sandbox.environment, **IMPATIENT}, tmp_path)


def undelivered() -> list[Path]:
    return sorted(load_settings().outbox.glob("kafka/undelivered/*/*.json"))


def landed() -> list[str]:
    """Keys of the results in the bucket."""
    return [info.key for info in open_store(load_settings()).list_objects("experiments/")]


def ingested(molecule: str = "H2") -> int:
    """Results in the tables, after an ingest."""
    installation = open_installation()
    installation.ingest().run(molecule)
    return installation.lakehouse.arrow("vqe_results").num_rows


@pytest.mark.parametrize(("service", "called"), [("registry", "registry"), ("kafka", "kafka")])
def test_a_result_that_cannot_leave_is_kept_and_replayed_when_the_service_is_back(
    service: str, called: str, stack: Stack, operator: Operator
) -> None:
    stack.kill(service)
    refused = operator.qpipe(*SIMULATE)
    assert refused.code != 0
    refused.names(called, "qpipe replay")
    (kept,) = undelivered()
    still = operator.qpipe("replay")
    assert still.code != 0
    still.names(called)
    assert undelivered() == [kept]
    stack.start(service)
    operator.does("replay")
    assert undelivered() == []
    operator.does("sink", "--once")
    assert len(landed()) == 1
    assert ingested() == 1
    operator.does("replay")
    operator.does("sink", "--once")
    assert len(landed()) == 1


def test_a_result_that_waits_in_the_outbox_is_not_computed_again(operator: Operator) -> None:
    down = operator.with_(KAFKA_SERVERS="127.0.0.1:1")
    assert down.qpipe(*SIMULATE).code != 0
    (kept,) = undelivered()
    written = kept.stat().st_mtime_ns
    again = operator.does(*SIMULATE)
    again.names("already computed")
    assert undelivered() == [] or undelivered()[0].stat().st_mtime_ns == written


def test_a_sink_waits_for_a_bucket_that_is_missing_and_goes_on_when_it_is_there(
    sandbox: Sandbox, operator: Operator
) -> None:
    operator.does(*SIMULATE)
    s3 = sandbox.s3()
    s3.delete_bucket(Bucket=sandbox.raw_bucket)
    with operator.sink() as sink:
        sink.says("object store", sandbox.raw_bucket)
        s3.create_bucket(Bucket=sandbox.raw_bucket)
        sink.until(lambda: len(landed()) == 1, "the object in the bucket that was made late")


def test_a_wrong_s3_secret_is_told_and_loses_nothing(operator: Operator) -> None:
    operator.does(*SIMULATE)
    with operator.with_(AWS_SECRET_ACCESS_KEY="0" * 64).sink() as sink:
        sink.says("object store", "AWS_SECRET_ACCESS_KEY")
    assert landed() == []
    operator.does("sink", "--once")
    assert len(landed()) == 1
    log = (operator.folder / "sink.log").read_text()
    assert "0" * 64 not in log


@pytest.mark.parametrize("service", ["kafka", "registry", "garage"])
def test_a_sink_whose_service_dies_says_so_waits_and_goes_on(service: str, stack: Stack, operator: Operator) -> None:
    called = {"kafka": "kafka", "registry": "registry", "garage": "object store"}[service]
    operator.does(*SIMULATE)
    stack.kill(service)
    with operator.sink() as sink:
        sink.says(called)
        stack.start(service)
        sink.until(lambda: len(landed()) == 1, "the object")
    assert ingested() == 1


def test_a_wrong_sasl_password_is_told_without_the_password_and_the_right_one_delivers(
    stack: Stack, operator: Operator
) -> None:
    user = stack.kafka_users["SCRAM-SHA-512"]
    known = operator.with_(
        KAFKA_SERVERS=stack.listeners["SASL_SSL"],
        KAFKA_SASL_SSL="true",
        KAFKA_SASL_MECHANISM=user.mechanism,
        KAFKA_SASL_PLAIN_USERNAME=user.name,
        KAFKA_SASL_PLAIN_PASSWORD=user.password,
        KAFKA_SSL_CAFILE=str(stack.tls.ca),
    )
    wrong = known.with_(KAFKA_SASL_PLAIN_PASSWORD="guessed-in-vain")
    refused = wrong.qpipe(*SIMULATE)
    assert refused.code != 0
    refused.names("kafka", "KAFKA_SASL_PLAIN_PASSWORD", "qpipe replay")
    assert "guessed-in-vain" not in refused.said + refused.printed
    assert len(undelivered()) == 1
    known.does("replay")
    known.does("sink", "--once")
    assert len(landed()) == 1
    assert undelivered() == []


def test_a_result_leaves_though_the_disk_of_the_outbox_is_full(operator: Operator) -> None:
    outbox = load_settings().outbox
    outbox.mkdir(parents=True)
    answer = operator.within(*on_a_small_disk(outbox, 4096)).does(*SIMULATE)
    answer.names(str(outbox), "space")
    operator.does("sink", "--once")
    assert len(landed()) == 1


def test_a_result_that_nothing_takes_is_told_with_disk_and_broker_and_the_next_run_delivers_it(
    operator: Operator,
) -> None:
    outbox = load_settings().outbox
    outbox.mkdir(parents=True)
    down = operator.with_(KAFKA_SERVERS="127.0.0.1:1").within(*on_a_small_disk(outbox, 4096))
    refused = down.qpipe(*SIMULATE)
    assert refused.code != 0
    refused.names(str(outbox), "space", "kafka")
    operator.does(*SIMULATE)
    operator.does("sink", "--once")
    assert len(landed()) == 1


def test_a_sink_waits_for_a_full_object_store_and_goes_on_when_there_is_room(
    operator: Operator, tmp_path: Path
) -> None:
    operator.does(*SIMULATE)
    with small_garage(tmp_path / "services") as garage:
        variables = garage.variables()
        garage.fill()
        with operator.with_(**variables).sink() as sink:
            sink.says("object store", "full")
            garage.make_room()
            settings = load_settings().model_copy(
                update={"s3_endpoint": garage.endpoint, "s3_raw_bucket": variables["QPIPE_S3_RAW_BUCKET"]}
            )
            with pytest.MonkeyPatch.context() as patch:
                for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                    patch.setenv(name, variables[name])
                store = open_store(settings)
                sink.until(lambda: len(list(store.list_objects("experiments/"))) == 1, "the object")


@pytest.mark.parametrize("service", ["kafka", "registry", "garage", "postgres"])
def test_doctor_names_the_service_that_is_down_and_what_to_do(service: str, stack: Stack, operator: Operator) -> None:
    check, variable = {
        "kafka": ("broker", "KAFKA_SERVERS"),
        "registry": ("registry", "SCHEMA_REGISTRY_URL"),
        "garage": ("object store", "QPIPE_S3_ENDPOINT"),
        "postgres": ("catalog", "QPIPE_CATALOG_URI"),
    }[service]
    stack.kill(service)
    answer = operator.qpipe("doctor", "--format", "json")
    assert answer.code != 0, answer.printed
    failed = {row["check"]: row["remedy"] for row in json.loads(answer.printed) if row["status"] == "failed"}
    assert "start" in failed[check] and variable in failed[check], failed
    assert set(failed) <= {check, "registry"}, f"others are told to have failed, too: {failed}"
    for secret in ("AWS_SECRET_ACCESS_KEY", "PGPASSWORD"):
        assert operator.environment[secret] not in answer.printed + answer.said
    stack.start(service)
    # The registry needs a moment to find out that its connections to PostgreSQL are gone.
    until(lambda: operator.qpipe("doctor").code == 0, 60, "the doctor to find all well")


def test_a_result_of_20_mib_passes_from_end_to_end(operator: Operator) -> None:
    record = full_record(1, "20 MiB", Shape(evaluations=27_400, parameters=96, terms=1_000, circuit_bytes=40_000))
    settings = load_kafka_settings()
    assert len(RecordSerializer(settings).to_bytes(record)) > 20 * MIB
    KafkaDelivery(settings).deliver(molecule_of(1), record)
    operator.does("sink", "--once")
    (key,) = landed()
    [stored] = records_of(open_store(load_settings()).get(key).data).values()
    assert stored.vqe_result.iteration_list == record.vqe_result.iteration_list
    assert ingested(molecule_of(1)) == 1
    assert open_installation().lakehouse.arrow("iteration_parameters").num_rows == 27_400 * 96


def test_messages_that_are_no_record_are_put_aside_with_a_reason_each_and_stop_nothing(operator: Operator) -> None:
    settings = load_kafka_settings()
    serializer = RecordSerializer(settings)
    good = [serializer.to_bytes(full_record(number, "poison")) for number in range(0, 40, 5)]
    poison = _poison(good[0], SchemaRegistryClient({"url": settings.registry_url}))
    producer = Producer(producer_config(settings))
    for number, value in enumerate(good):
        producer.produce(settings.topic, value, "H2", partition=0)
        for bad in list(poison.values())[number :: len(good)]:
            producer.produce(settings.topic, bad, "H2", partition=0)
    assert producer.flush(30) == 0
    # Its bytes are of its schema: it lands, and the ingest finds out.
    bad_inside = poison.pop("energy is no number")
    operator.does("sink", "--once")
    store = open_store(load_settings())
    found = [decode_usable(store.get(key).data) for key in landed()]
    assert sum(len(usable) for usable, _ in found) == len(good)
    [unusable] = [one for _, several in found for one in several]
    assert bad_inside is not None and bad_inside[5:] in unusable.document
    letters = [info.key for info in store.list_objects(f"{DEAD_LETTERS}{settings.topic}/")]
    reasons = [json.loads(store.get(key).data)["reason"] for key in letters if key.endswith(".json")]
    assert len(reasons) == len(poison), reasons
    assert all(reasons)
    kept = sorted(store.get(key).data for key in letters if key.endswith(".bin"))
    assert kept == sorted(value or b"" for value in poison.values())
    assert ingested() == len(good)
    [refused] = open_installation().discovery.quarantined()
    assert "got nan" in str(refused["error"])


def _poison(good: bytes, registry: SchemaRegistryClient) -> dict[str, bytes | None]:
    """A message of each kind that is no record."""
    text = Schema(json.dumps({"type": "record", "name": "Other", "fields": [{"name": "x", "type": "string"}]}), "AVRO")
    other = registry.register_schema("something.else-value", text)
    nan = struct.pack("<d", math.nan)
    energy = struct.pack("<d", full_record(0, "poison").vqe_result.minimum)
    assert good.count(energy) >= 1
    plain = json.loads(full_record(5, "poison").to_json())
    return {
        "no value": None,
        "empty": b"",
        "text": b"hello",
        "magic byte alone": b"\x00",
        "no body": good[:5],
        "body cut short": good[: len(good) // 2],
        "unknown schema id": b"\x00" + struct.pack(">I", 2**31 - 1) + good[5:],
        "another schema": b"\x00" + struct.pack(">I", other) + b"\x04hi",
        "body of another schema": good[:5] + b"\x04hi",
        "energy is no number": good.replace(energy, nan),
        "random bytes": bytes(range(256)) * 8,
        "JSON that ends early": b'{"vqe_result": {',
        "JSON of something else": b'{"hello": 1}',
        "JSON record without molecule": json.dumps({k: v for k, v in plain.items() if k != "molecule"}).encode(),
        "JSON list": b"[1, 2]",
    }
