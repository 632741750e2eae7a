"""A driver that can be killed: ingests a molecule and builds its ML tables by Spark, as QPIPE_* say.

    python -m tests.spark.engine_worker MOLECULE

Says `open` when its session is, and `done` at the end.
"""

from __future__ import annotations

import sys

from qpipe_assets.tables.installation import open_installation


def main(molecule: str) -> None:
    """Do so."""
    installation = open_installation()
    assert installation.spark is not None, "QPIPE_ENGINE is not spark"
    installation.spark.open()
    print("open", flush=True)
    installation.ingest().run(molecule)
    installation.ml_features().run(molecule)
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
