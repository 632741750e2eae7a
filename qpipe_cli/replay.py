"""`qpipe replay`: deliver the records that could not be delivered when they were computed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Annotated, Any

import typer

from qpipe_cli.data import FormatOption
from qpipe_cli.kafka_options import KAFKA, KafkaFlag, asked_settings
from qpipe_cli.logs import log_to_standard_error
from qpipe_cli.option_flags import add_command
from qpipe_cli.output import Format, print_rows, refuse
from qpipe_cli.target import Way
from qpipe_resources.outbox import WAYS, Attempt, NoRecordError, Outbox, OutboxFile, open_outbox, replay_command
from qpipe_resources.settings import Settings, load_settings

_log = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add the command to the application, with one flag for each setting of Kafka."""
    add_command(app, "replay", replay, (KAFKA,))


def replay(
    given: dict[str, Any],
    sent: Annotated[bool, typer.Option("--sent", help="Also send again what was sent and is in no table yet.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be delivered.")] = False,
    kafka: KafkaFlag = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Deliver the records that could not be delivered when they were computed; exit code 1 when some are left.

    Records wait apart by where they were to go: a folder, a bucket or Kafka. The same QPIPE_ENV, or --kafka, delivers
    them; what waits for another way stays, and is told with its command.
    """
    log_to_standard_error("INFO")
    try:
        settings = load_settings()
        way = Way(settings, asked_settings(kafka, given))
        with closing(way.delivery):
            files = way.outbox.undelivered() + (_not_arrived(way, forget=not dry_run) if sent else [])
            attempts = _looked_at(way.outbox, files) if dry_run else way.outbox.deliver_all(files, way.delivery)
            rows = [_row(attempt) for attempt in _told(attempts, len(files))]
            if way.beside and not dry_run and (count := way.outbox.expire(settings.sent_days)):
                _log.info("%d records that were sent over %d days ago were removed", count, settings.sent_days)
    except (ValueError, RuntimeError, OSError) as error:
        refuse(str(error))
    print_rows(rows, form, title="to be delivered" if dry_run else "delivered")
    for line in _elsewhere(settings, way.name, sent=sent):
        print(line, file=sys.stderr)
    if any(row["error"] for row in rows):
        raise typer.Exit(1)


def _not_arrived(way: Way, *, forget: bool) -> list[OutboxFile]:
    """What was sent and is in no table; what is in the tables is removed on the way."""
    files = way.outbox.sent()
    if way.ledger is None:
        return files
    arrived = way.ledger.claimed({file.experiment for file in files})
    if forget:
        way.outbox.forget(arrived)
    return [file for file in files if file.experiment not in arrived]


def _elsewhere(settings: Settings, mine: str, *, sent: bool) -> Iterator[str]:
    """What the outboxes of other ways hold, with the commands that deliver it."""
    for way in (one for one in WAYS if one != mine):
        outbox, command = open_outbox(settings, way), replay_command(settings, way)
        if count := len(outbox.undelivered()):
            yield f"{count} records wait for `{command}` besides"
        if sent and (count := len(outbox.sent())):
            yield f"{count} records were sent by way of {way}: `{command} --sent` sends again what has not arrived"


def _looked_at(outbox: Outbox, files: list[OutboxFile]) -> Iterator[Attempt]:
    for file in files:
        try:
            found = outbox.read(file) is not None
        except NoRecordError as error:
            yield Attempt(file, error=str(error))
        else:
            yield Attempt(file, str(file.path) if found else "gone meanwhile", waits=found)


def _told(attempts: Iterator[Attempt], total: int) -> Iterator[Attempt]:
    """The attempts, each told as it is made."""
    for number, attempt in enumerate(attempts, start=1):
        what = attempt.where or f"error: {attempt.error}"
        _log.info("[%d/%d] %s %s: %s", number, total, attempt.file.molecule, attempt.file.experiment[:12], what)
        yield attempt


def _row(attempt: Attempt) -> dict[str, Any]:
    file = attempt.file
    return {
        "experiment": file.experiment,
        "molecule": file.molecule,
        "where": attempt.where,
        "error": attempt.error,
    }
