"""`qpipe sink`: land what comes through Kafka in the raw object store."""

from __future__ import annotations

import dataclasses
import logging
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qpipe_cli.data import FormatOption
from qpipe_cli.kafka_options import KAFKA as SENDER_FLAGS
from qpipe_cli.logs import log_to_standard_error
from qpipe_cli.option_flags import add_command
from qpipe_cli.output import Format, print_rows, refuse
from qpipe_resources.kafka.settings import KafkaSettings, load_kafka_settings
from qpipe_resources.settings import Settings, load_settings

if TYPE_CHECKING:
    from qpipe_assets.kafka_sink.sink import Sink, SinkProgress

KAFKA = dataclasses.replace(
    SENDER_FLAGS, title="Kafka", hidden=("retries", "retry_delay", "kafka_retries", "acks", "max_message_bytes")
)

_STORE_PATIENCE = 2.0
"""Seconds for which the store's own retries hide that it is down; then the sink says so and waits on."""
_QUIET_SECONDS = 10.0
"""Between two lines of progress where they are not written over each other."""
_MEGABYTE = 1e6

_log = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add the command to the application, with one flag for each setting of Kafka that a reader has."""
    add_command(app, "sink", sink, (KAFKA,))


def sink(
    given: dict[str, Any],
    until_caught_up: Annotated[
        bool,
        typer.Option("--until-caught-up", "--once", help="End when all has landed that was in the topic at the start."),
    ] = False,
    retry_dead_letters: Annotated[
        bool,
        typer.Option(
            "--retry-dead-letters", help="Land those of the topic's dead letters that can be decoded now, and end."
        ),
    ] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Land what comes through Kafka in the raw object store, until it is stopped.

    Messages that are no record go to dead-letters/ with the reason. While a service is down the sink waits for it.
    """
    log_to_standard_error("INFO")
    try:
        settings, kafka = load_settings(), load_kafka_settings(KAFKA.explicit(given), KAFKA.flag)
    except ValueError as error:
        refuse(str(error))
    if retry_dead_letters:
        _retry(settings, kafka, form)
    else:
        _run(settings, kafka, until_caught_up)


def _run(settings: Settings, kafka: KafkaSettings, until_caught_up: bool) -> None:
    from qpipe_assets.kafka_sink.sink import Sink, SinkStalledError
    from qpipe_resources.kafka.consumer import ResultConsumer
    from qpipe_resources.kafka.errors import KafkaError
    from qpipe_resources.kafka.serialization import RecordDeserializer
    from qpipe_resources.opening import open_store

    try:
        running = Sink(
            open_store(settings, patience=_STORE_PATIENCE),
            RecordDeserializer(kafka),
            ResultConsumer(kafka),
            log=_log.warning,
        )
    except KafkaError as error:
        refuse(str(error))
    _log.info("%s from %s as %s", kafka.topic, kafka.servers, kafka.group)
    line = _ProgressLine()
    with _stopped_by_signals(running):
        try:
            running.run(until_caught_up=until_caught_up, watch=line.show)
        except (SinkStalledError, KafkaError) as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
        finally:
            line.close(running.progress)


def _retry(settings: Settings, kafka: KafkaSettings, form: Format) -> None:
    from qpipe_assets.kafka_sink.message_landing import land_dead_letters
    from qpipe_assets.kafka_sink.patience import GivenUpError
    from qpipe_resources.kafka.errors import KafkaError
    from qpipe_resources.kafka.serialization import RecordDeserializer
    from qpipe_resources.object_store import StoreRefusedError, StoreUnavailableError
    from qpipe_resources.opening import open_store

    rows, failure = [], ""
    try:
        for name, landed in land_dead_letters(open_store(settings), RecordDeserializer(kafka), kafka.topic):
            lies = "dead letter" if landed.reason else "landed"
            rows.append({"message": name, "is": lies, "key": landed.key, "reason": landed.reason})
    except (GivenUpError, KafkaError, StoreRefusedError, StoreUnavailableError, OSError, ValueError) as error:
        failure = str(error)
    print_rows(rows, form, title=f"dead letters of {kafka.topic}")
    if failure:
        print(f"error: {failure}", file=sys.stderr)
        raise typer.Exit(1)


@contextmanager
def _stopped_by_signals(running: Sink) -> Iterator[None]:
    """Inside, SIGTERM and SIGINT let the sink finish what it has in hand; a second one ends the process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(number: int, frame: object) -> None:
        signal.signal(number, before[signal.Signals(number)])
        running.stop()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _ProgressLine:
    """What has landed, on standard error: one line that follows it on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown = ""
        self._due = time.monotonic() + _QUIET_SECONDS

    def show(self, progress: SinkProgress) -> None:
        """The progress by now."""
        text = _text(progress)
        if self._live:
            sys.stderr.write("\r" + text.ljust(len(self._shown)))
            sys.stderr.flush()
            self._shown = text
        elif text != self._shown and time.monotonic() >= self._due:
            self._due = time.monotonic() + _QUIET_SECONDS
            self._shown = text
            print(text, file=sys.stderr)

    def close(self, progress: SinkProgress) -> None:
        """The progress at the end."""
        print(("\r" if self._live else "") + _text(progress).ljust(len(self._shown)), file=sys.stderr)


def _text(progress: SinkProgress) -> str:
    lag = "?" if progress.lag is None else progress.lag
    return (
        f"{progress.landed} landed, {progress.bytes / _MEGABYTE:.1f} MB, {progress.dead_letters} dead letters, "
        f"{lag} waiting"
    )
