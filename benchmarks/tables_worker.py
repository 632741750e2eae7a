"""Our own side of benchmarks.tables: a process that brings its tables up to date whenever it is asked."""

from __future__ import annotations

import importlib

from benchmarks.peers.answers import answer_when_asked, take_stdout

_USED = ("duckdb", "pyarrow.compute", "pyarrow.dataset", "pyiceberg.io.pyarrow", "pyiceberg.catalog.sql")
"""What an ingest imports when it first needs it: a resident process has done so."""
MOLECULE = "H2"


def main() -> None:
    answer = take_stdout()
    from qpipe_assets.tables.installation import open_installation

    for module in _USED:
        importlib.import_module(module)
    installation = open_installation()
    if installation.spark is not None:
        installation.spark.open()
    ingest, ml = installation.ingest(), installation.ml_features()

    def work() -> dict[str, int]:
        rows = ingest.run(MOLECULE).rows | ml.run(MOLECULE).rows
        return {"rows": sum(rows.values())}

    answer_when_asked(answer, work)


if __name__ == "__main__":
    main()
