"""`qpipe exporter`: Dagster's own state for Prometheus, and the PushGateway kept free of stale metrics."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Annotated

import typer

from qpipe_cli.home import prepare_home
from qpipe_cli.logs import log_to_standard_error
from qpipe_cli.output import refuse

_log = logging.getLogger(__name__)


def exporter(
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on; 0 takes a free one.")] = None,
    interval: Annotated[float | None, typer.Option("--interval", help="Seconds between two looks.")] = None,
) -> None:
    """Serve Dagster's metrics on QPIPE_EXPORTER_HOST until stopped, and delete stale groups from PUSHGATEWAY_URL."""
    from qpipe_resources.exporter_settings import ExporterSettingsError, load_exporter_settings
    from simulation.monitor_settings import load_monitor_settings

    log_to_standard_error("INFO")
    try:
        settings = load_exporter_settings({"port": port, "interval": interval})
        gateway = load_monitor_settings().pushgateway
    except ValueError as error:
        refuse(str(error))
    home = prepare_home().dagster_home

    from dagster import DagsterInstance

    from jobs.definitions import build_defs
    from jobs.exporter.assembly import build_exporter, gateway_sweeper
    from jobs.exporter.exporter import keep_looking, served

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with DagsterInstance.from_config(str(home)) as instance:
        sweeper = gateway_sweeper(gateway, settings.lifetimes) if gateway else None
        running = build_exporter(instance, build_defs(), sweeper)
        running.look()
        try:
            with served(running, settings) as bound:
                _log.info("metrics of %s on http://%s:%s/metrics", home, settings.host, bound)
                keep_looking(running, settings.interval, stop)
        except ExporterSettingsError as error:
            refuse(str(error))
