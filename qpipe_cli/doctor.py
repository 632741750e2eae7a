"""`qpipe doctor`: looks at every configured service and says what to put right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import typer

from qpipe_cli.data import FormatOption
from qpipe_cli.output import Format, print_rows
from qpipe_resources.health.checks import Check, Finding, Status, failed, fine, run_checks, warning
from qpipe_resources.health.redaction import redaction
from qpipe_resources.kafka.settings import VARIABLES, KafkaSettings, KafkaSettingsError, load_kafka_settings
from qpipe_resources.settings import Settings, load_settings


def doctor(form: FormatOption = Format.TABLE) -> None:
    """Look at every configured service; exit code 1 where one has failed. Writes nothing but a probe object."""
    settings = load_settings()
    checks = list(checks_of(settings))
    kafka = None
    if settings.env == "services" or os.environ.get(VARIABLES["servers"]):
        try:
            kafka = load_kafka_settings()
            checks.extend(kafka_checks_of(kafka))
        except KafkaSettingsError as error:
            checks.append(Check("kafka settings", partial(failed, str(error), "correct the variable"), ""))
    findings = run_checks(checks, redact=redaction([settings, *([kafka] if kafka else [])]))
    print_rows(
        [{"check": name, "status": str(f.status), "seen": f.seen, "remedy": f.remedy} for name, f in findings], form
    )
    raise typer.Exit(int(any(finding.status is Status.FAILED for _, finding in findings)))


def checks_of(settings: Settings) -> Iterator[Check]:
    """The checks of storage and tables: the ONE list of them."""
    # Imported here, before there are threads: modules that import one another deadlock when two threads begin at once.
    from qpipe_assets.tables.ledger_tables import objects
    from qpipe_resources.health.buckets import check_bucket, check_dead_letters, check_endpoint
    from qpipe_resources.health.catalog import check_catalog
    from qpipe_resources.health.homes import check_dagster_home, check_home, check_outbox

    ledger = list(objects.metadata.tables)
    local = settings.env == "local"
    yield Check("home", partial(check_home, settings), "give this user a folder to write to in QPIPE_HOME")
    yield Check("dagster home", partial(check_dagster_home, settings), 'eval "$(qpipe home)"')
    yield Check("catalog", partial(check_catalog, settings, ledger), _CATALOG_LOCAL if local else _CATALOG)
    if not local:
        yield Check("object store", partial(check_endpoint, settings), "correct QPIPE_S3_ENDPOINT")
    buckets = {"raw results": settings.s3_raw_bucket} | ({} if local else {"features": settings.s3_features_bucket})
    for name, bucket in buckets.items():
        after = None if local else "object store"
        yield Check(name, partial(check_bucket, settings, bucket), "see the object store's log", after)
    yield Check("quarantine", partial(check_quarantine, settings), "see the catalog's row", "catalog")
    yield Check("dead letters", partial(check_dead_letters, settings), "see the row of raw results", "raw results")
    yield Check("outbox", partial(check_outbox, settings), "let this user read the outbox")


def kafka_checks_of(kafka: KafkaSettings) -> Iterator[Check]:
    """The checks of what results go through: the ONE list of them."""
    from qpipe_resources.health.broker import check_broker, check_sink, check_topic
    from qpipe_resources.health.registry import check_registry, check_schema

    yield Check("broker", partial(check_broker, kafka), "correct the variables KAFKA_*")
    yield Check("topic", partial(check_topic, kafka), "let this user describe the topic", "broker")
    yield Check("sink", partial(check_sink, kafka), "let this user describe the group (KAFKA_GROUP)", "broker")
    yield Check("registry", partial(check_registry, kafka), _REGISTRY)
    yield Check("schema", partial(check_schema, kafka), "see the registry's log", "registry")


def check_quarantine(settings: Settings) -> Finding:
    """How many objects there are whose latest version is no record."""
    from sqlalchemy import inspect

    from qpipe_assets.tables import schemas
    from qpipe_assets.tables.installation import Installation
    from qpipe_assets.tables.ledger_tables import objects
    from qpipe_resources.opening import open_lakehouse, open_store

    if settings.env == "local" and not settings.catalog_database.exists():
        return fine("none: there is no ledger yet")
    installation = Installation(settings, open_store(settings), open_lakehouse(settings, schemas.NAMESPACE))
    if not inspect(installation.lakehouse.engine).has_table(objects.name):
        return fine("none: there is no ledger yet")
    found = installation.discovery.quarantined()
    if not found:
        return fine("none")
    return warning(
        f"{len(found)}, the first {found[0]['object_key']}: {found[0]['error']}",
        "repair each object in place: its new version is taken by itself (check nothing_quarantined lists them)",
    )


_CATALOG_LOCAL = "move catalog.db and features/ away; the next ingest makes the tables again from the raw objects"
_CATALOG = "see PostgreSQL's log"
_REGISTRY = "start the Schema Registry (make services), or correct SCHEMA_REGISTRY_URL"
