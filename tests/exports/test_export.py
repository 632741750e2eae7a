"""What an export writes and does not write: increments, crashes at every write, foreign files, damage, retention."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from qpipe_assets.exports.export import Export
from qpipe_assets.exports.health import ExportEndError
from qpipe_assets.exports.latest import latest_version
from qpipe_assets.exports.request import ExportRefusedError, ExportRequest
from qpipe_assets.exports.splits import parse_rule
from qpipe_assets.exports.target import ExportTarget, open_target
from qpipe_assets.exports.verification import verify
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation
from qpipe_resources.object_store import FolderObjectStore
from tests.exports.conftest import MOLECULES, SETTINGS, bring_in, export_to, fill
from tests.tables.protocol import land

REQUEST = ExportRequest()


class CrashError(RuntimeError):
    """The process dies here."""


class FailingStore(FolderObjectStore):
    """Dies at the nth change: before it is made, as a killed process does."""

    def __init__(self, root: Path, changes: int) -> None:
        super().__init__(root)
        self.left = changes

    def _change(self) -> None:
        if self.left == 0:
            raise CrashError
        self.left -= 1

    def put(self, key: str, data: bytes) -> str:
        self._change()
        return super().put(key, data)

    def delete(self, key: str) -> None:
        self._change()
        super().delete(key)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of the latest version, by table, in the order of their keys."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    latest = json.loads((folder / "latest.json").read_text())
    manifest = json.loads((folder / latest["manifest"]).read_text())
    found = {}
    for table in manifest["tables"]:
        read = pa.concat_tables(pq.read_table(folder / file["path"]) for file in table["files"])
        found[table["name"]] = read.sort_by([(key, "ascending") for key in table["key"]]).to_pylist()
    return found


def source_rows(installation: Installation) -> dict[str, list[dict[str, Any]]]:
    return {
        name: installation.lakehouse.arrow(name)
        .sort_by([(key, "ascending") for key in schemas.table(name).key])
        .to_pylist()
        for name in schemas.ML_NAMES
    }


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


def test_killed_at_any_write_the_former_version_is_whole_and_the_next_run_finishes(
    own: Installation, folder: Path
) -> None:
    request = ExportRequest(tables=("ml_run_summary",))
    target = export_to(folder, own).target
    first = export_to(folder, own).run(request)
    former = rows(folder / "demo")
    bring_in(own, "LiH", [5])
    expected, crashes, changes = None, 0, 0
    while expected is None:
        dying = dataclasses.replace(target, store=FailingStore(folder, changes))
        try:
            # One file at a time, or a crash would be one of several threads'.
            expected = Export(own, dying, SETTINGS.model_copy(update={"transfers": 1})).run(request)
        except (CrashError, ExportEndError):
            crashes += 1
            latest = latest_version(target)
            assert latest is not None and verify(target, 1).damaged == {}
            assert latest.manifest.version == first.version or len(rows(folder / "demo")["ml_run_summary"]) == 5
            if latest.manifest.version == first.version:
                assert rows(folder / "demo") == former
        changes += 1
    assert crashes >= 8
    assert len(rows(folder / "demo")["ml_run_summary"]) == 5
    assert verify(target, 1).damaged == {}
    whole = latest_version(target)
    assert whole is not None
    data = {path for path in files(folder / "demo") if path.startswith("data/")}
    assert data == {file.path for file in whole.manifest.data_files}


def test_nothing_that_it_did_not_write_is_changed_or_removed(own: Installation, folder: Path) -> None:
    foreign = {
        "demo/notes.txt": b"mine",
        "demo/data/ml_run_summary/mine.parquet": b"mine",
        "demo/versions/mine/README.md": b"mine",
        "other/latest.json": b"mine",
    }
    for name, content in foreign.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    export = export_to(folder, own)
    for number in range(5, 8):
        bring_in(own, "H2", [number])
        export.run(REQUEST, keep=1)
    assert {name: files(folder)[name] for name in foreign} == foreign


def test_keep_removes_old_versions_and_only_files_that_nobody_needs(own: Installation, folder: Path) -> None:
    export = export_to(folder, own)
    versions = [export.run(REQUEST).version]
    own.ingest().run("H2", rebuild=True)
    own.ml_features().run("H2")
    versions.append(export.run(REQUEST).version)
    bring_in(own, "LiH", [5])
    outcome = export.run(REQUEST, keep=1)
    assert set(outcome.removed.versions) == set(versions)
    whole = latest_version(export.target)
    assert whole is not None and verify(export.target, 1).damaged == {}
    kept = {f"demo/{file.path}" for file in whole.manifest.files}
    kept |= {"demo/latest.json", f"demo/versions/{outcome.version}/manifest.json"}
    assert files(folder).keys() == kept


def test_a_killed_removal_is_finished_by_the_next_and_never_looks_whole(own: Installation, folder: Path) -> None:
    export = export_to(folder, own)
    old = export.run(REQUEST).version
    bring_in(own, "LiH", [5])
    new = export.run(REQUEST).version
    for changes in range(2, 9):
        dying = dataclasses.replace(export.target, store=FailingStore(folder, changes))
        with pytest.raises((CrashError, ExportEndError)):
            Export(own, dying, SETTINGS).run(REQUEST, keep=1)
        assert verify(export.target, 1).version == new
        if (folder / "demo" / "versions" / old / "manifest.json").exists():
            assert verify(export.target, 1, old).damaged == {}
    assert export.run(REQUEST, keep=1).removed.versions == (old,)
    assert not [name for name in files(folder) if old in name]


def test_verification_finds_a_flipped_byte_and_a_missing_file_and_both_heal(export: Export, folder: Path) -> None:
    version = export.run(REQUEST).version
    assert verify(export.target, 2).damaged == {}
    flipped, missing = sorted((folder / "demo" / "data" / "ml_run_summary").iterdir())[:2]
    content = bytearray(flipped.read_bytes())
    content[100] ^= 1
    flipped.write_bytes(content)
    missing.unlink()
    damaged = verify(export.target, 2).damaged
    assert damaged == {
        str(flipped.relative_to(folder / "demo")): "has another SHA-256 than the manifest",
        str(missing.relative_to(folder / "demo")): "is missing",
    }
    flipped.unlink()
    assert export.run(REQUEST).version == version
    assert verify(export.target, 2).damaged == {}


@pytest.mark.parametrize("path", ["README.md", "iceberg/ml_run_summary/metadata/files.avro", "increment.json"])
def test_a_document_that_was_lost_is_written_again(export: Export, folder: Path, path: str) -> None:
    version = export.run(REQUEST).version
    (folder / "demo" / "versions" / version / path).unlink()
    export.run(REQUEST)
    assert verify(export.target, 2).damaged == {}


def test_a_table_whose_files_cannot_be_read_by_name_is_exported_whole(
    filled: Installation, export: Export, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qpipe_resources.table_version.names_mean_fields", lambda table: False)
    assert export.run(REQUEST).files_written == 17
    assert rows(folder / "demo") == source_rows(filled)
    assert not export.run(REQUEST).new


def test_of_two_exports_at_once_one_writes_and_the_other_finds_it_done(filled: Installation, folder: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        outcomes = [each.result() for each in [pool.submit(export_to(folder, filled).run, REQUEST) for _ in range(2)]]
    assert sorted(outcome.new for outcome in outcomes) == [False, True]
    assert len({outcome.version for outcome in outcomes}) == 1


def test_a_dry_run_writes_nothing_at_all(export: Export, folder: Path) -> None:
    outcome = export.run(REQUEST, dry_run=True)
    assert (outcome.new, outcome.rows_written, outcome.files_written) == (True, 6 + 24, 0)
    assert not folder.exists()


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


def test_exports_of_other_tables_do_not_take_over_a_dataset(export: Export, folder: Path, tmp_path: Path) -> None:
    export.run(REQUEST)
    before = files(folder)
    stranger = fill(tmp_path / "stranger", ["H2"])
    with pytest.raises(ExportRefusedError, match="holds exports of another table"):
        export_to(folder, stranger).run(REQUEST)
    assert files(folder) == before


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"not json", "is no latest of an export"), (b'{"version": 1}', "is no latest of an export")],
)
def test_a_foreign_latest_is_refused_and_kept(export: Export, folder: Path, content: bytes, words: str) -> None:
    (folder / "demo").mkdir(parents=True)
    (folder / "demo" / "latest.json").write_bytes(content)
    with pytest.raises(ExportRefusedError, match=words):
        export.run(REQUEST)
    assert files(folder) == {"demo/latest.json": content}


def test_a_manifest_that_was_changed_is_refused(export: Export, folder: Path) -> None:
    version = export.run(REQUEST).version
    path = folder / "demo" / "versions" / version / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"license": ""', b'"license": "x"'))
    with pytest.raises(ExportRefusedError, match="was changed since"):
        export.run(REQUEST)


def test_a_store_that_keeps_other_bytes_is_noticed(export: Export, folder: Path) -> None:
    from qpipe_assets.exports.target import TargetFailedError

    class Lying(FolderObjectStore):
        def put(self, key: str, data: bytes) -> str:
            return super().put(key, data[:-1] + b"?" if key.endswith(".parquet") else data)

    lying = dataclasses.replace(export.target, store=Lying(folder))
    with pytest.raises(TargetFailedError, match="reads otherwise than it was written"):
        Export(export.installation, lying, SETTINGS).run(REQUEST)
    assert not (folder / "demo" / "latest.json").exists()


def test_a_target_that_cannot_be_written_is_told_before_any_work(export: Export, folder: Path) -> None:
    class Full(FolderObjectStore):
        def put(self, key: str, data: bytes) -> str:
            raise OSError(28, "No space left on device")

    full = dataclasses.replace(export.target, store=Full(folder))
    with pytest.raises(ExportEndError, match=r"target of the export: .*No space left on device"):
        Export(export.installation, full, SETTINGS).run(REQUEST)


def test_the_probe_is_removed(export: Export, folder: Path) -> None:
    export.run(REQUEST)
    assert not [name for name in files(folder) if "probe" in name]


@pytest.mark.parametrize(
    ("place", "dataset", "words"),
    [
        ("", "demo", "no target"),
        ("gs://bucket", "demo", "expected a folder, or s3://bucket/prefix"),
        ("s3://B", "demo", "expected s3://bucket/prefix"),
        ("/tmp/a#b", "demo", "expected a path without #"),
        ("{home}/features/mine", "demo", "this installation's own"),
        ("/tmp", "../demo", "expected letters, digits"),
    ],
)
def test_a_target_that_cannot_be_is_refused(filled: Installation, place: str, dataset: str, words: str) -> None:
    place = place.format(home=filled.settings.home)
    with pytest.raises(ExportRefusedError, match=words):
        open_target(place, dataset, filled.settings, SETTINGS)


def test_the_warehouse_s_own_bucket_is_refused(filled: Installation) -> None:
    in_s3 = filled.settings.model_copy(update={"env": "s3"})
    for place in ("s3://raw-results/x", "s3://features/warehouse"):
        with pytest.raises(ExportRefusedError, match="installation's own"):
            open_target(place, "demo", in_s3, SETTINGS)
    assert isinstance(open_target("s3://features/exports", "demo", in_s3, SETTINGS), ExportTarget)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tables": ("ml_run_sumary",)}, "no table ml_run_sumary; expected some of"),
        ({"tables": ()}, "expected at least one"),
        ({"base_url": "elsewhere"}, "expected scheme://place"),
        ({"version": "123"}, "is a snapshot id, which one table has"),
    ],
)
def test_a_request_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ExportRefusedError, match=words):
        ExportRequest(**changes)


def test_there_is_nothing_to_export_of_empty_tables(installation: Installation, folder: Path) -> None:
    with pytest.raises(ExportRefusedError, match="nothing to export"):
        export_to(folder, installation).run(REQUEST)
