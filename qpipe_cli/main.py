"""The `qpipe` command: assembles the sub-commands; nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys

import typer

from qpipe_cli import (
    adopt,
    backup,
    data,
    demo,
    diff,
    doctor,
    estimate,
    export,
    exporter,
    home,
    maintain,
    molecules,
    notify,
    replay,
    report,
    scan,
    simulate,
    sink,
    tiers,
)

app = typer.Typer(
    help="Data platform for variational quantum eigensolver (VQE) experiments.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(molecules.molecules)
app.command()(data.tables)
app.command()(data.sql)
app.command()(diff.diff)
app.command()(data.why)
app.command()(report.report)
app.command()(maintain.maintain)
app.command()(adopt.adopt)
app.command()(export.export)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(home.home)
app.command()(doctor.doctor)
app.command()(exporter.exporter)
app.command()(notify.notify)
app.command()(demo.demo)
simulate.register(app)
scan.register(app)
estimate.register(app)
replay.register(app)
sink.register(app)
app.add_typer(tiers.app, name="tiers")


def run() -> None:
    """Run the command: one line on standard error, and exit code 2 for input that cannot be used, 1 for a service."""
    from qpipe_resources.errors import ServiceError
    from qpipe_resources.kafka.settings import KafkaSettingsError
    from qpipe_resources.lakehouse_versions import UnknownVersionError
    from qpipe_resources.notify.settings import NotifySettingsError
    from qpipe_resources.schema_evolution import SchemaRefusedError
    from qpipe_resources.settings import SettingsError

    try:
        app()
    except (SettingsError, KafkaSettingsError, NotifySettingsError, UnknownVersionError, SchemaRefusedError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run()
