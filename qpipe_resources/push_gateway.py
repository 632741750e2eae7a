"""A Prometheus PushGateway: groups of metrics, each under a key of its own, and what has become of them."""

from __future__ import annotations

import base64
import json
import logging
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from prometheus_client import CollectorRegistry, Gauge, delete_from_gateway, push_to_gateway
from prometheus_client.exposition import basic_auth_handler

from simulation.monitor_settings import without_credentials

if TYPE_CHECKING:
    from pydantic import SecretStr

PUSH_SECONDS = 2.0
"""How long a request may take."""

REST_SECONDS = 60.0
"""For how long this process leaves a gateway alone that did not take what it offered."""

Sample = tuple[str, str, dict[str, str], float | None]
"""Name, help text, labels and value of one metric; without a value there is no metric."""

_log = logging.getLogger(__name__)
_resting_until: dict[str, float] = {}


class Group:
    """The metrics under one job and grouping key of a gateway."""

    def __init__(self, gateway: SecretStr, job: str, key: Mapping[str, str]) -> None:
        url = gateway.get_secret_value()
        self._where: dict[str, Any] = {
            "gateway": without_credentials(url),
            "job": job,
            "grouping_key": dict(key),
            "timeout": PUSH_SECONDS,
            "handler": _authenticated(url),
        }

    def push(self, samples: Iterable[Sample]) -> None:
        """Replace the group's metrics.

        Raises:
            OSError: the gateway cannot be reached or refuses.
        """
        registry = CollectorRegistry()
        gauges: dict[str, Gauge] = {}
        for name, text, labels, value in samples:
            if value is None:
                continue
            gauge = gauges.get(name) or Gauge(name, text or name, tuple(labels), registry=registry)
            gauges[name] = gauge
            (gauge.labels(**labels) if labels else gauge).set(value)
        push_to_gateway(registry=registry, **self._where)

    def delete(self) -> None:
        """Remove the group.

        Raises:
            OSError: the gateway cannot be reached or refuses.
        """
        delete_from_gateway(**self._where)


def offer(gateway: SecretStr, group: Group, samples: Iterable[Sample], what: str) -> bool:
    """Push what may be lost: False where it was not taken, with a warning that names `what`.

    Costs PUSH_SECONDS at most, and that once in REST_SECONDS, however many results a campaign has meanwhile.
    """
    return _tried(gateway, lambda: group.push(samples), f"{what} were not pushed to")


def withdraw(gateway: SecretStr, group: Group, what: str) -> bool:
    """Delete a group that is swept some day if it stays: False where it does, with a warning that names `what`.

    Costs what `offer` does.
    """
    return _tried(gateway, group.delete, f"{what} were not deleted from")


def _tried(gateway: SecretStr, attempt: Callable[[], None], failure: str) -> bool:
    url = gateway.get_secret_value()
    if time.monotonic() < _resting_until.get(url, 0.0):
        return False
    try:
        attempt()
    except Exception as error:  # a result is not lost because nobody takes its metrics
        _resting_until[url] = time.monotonic() + REST_SECONDS
        _log.warning(
            "%s %s, which is left alone for %.0f s: %s: %s",
            failure,
            without_credentials(url),
            REST_SECONDS,
            type(error).__name__,
            error,
        )
        return False
    return True


@dataclass(frozen=True)
class PushedGroup:
    """A group that lies on a gateway; `pushed_at` is seconds since the epoch."""

    job: str
    key: Mapping[str, str]
    pushed_at: float


def pushed_groups(gateway: SecretStr) -> Iterator[PushedGroup]:
    """All groups of a gateway.

    Raises:
        OSError: the gateway cannot be reached or refuses.
        ValueError: what answers is no PushGateway.
    """
    url = gateway.get_secret_value()
    request = urllib.request.Request(f"{without_credentials(url)}/api/v1/metrics")
    user, password = _credentials(url)
    if user is not None:
        token = base64.b64encode(f"{user}:{password or ''}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    with urllib.request.urlopen(request, timeout=PUSH_SECONDS) as answer:
        text = answer.read()
    try:
        groups = json.loads(text)["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{without_credentials(url)} answers as no PushGateway does; check PUSHGATEWAY_URL") from error
    for group in groups:
        key = dict(group["labels"])
        (pushed,) = group["push_time_seconds"]["metrics"]
        yield PushedGroup(key.pop("job"), key, float(pushed["value"]))


def delete_stale(gateway: SecretStr, lifetimes: Mapping[str, float], now: float) -> list[PushedGroup]:
    """Delete the groups that nobody has pushed for longer than they live; returns them.

    Groups of other programs are left alone. One that is pushed anew in this moment may go too: it comes back with its
    next push.

    Args:
        gateway: URL of the gateway.
        lifetimes: Seconds by a job's name, or what it begins with before a hyphen; other jobs live for ever.
        now: Seconds since the epoch.

    Raises:
        OSError: the gateway cannot be reached or refuses.
        ValueError: what answers is no PushGateway.
    """
    stale = []
    for group in pushed_groups(gateway):
        ages = [seconds for job, seconds in lifetimes.items() if f"{group.job}-".startswith(f"{job}-")]
        if ages and now - group.pushed_at > min(ages):
            Group(gateway, group.job, group.key).delete()
            stale.append(group)
    return stale


def _credentials(url: str) -> tuple[str | None, str | None]:
    parts = urlsplit(url)
    user, password = (unquote(part) if part else None for part in (parts.username, parts.password))
    return user, password


def _authenticated(url: str) -> Callable[..., Callable[[], None]]:
    """What sends requests for the client, with the URL's user and password where it has them."""
    user, password = _credentials(url)

    def handler(url: str, method: str, timeout: float | None, headers: list, data: bytes) -> Callable[[], None]:
        return basic_auth_handler(url, method, timeout, headers, data, user, password)

    return handler
