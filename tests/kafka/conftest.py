"""Settings without the environment, a registry in this process, and messages as a writer makes them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qpipe_resources.kafka.settings import VARIABLES, KafkaSettings
from tests.kafka.registry_server import Registry, serving


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving(Registry()) as served:
        yield served


@pytest.fixture
def settings(registry: Registry) -> KafkaSettings:
    return KafkaSettings(registry_url=registry.url, retry_delay=0.0, timeout=1.0)
