"""A notification through every configured channel."""

from __future__ import annotations

from qpipe_resources.notify.attempts import NotDeliveredError
from qpipe_resources.notify.mail import send_mail
from qpipe_resources.notify.notification import Notification
from qpipe_resources.notify.settings import NotifySettings
from qpipe_resources.notify.webhook import post

MAIL = "mail"
WEBHOOK = "webhook"


def channels(settings: NotifySettings) -> list[str]:
    """The channels that are configured."""
    return [MAIL] * bool(settings.email_to) + [WEBHOOK] * (settings.webhook is not None)


def deliver(notification: Notification, settings: NotifySettings) -> dict[str, str]:
    """Send the notification; what went wrong by channel, an empty text where nothing did."""
    outcome = {}
    for channel in channels(settings):
        try:
            _send(channel, notification, settings)
        except NotDeliveredError as error:
            outcome[channel] = str(error)
        except ValueError as error:
            # Without its words, which may hold what could not be sent: a secret.
            outcome[channel] = f"{type(error).__name__}: cannot be sent as it is configured"
        else:
            outcome[channel] = ""
    return outcome


def _send(channel: str, notification: Notification, settings: NotifySettings) -> None:
    if channel == MAIL:
        send_mail(notification, settings)
    elif settings.webhook is not None:
        post(notification, settings.webhook, settings.timeout)
