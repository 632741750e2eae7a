"""A campaign that can be killed: results are computed at their times and let go by the way that vqe_runs uses.

    python -m tests.integration.fault_campaign SALT COUNT RELEASED

The file RELEASED holds how many of the results may be computed by now. Started again, the campaign delivers what waits
and computes only what has not landed and is not on its way, as campaigns do.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path

from qpipe_assets.landing import Landing, UndeliveredError
from qpipe_assets.tables.installation import open_installation
from qpipe_resources.delivery_opening import open_delivery
from simulation.record import VQEDecoratedResult
from tests.integration.fault_records import MOLECULES, full_record, identity_of, molecule_of

BEGINS = "launched"
"""What it prints when it knows what to compute."""
DONE, DONE_BUT_NOT_DELIVERED = 0, 3
"""Exit codes of a campaign that came to its end; any other means that it must be launched again."""


def main(salt: str, count: int, released: Path) -> int:
    """Run the campaign to its end."""
    installation = open_installation()
    with closing(open_delivery(installation.settings, installation.store)) as way:
        landings = {
            molecule: Landing(installation.store, installation.settings, molecule, way, ledger=installation.ledger)
            for molecule in MOLECULES
        }
        waiting = [attempt for landing in landings.values() for attempt in landing.deliver_waiting()]
        failures = sum(attempt.where is None for attempt in waiting)
        identities = [identity_of(number, salt) for number in range(count)]
        landed: set[str] = set()
        for landing in landings.values():
            landing.forget_arrived()
            landed |= landing.landed(identities)
        print(f"{BEGINS}: {len(waiting)} waited, {len(landed)} of {count} have landed or are on their way", flush=True)
        for number in range(count):
            if identities[number] in landed:
                continue
            record = full_record(number, salt)
            while number >= int(released.read_text()):
                time.sleep(0.1)
            failures += not _let_go(landings[molecule_of(number)], record)
    return DONE_BUT_NOT_DELIVERED if failures else DONE


def _let_go(landing: Landing, record: VQEDecoratedResult) -> bool:
    try:
        landing.land(record)
    except UndeliveredError as error:
        print(f"undelivered: {error}", flush=True)
        if not error.kept:
            raise
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
