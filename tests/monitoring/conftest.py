"""Servers of the monitoring tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qpipe_resources import push_gateway
from tests.monitoring.servers import PushGateway, pushgateway


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[PushGateway]:
    """A PushGateway of its own."""
    with pushgateway(tmp_path) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_gateway_rests() -> None:
    push_gateway._resting_until.clear()
