"""Looks again and again, keeps what was seen for Prometheus to read, and sweeps the PushGateway."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from qpipe_resources.exporter_settings import ExporterSettings, ExporterSettingsError

Part = Callable[[], Iterable[Metric]]
"""Looks at one thing and tells what it saw; may raise."""

_log = logging.getLogger(__name__)


class Exporter(Collector):
    """What was seen at the last look.

    A part that cannot be looked at has no metrics until it can, `qp_exporter_part_up` 0, and a line in the log: old
    numbers would look like new ones.
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        """Prepare; looks at nothing yet.

        Args:
            parts: What to look at, by the value of the label `part`.
        """
        self._parts = parts
        self._seen: list[Metric] = []
        self._up: dict[str, bool] = {}

    def look(self) -> None:
        """Look at every part once."""
        began = time.monotonic()
        seen: list[Metric] = []
        up = GaugeMetricFamily("qp_exporter_part_up", "1 where the exporter could look", labels=("part",))
        for name, part in self._parts.items():
            alive = True
            try:
                seen += part()
            except Exception as error:  # any storage's; it is told by the metric and in the log
                alive = False
                if self._up.get(name, True):
                    _log.warning("%s cannot be looked at: %s: %s", name, type(error).__name__, error)
            else:
                if not self._up.get(name, True):
                    _log.info("%s can be looked at again", name)
            self._up[name] = alive
            up.add_metric((name,), float(alive))
        seconds = time.monotonic() - began
        seen += [
            up,
            GaugeMetricFamily("qp_exporter_look_timestamp_seconds", "When it last looked", value=time.time()),
            GaugeMetricFamily("qp_exporter_look_duration_seconds", "How long that took", value=seconds),
        ]
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        """What Prometheus reads."""
        yield from self._seen


class Sweeper:
    """Deletes stale groups of a PushGateway, and counts them."""

    def __init__(self, sweep: Callable[[], int], every: float = 0.0) -> None:
        """Prepare.

        Args:
            sweep: Deletes and returns how many.
            every: Seconds between two sweeps that worked: a gateway tells all it has to be asked for anything.
        """
        self._sweep = sweep
        self._every = every
        self._deleted = 0
        self._due = 0.0

    def __call__(self) -> Iterable[Metric]:
        """Sweep where it is time, and tell how many groups were deleted since the start."""
        if time.monotonic() >= self._due:
            self._deleted += self._sweep()
            self._due = time.monotonic() + self._every
        return [CounterMetricFamily("qp_exporter_groups_deleted", "Stale groups deleted", value=self._deleted)]


@contextmanager
def served(exporter: Exporter, settings: ExporterSettings) -> Iterator[int]:
    """Inside, Prometheus can read the exporter's metrics at the settings' host; gives the port.

    Raises:
        ExporterSettingsError: the port is taken, or the host is none of this machine's.
    """
    registry = CollectorRegistry()
    registry.register(exporter)
    try:
        server, thread = start_http_server(settings.port, addr=settings.host, registry=registry)
    except OSError as error:
        raise ExporterSettingsError(
            f"port {settings.port} of {settings.host} cannot be had ({error.strerror}): "
            "set QPIPE_EXPORTER_PORT (or --port) and QPIPE_EXPORTER_HOST"
        ) from None
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def keep_looking(exporter: Exporter, interval: float, stop: threading.Event) -> None:
    """Look every `interval` seconds until told to stop."""
    while not stop.wait(interval):
        exporter.look()
