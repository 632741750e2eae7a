"""A notification as JSON to a webhook."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from typing import IO, NoReturn
from urllib.parse import urlsplit

from pydantic import SecretStr

from qpipe_resources.notify.attempts import FinalError, attempt
from qpipe_resources.notify.notification import Notification

_TRY_AGAIN = (408, 425, 429)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What a redirect leads to would get the notification without anybody's having said so."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> NoReturn:
        raise FinalError(f"answers {code}, a redirect: QPIPE_NOTIFY_WEBHOOK must name the address that takes it")


def post(notification: Notification, url: SecretStr, seconds: float) -> None:
    """Post the notification; any answer of 2xx will do.

    Args:
        notification: what is told.
        url: where to; a secret, for it often is the key as well.
        seconds: for all attempts together.

    Raises:
        NotDeliveredError: it was not taken; names the host alone.
    """
    body = json.dumps(notification.json(), allow_nan=False, default=str).encode()
    target = url.get_secret_value()
    attempt(lambda left: _post(target, body, left), seconds, f"webhook at {urlsplit(target).hostname}")


def _post(url: str, body: bytes, seconds: float) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "qpipe"}
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=seconds):
            return
    except urllib.error.HTTPError as error:
        error.close()
        text = f"answers {error.code}"
        raise (OSError(text) if error.code >= 500 or error.code in _TRY_AGAIN else FinalError(text)) from None
    except urllib.error.URLError as error:
        raise OSError(str(error.reason)) from None
    except HTTPException as error:
        raise OSError(f"{type(error).__name__}: no HTTP answer") from None
