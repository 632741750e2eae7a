"""`qpipe sql` at versions and into files, and `qpipe diff`."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from qpipe_assets.tables.installation import open_installation
from qpipe_resources.lakehouse_versions import UnknownVersionError
from tests.cli.conftest import qpipe, rows
from tests.tables.protocol import land


@pytest.fixture
def batches(home: Path) -> list[str]:
    installation = open_installation()
    found: list[str] = []
    for number in range(2):
        land(installation, [number])
        found += installation.ingest().run("H2").batches
    return found


def test_a_table_says_its_version_in_the_query(batches: list[str]) -> None:
    query = f"select count(*) n from vqe_results at (version => '{batches[0]}')"
    assert rows(qpipe("sql", query, "--format", "json")) == [{"n": 1}]


def test_rows_go_into_a_parquet_file(batches: list[str], tmp_path: Path) -> None:
    result = qpipe("sql", "select experiment_id, seed from vqe_results", "--parquet", str(tmp_path / "runs.parquet"))
    assert result.exit_code == 0 and result.stdout == "" and "2 rows" in result.stderr
    assert pq.read_table(tmp_path / "runs.parquet").column_names == ["experiment_id", "seed"]


def test_a_parquet_file_that_cannot_be_is_refused_before_the_query(home: Path, tmp_path: Path) -> None:
    result = qpipe("sql", "select nonsense", "--parquet", str(tmp_path / "nowhere" / "runs.parquet"))
    assert result.exit_code == 2 and "expected a file in a folder that is there" in result.stderr
    assert not home.exists()


def test_a_difference_is_counted_and_listed(batches: list[str]) -> None:
    (counted,) = rows(qpipe("diff", "vqe_iterations", batches[0], "--format", "json"))
    assert counted["added"] == 4 and counted["removed"] == counted["changed"] == 0 and counted["files_read"] == 0
    listed = rows(qpipe("diff", "vqe_iterations", batches[1], batches[0], "--rows", "--format", "json"))
    assert len(listed) == 4 and {row["change"] for row in listed} == {"removed"}
    cut = qpipe("diff", "vqe_iterations", batches[0], "--rows", "--limit", "3", "--format", "csv")
    assert len(cut.stdout.splitlines()) == 4 and "first 3 differences" in cut.stderr
    assert "added" in qpipe("diff", "vqe_iterations", batches[0]).stdout


def test_unknown_tables_and_versions_are_told(batches: list[str]) -> None:
    result = qpipe("diff", "results", batches[0])
    assert result.exit_code == 2 and "'results'" in result.stderr and "vqe_results" in result.stderr
    assert isinstance(qpipe("diff", "vqe_results", "v_nothing").exception, UnknownVersionError)
