"""What all tests share: an environment of their own, a fresh installation, and what a test may require."""

from __future__ import annotations

import functools
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.settings import Settings
from tests.noon import begin_at_noon

# Time limits for single examples say more about the machine's load than about the code.
hypothesis_settings.register_profile("qpipe", deadline=None)
hypothesis_settings.load_profile("qpipe")


def _services_run() -> bool:
    from deploy.services.stack import NAMES, Stack

    stack = Stack()
    return all(stack.pid(name) is not None for name in NAMES)


def _prometheus_is_installed() -> bool:
    return all(shutil.which(program) for program in ("prometheus", "promtool", "prometheus-pushgateway"))


@functools.cache
def _spark_starts() -> bool:
    from qpipe_resources.spark.errors import SparkUnavailableError
    from qpipe_resources.spark.jars import require
    from qpipe_resources.spark.settings import SparkSettings

    try:
        require(SparkSettings())
    except SparkUnavailableError:
        return False
    return True


REQUIREMENTS: dict[str, tuple[Callable[[], bool], str]] = {
    "browser": (lambda: shutil.which("chromium") is not None, "install Debian's chromium"),
    "nginx": (lambda: shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is not None, "install nginx-light"),
    "prometheus": (_prometheus_is_installed, "install Debian's prometheus and prometheus-pushgateway"),
    "services": (_services_run, "make services"),
    "spark": (_spark_starts, "make jars, and Java 17 or newer"),
}
"""Markers of tests that need what a fresh machine may lack: whether this machine has it, and how to get it."""

_SETTINGS = (
    "QPIPE_",
    "KAFKA_",
    "SCHEMA_REGISTRY_",
    "AWS_",
    "MONITORING_",
    "PUSHGATEWAY_",
    "R2_SYNC_",
    "AIRFLOW_",
)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose requirement is absent, or fail it where QPIPE_REQUIRE names the requirement."""
    required = {name.strip() for name in os.environ.get("QPIPE_REQUIRE", "").split(",")}
    for name, (present, remedy) in REQUIREMENTS.items():
        if item.get_closest_marker(name) and not present():
            if name in required:
                pytest.fail(f"QPIPE_REQUIRE names {name}, which this machine lacks: {remedy}")
            pytest.skip(f"this machine lacks {name}: {remedy}")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The command sets up logging for its process, which here is the tests'."""
    loggers = [logging.getLogger(name) for name in (None, "simulation", "qpipe_cli", "qpipe_assets", "qpipe_resources")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name in ("DAGSTER_HOME", "PGPASSWORD") or (name.startswith(_SETTINGS) and name != "QPIPE_REQUIRE"):
            monkeypatch.delenv(name)


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """All batches of this process are of one day."""
    begin_at_noon(monkeypatch)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a home that does not exist yet."""
    return Settings(home=tmp_path / "home", dagster_home=tmp_path / "dagster")


@pytest.fixture
def installation(settings: Settings) -> Installation:
    """A fresh installation."""
    return open_installation(settings)
