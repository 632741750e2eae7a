"""`qpipe maintain`: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from qpipe_assets.tables.installation import open_installation
from tests.cli.conftest import qpipe, rows
from tests.tables.protocol import land


def test_it_prints_a_line_for_each_table_and_leaves_an_open_day_alone(home: Path) -> None:
    installation = open_installation()
    for number in range(2):
        land(installation, [number])
        installation.ingest().run("H2")
    printed = {row["table"]: row for row in rows(qpipe("maintain", "--dry-run", "--format", "json"))}
    assert len(printed) == 12
    assert (printed["vqe_results"]["files_before"], printed["vqe_results"]["files_after"]) == (2, 2)
    assert printed["vqe_results"]["stored_bytes"] > printed["vqe_results"]["bytes_before"] > 0
    (row,) = json.loads(qpipe("maintain", "vqe_results", "--format", "json").stdout)
    assert (row["table"], row["compacted_files"], row["orphan_files"]) == ("vqe_results", 0, 0)


def test_an_unknown_table_is_refused_with_those_that_there_are(home: Path) -> None:
    result = qpipe("maintain", "vqe_resluts")
    assert result.exit_code == 2
    assert "no table vqe_resluts" in result.stderr and "vqe_results" in result.stderr
