"""What hides secrets in texts that leave the house: all that the settings and the environment know to be one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress

from pydantic import BaseModel

from qpipe_resources.health.redaction import HIDDEN, redaction
from qpipe_resources.kafka.settings import load_kafka_settings
from qpipe_resources.notify.settings import load_notify_settings
from qpipe_resources.settings import load_settings
from simulation.monitor_settings import load_monitor_settings

_NAMES = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|WEBHOOK|BASIC_AUTH|ACCESS_KEY")
_IN_URL = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_SHORTEST = 3


def hide_secrets() -> Callable[[str], str]:
    """What replaces every secret that this process could know, and every user and password in a URL."""
    models: list[BaseModel] = []
    for load in (load_settings, load_kafka_settings, load_monitor_settings, load_notify_settings):
        # Settings that cannot be read are another's to complain of; the environment is searched below all the same.
        with suppress(ValueError):
            models.append(load())
    known = redaction(models)
    named = {value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= _SHORTEST}
    longest_first = sorted(named, key=len, reverse=True)

    def hide(text: str) -> str:
        for secret in longest_first:
            text = text.replace(secret, HIDDEN)
        return _IN_URL.sub(HIDDEN, known(text))

    return hide
