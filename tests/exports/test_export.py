"""What an export holds: increments, batches that belong together, splits, manifest and datasheet."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path

import pytest

from qpipe_assets.exports.export import Export
from qpipe_assets.exports.latest import latest_version
from qpipe_assets.exports.manifest import Increment
from qpipe_assets.exports.request import ExportRequest
from qpipe_assets.exports.selection import select
from qpipe_assets.exports.splits import parse_rule
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation
from qpipe_resources.table_version import TableVersion
from tests.exports.conftest import MOLECULES, bring_in, export_to, fill
from tests.exports.contents import files, rows, source_rows
from tests.tables.protocol import land

REQUEST = ExportRequest()


def test_a_second_export_of_the_same_rows_writes_nothing(export: Export, folder: Path) -> None:
    first = export.run(REQUEST)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    second = export.run(REQUEST)
    assert (first.new, second.new) == (True, False)
    assert (second.version, second.files_written, second.files_kept) == (first.version, 0, 2 * len(MOLECULES))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_a_new_batch_adds_its_files_and_leaves_the_others_as_they_are(own: Installation, folder: Path) -> None:
    export = export_to(folder, own)
    export.run(REQUEST)
    before = {name: content for name, content in files(folder).items() if "latest" not in name}
    bring_in(own, "LiH", [5])
    outcome = export.run(REQUEST)
    after = files(folder)
    added = after.keys() - before.keys() - {"demo/latest.json"}
    assert {name: after[name] for name in before} == before
    assert sorted(name.split("/")[2] for name in added if name.startswith("demo/data/")) == sorted(schemas.ML_NAMES)
    assert (outcome.rows_written, outcome.files_kept) == (1 + 4, 4)
    assert rows(folder / "demo") == source_rows(own)


def test_a_compaction_of_the_source_is_no_new_version(own: Installation, folder: Path) -> None:
    bring_in(own, "H2", [5])
    export = export_to(folder, own)
    first = export.run(REQUEST)
    own.maintenance().run(now=dt.datetime.now(dt.UTC) + dt.timedelta(days=1, hours=2))
    assert not export.run(REQUEST).new
    bring_in(own, "H2", [6])
    second = export.run(REQUEST)
    assert second.new and second.version != first.version
    assert rows(folder / "demo") == source_rows(own)


def test_a_batch_that_one_table_does_not_have_yet_is_left_out_of_all(own: Installation, folder: Path) -> None:
    whole = source_rows(own)
    land(own, [5], "LiH")
    own.ingest().run("LiH")
    own.ml_features().run("LiH", ["ml_iteration_features"])
    export = export_to(folder, own)
    outcome = export.run(REQUEST)
    assert (outcome.batches, outcome.batches_left_out) == (2, 1)
    assert rows(folder / "demo") == whole
    own.ml_features().run("LiH")
    outcome = export.run(REQUEST)
    assert (outcome.batches, outcome.batches_left_out) == (3, 0)
    assert rows(folder / "demo") == source_rows(own)


@pytest.mark.usefixtures("at_noon")
def test_rows_that_are_left_out_are_left_out_of_a_compacted_file_too(own: Installation, folder: Path) -> None:
    land(own, [5], "H2")
    own.ingest().run("H2")
    own.maintenance().run(["vqe_results"], now=dt.datetime.now(dt.UTC) + dt.timedelta(days=1, hours=2))
    assert len(own.lakehouse.version("vqe_results").files) == 1
    request = ExportRequest(tables=("vqe_results", "ml_run_summary"))
    export = export_to(folder, own)
    assert export.run(request).rows == {"vqe_results": 4, "ml_run_summary": 4}
    exported = rows(folder / "demo")["vqe_results"]
    assert {row["experiment_id"] for row in exported} == {
        row["experiment_id"] for row in source_rows(own)["ml_run_summary"]
    }
    own.ml_features().run("H2")
    assert export.run(request).rows == {"vqe_results": 5, "ml_run_summary": 5}
    assert len(rows(folder / "demo")["vqe_results"]) == 5


def test_a_molecule_that_a_rebuild_has_deleted_from_one_table_is_left_out_of_all(
    own: Installation, folder: Path
) -> None:
    own.lakehouse.delete_molecule("ml_run_summary", "H2", "1", lambda: True)
    outcome = export_to(folder, own).run(REQUEST)
    assert outcome.batches_left_out == 1
    assert {row["molecule"] for found in rows(folder / "demo").values() for row in found} == {"LiH"}


def waiting(export: Export, request: ExportRequest = REQUEST) -> list[str]:
    """Molecules that an export tells to wait, by its outcome, its manifest and its datasheet."""
    outcome = export.run(request)
    latest = latest_version(export.target)
    assert latest is not None and list(latest.manifest.waiting) == outcome.waiting
    text = export.target.read(f"versions/{outcome.version}/README.md").decode()
    assert ("was not finished when" in text) == bool(outcome.waiting)
    assert all(molecule in text for molecule in outcome.waiting)
    return outcome.waiting


def test_a_molecule_that_is_being_rebuilt_is_told_until_its_rows_are_back(own: Installation, folder: Path) -> None:
    export = export_to(folder, own)
    assert waiting(export) == []
    own.ledger.request_rebuild("H2")
    assert waiting(export_to(folder / "asked", own)) == ["H2"]
    own.ingest().run("H2")
    assert waiting(export) == ["H2"]
    assert {row["molecule"] for found in rows(folder / "demo").values() for row in found} == {"LiH"}
    own.ml_features().run("H2")
    assert waiting(export) == []


def test_a_molecule_that_a_rebuild_has_forgotten_and_nobody_claimed_yet_is_told(
    own: Installation, folder: Path
) -> None:
    rebuild = own.ledger.request_rebuild("H2")
    for table in schemas.ALL:
        own.lakehouse.delete_molecule(table.name, "H2", rebuild, lambda: True)
    own.ledger.finish_rebuild(rebuild, "H2")
    assert waiting(export_to(folder, own)) == ["H2"]


def test_a_molecule_waits_only_for_the_tables_that_are_exported(own: Installation, folder: Path) -> None:
    land(own, [5], "H2")
    own.ingest().run("H2")
    assert waiting(export_to(folder, own, "raw"), ExportRequest(tables=("vqe_results",))) == []
    assert waiting(export_to(folder, own)) == ["H2"]


def test_nothing_waits_as_of_an_older_version(own: Installation, folder: Path) -> None:
    version = own.lakehouse.version("ml_run_summary").snapshot
    assert version is not None
    own.ledger.request_rebuild("H2")
    request = ExportRequest(tables=("ml_run_summary",), version=str(version.snapshot_id))
    assert waiting(export_to(folder, own), request) == []


def test_what_begins_or_ends_while_the_tables_versions_are_chosen_is_told(
    own: Installation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(own, [5], "H2")
    own.ingest().run("H2")
    choose = own.lakehouse.version

    def meanwhile(name: str, asked: str | None) -> TableVersion:
        monkeypatch.setattr(own.lakehouse, "version", choose)
        found = choose(name, asked)
        own.ml_features().run("H2")
        own.ledger.request_rebuild("LiH")
        return found

    monkeypatch.setattr(own.lakehouse, "version", meanwhile)
    assert select(own.lakehouse, own.ledger, schemas.ML_NAMES, None, Increment(), 1).waiting == ("H2", "LiH")


def test_batches_that_a_rebuild_withdrew_are_left_out_and_not_told(own: Installation, folder: Path) -> None:
    own.ingest().run("H2", rebuild=True)
    own.ml_features().run("H2")
    export = export_to(folder, own)
    outcome = export.run(ExportRequest(tables=("processing_metadata", "vqe_results")))
    assert (outcome.batches_left_out, outcome.rows) == (0, {"processing_metadata": 2, "vqe_results": 4})
    latest = latest_version(export.target)
    assert latest is not None and latest.manifest.batches_left_out == ()


def test_a_batch_without_rows_in_one_table_is_exported(own: Installation, folder: Path) -> None:
    from tests.synthetic import plain_record

    record = plain_record(9, "H2", evaluations=2, parameters=1, terms=0)
    own.store.put(
        "experiments/experiment.vqe/molecule=H2/year=2026/month=11/day=21/bare.json", json.dumps(record).encode()
    )
    own.ingest().run("H2")
    outcome = export_to(folder, own).run(ExportRequest(tables=("vqe_results", "hamiltonian_terms")))
    assert (outcome.rows["vqe_results"], outcome.batches_left_out) == (5, 0)


def test_a_rebuilt_molecule_is_exported_anew_and_no_other(own: Installation, folder: Path) -> None:
    export = export_to(folder, own)
    export.run(REQUEST)
    own.ingest().run("H2", rebuild=True)
    own.ml_features().run("H2")
    outcome = export.run(REQUEST)
    assert outcome.files_kept == 2
    assert rows(folder / "demo") == source_rows(own)


def test_an_older_version_is_exported_by_its_tag(own: Installation, folder: Path) -> None:
    before = source_rows(own)
    tags = own.lakehouse.version("ml_run_summary")
    [tag] = [t for t, r in tags.table.refs().items() if t != "main" and r.snapshot_id == tags.snapshot.snapshot_id]
    bring_in(own, "H2", [5])
    export_to(folder, own).run(ExportRequest(version=tag))
    assert rows(folder / "demo") == before


def test_a_table_whose_files_cannot_be_read_by_name_is_exported_whole(
    filled: Installation, export: Export, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qpipe_resources.table_version.names_mean_fields", lambda table: False)
    assert export.run(REQUEST).files_written == 17
    assert rows(folder / "demo") == source_rows(filled)
    assert not export.run(REQUEST).new


def test_splits_are_in_the_manifest_and_stay_when_a_molecule_is_added(own: Installation, folder: Path) -> None:
    export = export_to(folder, own)
    request = ExportRequest(splits=parse_rule("train=0.5,test=0.5", ["test=LiH"]))
    export.run(request)
    first = latest_version(export.target)
    bring_in(own, "BH", range(1))
    export.run(REQUEST)
    export.run(request)
    second = latest_version(export.target)
    assert first is not None and second is not None
    before, after = ({m: s for s, ms in v.manifest.splits.items() for m in ms} for v in (first, second))
    assert before == {m: after[m] for m in before}
    assert after["LiH"] == "test"
    for file in second.manifest.data_files:
        assert file.split == after[str(file.molecule)]


def split_of(export: Export) -> dict[str, str]:
    """Molecule -> split in the latest version."""
    latest = latest_version(export.target)
    assert latest is not None
    return {molecule: split for split, members in latest.manifest.splits.items() for molecule in members}


@pytest.mark.parametrize("keep", [None, 1])
def test_a_molecule_that_one_version_lacks_comes_back_to_its_split(
    tmp_path: Path, folder: Path, keep: int | None
) -> None:
    own = fill(tmp_path, ["BH", "H2", "HeH+", "LiH"])
    export = export_to(folder, own)
    request = ExportRequest(splits=parse_rule("train=0.5,test=0.5"))
    export.run(request, keep=keep)
    before = split_of(export)
    # A newcomer would take its place: without a memory BH comes back to the other split.
    assert before["BH"] == "test"
    own.ingest().run("BH", rebuild=True)
    export.run(request, keep=keep)
    assert split_of(export) == {molecule: split for molecule, split in before.items() if molecule != "BH"}
    own.ml_features().run("BH")
    bring_in(own, "N2", range(1))
    export.run(request, keep=keep)
    after = split_of(export)
    assert {molecule: after[molecule] for molecule in before} == before


def test_an_export_of_an_older_tag_moves_no_molecule(tmp_path: Path, folder: Path) -> None:
    own = fill(tmp_path, ["BH", "LiH"])
    old = own.lakehouse.version("ml_run_summary")
    [tag] = [t for t, r in old.table.refs().items() if t != "main" and r.snapshot_id == old.snapshot.snapshot_id]
    for molecule in ("HeH+", "N2"):
        bring_in(own, molecule, range(1))
    export = export_to(folder, own)
    request = ExportRequest(splits=parse_rule("train=0.5,test=0.5"))
    export.run(request)
    before = split_of(export)
    export.run(dataclasses.replace(request, version=tag), keep=1)
    assert split_of(export) == {molecule: before[molecule] for molecule in ("BH", "LiH")}
    export.run(request)
    assert split_of(export) == before


def test_versions_of_before_that_hand_on_no_division_keep_theirs(tmp_path: Path, folder: Path) -> None:
    own = fill(tmp_path, ["BH", "H2", "HeH+", "LiH"])
    export = export_to(folder, own)
    request = ExportRequest(splits=parse_rule("train=0.5,test=0.5"))
    path = folder / "demo" / "versions" / export.run(request).version / "manifest.json"
    before = split_of(export)
    written = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in written.items() if name not in ("divided", "waiting")}))
    (folder / "demo" / "latest.json").unlink()
    bring_in(own, "N2", range(1))
    export.run(request)
    assert {molecule: split for molecule, split in split_of(export).items() if molecule != "N2"} == before


def test_the_manifest_says_rows_snapshots_tags_columns_with_units_and_checksums(
    export: Export, filled: Installation
) -> None:
    export.run(ExportRequest(license="CC-BY-4.0"))
    whole = latest_version(export.target)
    assert whole is not None
    manifest = whole.manifest
    assert manifest.license == "CC-BY-4.0"
    for table in manifest.tables:
        current = filled.lakehouse.load(table.name).current_snapshot()
        assert current is not None and table.snapshot_id == str(current.snapshot_id)
        assert len(table.tags) == 1
        declared = schemas.table(table.name)
        assert [(c.name, c.unit) for c in table.columns] == [(c.name, c.unit) for c in declared.columns]
        assert sum(file.rows for file in table.files) == table.rows
    assert manifest.molecules["ml_run_summary"] == {"H2": 2, "HeH+": 2, "LiH": 2}


def test_the_datasheet_counts_runs_and_states_licence_units_and_limits(export: Export, folder: Path) -> None:
    version = export.run(ExportRequest(license="CC-BY-4.0")).version
    text = (folder / "demo" / "versions" / version / "README.md").read_text()
    assert "| licence | CC-BY-4.0 |" in text
    assert "| H2 | sto3g | 2 | 0 | 0 | 2 | 0 |" in text
    assert "| total_energy | double | Hartree | Total energy of the run |" in text
    assert "6 of 6 runs here are not valid or not judged." in text
