"""`qpipe notify`: whether notifications reach anybody."""

from __future__ import annotations

from typing import Annotated

import typer

from qpipe_cli.data import FormatOption
from qpipe_cli.output import Format, print_rows, refuse


def notify(
    test: Annotated[bool, typer.Option("--test", help="Send a test notification through every channel.")] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show through which channels people are told of runs; with --test, try them. Exit code 1 where one fails."""
    from qpipe_resources.notify.delivery import channels, deliver
    from qpipe_resources.notify.notification import Notification
    from qpipe_resources.notify.settings import VARIABLES, NotifySettingsError, load_notify_settings

    try:
        settings = load_notify_settings()
    except NotifySettingsError as error:
        refuse(str(error))
    if not settings.enabled:
        refuse(f"nobody is to be told of runs: set {VARIABLES['email_to']} or {VARIABLES['webhook']}")
    told = {"success": ", ".join(settings.success), "failure": ", ".join(settings.failure)}
    outcome = dict.fromkeys(channels(settings), "not tried; --test does")
    if test:
        lines = [
            "This is a test: notifications of qpipe reach you.",
            "Nothing has happened, and nothing is to be done.",
        ]
        sent = deliver(Notification("test", "qpipe: test notification", lines, link=settings.ui_url), settings)
        outcome = {channel: error or "sent" for channel, error in sent.items()}
    print_rows([{"channel": channel, "outcome": text, **told} for channel, text in outcome.items()], form)
    raise typer.Exit(int(test and any(text != "sent" for text in outcome.values())))
