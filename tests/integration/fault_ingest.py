"""A process that ingests all molecules again and again until it is ended: the sensor's runs without Dagster."""

from __future__ import annotations

import time

from qpipe_assets.tables.installation import open_installation
from tests.integration.fault_records import MOLECULES

BEGINS = "opened"
"""What it prints when it begins."""
PAUSE = 0.5
"""Seconds between two rounds, for the daemon does not ask without pause either."""


def main() -> None:
    """Work on the installation that the environment names; an error ends the process, and its supervisor starts it."""
    installation = open_installation()
    print(BEGINS, flush=True)
    while True:
        for molecule in MOLECULES:
            report = installation.ingest().run(molecule)
            if rows := sum(report.rows.values()):
                print(f"{molecule}: {rows} rows", flush=True)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
