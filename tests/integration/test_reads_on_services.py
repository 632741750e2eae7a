"""Answers from manifests, skipped files and differences where the tables lie on Garage."""

from __future__ import annotations

import pytest

from qpipe_assets.reading import LakehouseReader, open_lakehouse
from tests.integration.conftest import Sandbox
from tests.opened_files import OpenedFiles, count_opened_files
from tests.tables.protocol import land


@pytest.fixture
def batches(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> tuple[LakehouseReader, list[str]]:
    monkeypatch.setenv("QPIPE_ENV", "s3")
    reader = open_lakehouse()
    found: list[str] = []
    for number, molecule in enumerate(("H2", "LiH", "H2")):
        land(reader.installation, [number], molecule)
        found += reader.installation.ingest().run(molecule).batches
    return reader, found


@pytest.fixture
def opened(batches: tuple[LakehouseReader, list[str]], monkeypatch: pytest.MonkeyPatch) -> OpenedFiles:
    return count_opened_files(batches[0].installation.lakehouse, monkeypatch)


def test_counts_need_no_data_file_and_filters_only_those_that_may_match(
    batches: tuple[LakehouseReader, list[str]], opened: OpenedFiles
) -> None:
    reader, (first, _, _) = batches
    counted = reader.sql("select molecule, count(*) n, max(iteration_step) m from vqe_iterations group by 1 order by 1")
    assert counted.to_pylist() == [{"molecule": "H2", "n": 8, "m": 4}, {"molecule": "LiH", "n": 4, "m": 4}]
    assert reader.sql(f"select count(*) n from vqe_results at (version => '{first}')").to_pylist() == [{"n": 1}]
    assert opened.data == set() and opened.manifests
    found = reader.sql("select iteration_step from vqe_iterations where molecule = 'LiH' and iteration_step < 3")
    assert found.num_rows == 2 and len(opened.data) == 1


def test_a_difference_is_told_from_the_files_that_differ(
    batches: tuple[LakehouseReader, list[str]], opened: OpenedFiles
) -> None:
    reader, (_, _, last) = batches
    table = reader.installation.lakehouse.load("vqe_iterations")
    table.overwrite(table.scan(row_filter="molecule == 'LiH'").to_arrow(), "molecule == 'LiH'")
    opened.forget()
    change = reader.diff("vqe_iterations", last).change()
    assert (change.added, change.removed, change.changed, change.reprocessed) == (0, 0, 0, 0)
    assert len(opened.data) == change.files_read == 2
