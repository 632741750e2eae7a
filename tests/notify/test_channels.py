"""Mail and webhook against real servers on loopback: encrypted as asked, tried again a little, never without end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from qpipe_resources.notify.attempts import ATTEMPTS, NotDeliveredError
from qpipe_resources.notify.delivery import deliver
from qpipe_resources.notify.mail import send_mail
from qpipe_resources.notify.notification import Listing, Notification
from qpipe_resources.notify.settings import NotifySettings
from qpipe_resources.notify.webhook import post
from tests.notify.servers import PASSWORD, USER, mail_server, webhook

TOLD = Notification(
    "success",
    "qpipe: quantum_feature_processing succeeded (LiH)",
    ["Job quantum_feature_processing succeeded: LiH.", "New runs in the tables: 2."],
    [Listing("Rows added by table", [{"table": "vqe_results", "rows": 2}, {"table": "<b>", "rows": None}])],
    details="a < b",
    link="http://127.0.0.1:3000/runs/1",
    facts={"job": "quantum_feature_processing"},
)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qpipe_resources.notify.attempts.PAUSE_SECONDS", 0.01)


def settings(port: int, **given: Any) -> NotifySettings:
    defaults = {"email_to": ("a@example.com", "b@example.com"), "smtp_host": "localhost", "smtp_port": port}
    return NotifySettings(**(defaults | given))


@pytest.mark.parametrize(("security", "auth"), [("none", False), ("none", True), ("starttls", True), ("tls", True)])
def test_a_mail_arrives_as_text_and_html_encrypted_and_signed_in_as_asked(
    security: str, auth: bool, certificate: Path
) -> None:
    credentials = {"smtp_user": USER, "smtp_password": PASSWORD} if auth else {}
    trusted = certificate if security != "none" else None
    with mail_server(security, trusted, auth=auth) as mailbox:
        send_mail(TOLD, settings(mailbox.port, smtp_security=security, smtp_cafile=str(certificate), **credentials))
    [message] = mailbox.messages
    assert mailbox.encrypted == [security != "none"]
    assert mailbox.signed_in == [auth]
    assert (message["Subject"], message["To"]) == (TOLD.subject, "a@example.com, b@example.com")
    plain, html = (message.get_body((kind,)).get_content() for kind in ("plain", "html"))  # type: ignore[union-attr]
    for part in ("New runs in the tables: 2.", "vqe_results", TOLD.link):
        assert part in plain and part in html
    assert "a < b" in plain and "<b>" in plain
    assert "a &lt; b" in html and "<td>&lt;b&gt;</td>" in html and "<b>" not in html


def test_nothing_is_said_in_clear_where_tls_is_wanted(certificate: Path) -> None:
    with mail_server("none") as mailbox:
        for security in ("starttls", "tls"):
            with pytest.raises(NotDeliveredError):
                send_mail(TOLD, settings(mailbox.port, smtp_security=security, timeout=1))
    assert mailbox.messages == []


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    with (
        mail_server("starttls", certificate) as mailbox,
        pytest.raises(NotDeliveredError, match=r"the certificate is not trusted .*QPIPE_SMTP_CAFILE"),
    ):
        send_mail(TOLD, settings(mailbox.port))
    assert mailbox.messages == []


def test_a_wrong_password_is_told_without_it_and_not_tried_again(certificate: Path) -> None:
    given = {"smtp_user": USER, "smtp_password": "wrong horse", "smtp_cafile": str(certificate)}
    with (
        mail_server("starttls", certificate, auth=True) as mailbox,
        pytest.raises(NotDeliveredError, match=r"refuses user qpipe .*QPIPE_SMTP_PASSWORD") as raised,
    ):
        send_mail(TOLD, settings(mailbox.port, **given))
    assert "wrong horse" not in str(raised.value)


def test_a_server_that_is_busy_is_tried_again_a_refusal_is_final() -> None:
    with mail_server("none") as mailbox:
        plain = settings(mailbox.port, smtp_security="none")
        mailbox.answers = ["451 try later"]
        send_mail(TOLD, plain)
        assert (len(mailbox.messages), mailbox.connections) == (1, 2)
        mailbox.answers = ["451 try later"] * 10
        with pytest.raises(NotDeliveredError, match="451"):
            send_mail(TOLD, plain)
        assert mailbox.connections == 2 + ATTEMPTS
        mailbox.answers = ["554 we take no such mails"]
        with pytest.raises(NotDeliveredError, match="554"):
            send_mail(TOLD, plain)
        assert mailbox.connections == 3 + ATTEMPTS


def test_a_recipient_that_is_refused_is_named_and_the_others_have_the_mail_once() -> None:
    with mail_server("none") as mailbox:
        mailbox.unknown = {"b@example.com": "550 no such user"}
        with pytest.raises(
            NotDeliveredError, match=r"b@example.com: 550 .*no such user.*QPIPE_NOTIFY_EMAIL_TO"
        ) as raised:
            send_mail(TOLD, settings(mailbox.port, smtp_security="none"))
        assert "the others have it" in str(raised.value) and "a@example.com" not in str(raised.value)
        mailbox.unknown["a@example.com"] = "550 nor this one"
        with pytest.raises(NotDeliveredError, match="no recipient was accepted"):
            send_mail(TOLD, settings(mailbox.port, smtp_security="none"))
    assert len(mailbox.messages) == 1


def test_a_subject_cannot_begin_another_header() -> None:
    with mail_server("none") as mailbox:
        evil = Notification("failure", "qpipe: x\r\nBcc: eve@example.com", ["text"])
        send_mail(evil, settings(mailbox.port, smtp_security="none"))
    assert mailbox.messages[0]["Bcc"] is None


def test_the_webhook_gets_json() -> None:
    with webhook() as hook:
        post(TOLD, SecretStr(hook.url), 5)
    [body] = hook.bodies
    assert (body["kind"], body["job"]) == ("success", "quantum_feature_processing")
    assert body["listings"][0]["rows"][0] == {"table": "vqe_results", "rows": 2}
    assert body["text"].startswith(TOLD.subject)


@pytest.mark.parametrize(
    ("answers", "requests", "error"),
    [
        ([503, 429], 3, None),
        ([500] * 9, ATTEMPTS, "answers 500"),
        ([404], 1, "answers 404"),
        ([302], 1, "a redirect"),
    ],
)
def test_the_webhook_is_tried_again_where_that_may_help(answers: list[int], requests: int, error: str | None) -> None:
    with webhook() as hook:
        hook.answers = list(answers)
        if error is None:
            post(TOLD, SecretStr(hook.url), 5)
        else:
            with pytest.raises(NotDeliveredError, match=error) as raised:
                post(TOLD, SecretStr(hook.url), 5)
            assert "T0K3N" not in str(raised.value)
    assert hook.requests == requests


def test_a_channel_that_cannot_say_its_secret_does_not_keep_from_the_other_and_does_not_tell_it() -> None:
    with mail_server("none", auth=True) as mailbox, webhook() as hook:
        given = settings(mailbox.port, smtp_security="none", smtp_user=USER, smtp_password=PASSWORD)
        mute = {"smtp_password": SecretStr("pässwört"), "webhook": SecretStr(hook.url)}
        outcome = deliver(TOLD, given.model_copy(update=mute))
        assert outcome == {"mail": "UnicodeEncodeError: cannot be sent as it is configured", "webhook": ""}
        outcome = deliver(TOLD, given.model_copy(update={"webhook": SecretStr(f"{hook.url}-ö")}))
        assert outcome == {"mail": "", "webhook": "UnicodeEncodeError: cannot be sent as it is configured"}
    assert (len(hook.bodies), len(mailbox.messages)) == (1, 1)


def test_servers_that_are_down_cost_little_time_and_one_channel_does_not_keep_from_the_other() -> None:
    with webhook() as hook:
        given = settings(9, smtp_host="127.0.0.1", webhook=SecretStr(hook.url), timeout=1)
        begun = time.monotonic()
        outcome = deliver(TOLD, given)
    assert time.monotonic() - begun < 20
    assert "ConnectionRefusedError" in outcome["mail"] and outcome["webhook"] == ""
    assert len(hook.bodies) == 1
