"""Gives deploy/kafka-connect.json to Kafka Connect: `python -m deploy.setup.kafka_connect` reads KAFKA_CONNECT_URL."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from deploy.setup.variables import need

CONNECTOR = Path(__file__).resolve().parents[1] / "kafka-connect.json"
ATTEMPTS = 5
_PAUSE_SECONDS = 5.0


def register(url: str, pause: float = _PAUSE_SECONDS) -> None:
    """Set the connector's options, whether it is there or not.

    Args:
        url: Connect's REST interface.
        pause: Seconds between two attempts.

    Raises:
        OSError: it did not answer, or refused, five times.
    """
    connector = json.loads(CONNECTOR.read_text(encoding="utf-8"))
    request = urllib.request.Request(
        f"{url.rstrip('/')}/connectors/{connector['name']}/config",
        data=json.dumps(connector["config"]).encode(),
        headers={"Content-Type": "application/json"},
        method="PUT",
    )
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=30):
                return
        except OSError as error:
            words = error.read().decode(errors="replace") if isinstance(error, urllib.error.HTTPError) else ""
            print(f"attempt {attempt} of {ATTEMPTS}: {error} {words}", file=sys.stderr, flush=True)
            if attempt == ATTEMPTS:
                raise
            time.sleep(pause)


def main() -> None:
    """Register the connector and say so."""
    register(need("KAFKA_CONNECT_URL"))
    print("Kafka Connect: the connector is registered")


if __name__ == "__main__":
    main()
