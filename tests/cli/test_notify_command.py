"""`qpipe notify`: shows the channels, and tries them."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from qpipe_cli.main import app
from tests.notify.servers import mail_server, webhook

runner = CliRunner()


def test_without_anybody_named_it_says_which_variable_to_set() -> None:
    result = runner.invoke(app, ["notify", "--test"])
    assert result.exit_code == 2
    assert "set QPIPE_NOTIFY_EMAIL_TO or QPIPE_NOTIFY_WEBHOOK" in result.output


def test_a_test_goes_through_every_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server("none") as mailbox, webhook() as hook:
        for name, value in {
            "NOTIFY_EMAIL_TO": "a@example.com",
            "NOTIFY_WEBHOOK": hook.url,
            "SMTP_SECURITY": "none",
            "SMTP_PORT": str(mailbox.port),
            "SMTP_HOST": "127.0.0.1",
        }.items():
            monkeypatch.setenv(f"QPIPE_{name}", value)
        shown = runner.invoke(app, ["notify"])
        assert (shown.exit_code, mailbox.messages, hook.bodies) == (0, [], [])
        tried = runner.invoke(app, ["notify", "--test", "--format", "json"])
        assert tried.exit_code == 0, tried.output
        assert (mailbox.messages[0]["Subject"], hook.bodies[0]["kind"]) == ("qpipe: test notification", "test")
        hook.answers = [404]
        failed = runner.invoke(app, ["notify", "--test"])
        assert failed.exit_code == 1
        assert "webhook at 127.0.0.1: answers 404" in failed.output and "T0K3N" not in failed.output
