"""Secrets taken out of text: a last guard behind clients that quote their configuration in what they raise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from urllib.parse import quote, quote_plus, unquote, urlsplit

from pydantic import BaseModel, SecretStr

HIDDEN = "***"
VARIABLES = ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Variables of the environment that other programs' clients read secrets from."""
_SHORTEST = 3


def redaction(settings: Iterable[BaseModel]) -> Callable[[str], str]:
    """What hides the secrets of these settings and of the environment, however they are quoted in a URL.

    A URL counts as the password inside it; a secret of one or two characters cannot be told from text and stays.
    """
    secrets = {os.environ.get(name, "") for name in VARIABLES}
    for model in settings:
        for name in type(model).model_fields:
            value = getattr(model, name)
            if isinstance(value, SecretStr):
                secrets |= _secrets_in(value.get_secret_value())
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote_plus(secret))}
    hidden = sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True)

    def redact(text: str) -> str:
        for form in hidden:
            text = text.replace(form, HIDDEN)
        return text

    return redact


def _secrets_in(value: str) -> set[str]:
    if "://" not in value:
        # user:password is how basic authentication is given.
        return {value, value.partition(":")[2]}
    try:
        password = urlsplit(value).password
    except ValueError:
        return {value}
    return {password, unquote(password)} if password else set()
