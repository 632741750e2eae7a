"""A notification by mail: plain text with an HTML alternative, over SMTP, STARTTLS or TLS."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from qpipe_resources.notify.attempts import FinalError, attempt
from qpipe_resources.notify.notification import Notification
from qpipe_resources.notify.settings import NotifySettings

_LONGEST_SUBJECT = 200


def send_mail(notification: Notification, settings: NotifySettings) -> None:
    """Send one message to all recipients.

    Raises:
        NotDeliveredError: the server cannot be reached or refuses, be it one of the recipients.
    """
    message = compose(notification, settings)
    where = f"mail by {settings.smtp_host}:{settings.port} ({settings.smtp_security})"
    attempt(lambda seconds: _send(message, settings, seconds), settings.timeout, where)


def compose(notification: Notification, settings: NotifySettings) -> EmailMessage:
    """The message as it is sent."""
    message = EmailMessage()
    # A job's or molecule's name must not begin another header.
    message["Subject"] = " ".join(notification.subject.split())[:_LONGEST_SUBJECT]
    message["From"] = settings.email_from
    message["To"] = ", ".join(settings.email_to)
    message["Date"] = formatdate(usegmt=True)
    message["Message-ID"] = make_msgid(domain=settings.email_from.rpartition("@")[2])
    # No out-of-office answers to a machine.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(notification.text())
    message.add_alternative(notification.html(), subtype="html")
    return message


def _send(message: EmailMessage, settings: NotifySettings, seconds: float) -> None:
    try:
        with _connected(settings, seconds) as server:
            if settings.smtp_user is not None and settings.smtp_password is not None:
                server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            refused = server.send_message(message)
    except smtplib.SMTPAuthenticationError as error:
        raise FinalError(
            f"the server refuses user {settings.smtp_user} ({error.smtp_code}): QPIPE_SMTP_PASSWORD"
        ) from None
    except smtplib.SMTPNotSupportedError as error:
        raise FinalError(f"{error}: QPIPE_SMTP_SECURITY and QPIPE_SMTP_PORT must be those of the server") from None
    except smtplib.SMTPRecipientsRefused as error:
        raise FinalError(f"no recipient was accepted ({_why(error.recipients)}): QPIPE_NOTIFY_EMAIL_TO") from None
    except smtplib.SMTPResponseException as error:
        text = f"{error.smtp_code} {error.smtp_error!r}"
        raise (OSError(text) if error.smtp_code < 500 else FinalError(text)) from None
    except ssl.SSLCertVerificationError as error:
        raise FinalError(f"the certificate is not trusted ({error.verify_message}): QPIPE_SMTP_CAFILE") from None
    if refused:
        # Final: another attempt would send it twice to those who have it.
        raise FinalError(f"some recipients were refused ({_why(refused)}), the others have it: QPIPE_NOTIFY_EMAIL_TO")


def _why(refused: Mapping[str, tuple[int, bytes]]) -> str:
    return "; ".join(f"{who}: {code} {text!r}" for who, (code, text) in refused.items())


@contextmanager
def _connected(settings: NotifySettings, seconds: float) -> Iterator[smtplib.SMTP]:
    """A connection as the settings want it: nothing is said in clear where they want TLS."""
    host, port = settings.smtp_host, settings.port
    if settings.smtp_security == "tls":
        with smtplib.SMTP_SSL(host, port, timeout=seconds, context=_trust(settings)) as server:
            yield server
        return
    with smtplib.SMTP(host, port, timeout=seconds) as server:
        if settings.smtp_security == "starttls":
            server.starttls(context=_trust(settings))
        yield server


def _trust(settings: NotifySettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.smtp_cafile)
    except (OSError, ssl.SSLError) as error:
        raise FinalError(f"QPIPE_SMTP_CAFILE={settings.smtp_cafile!r} holds no certificates: {error}") from None
