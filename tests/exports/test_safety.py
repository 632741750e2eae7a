"""What an export leaves alone and survives: a crash at every change, foreign files, damage, retention."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qpipe_assets.exports.export import Export
from qpipe_assets.exports.health import ExportEndError
from qpipe_assets.exports.latest import latest_version
from qpipe_assets.exports.request import ExportRequest
from qpipe_assets.exports.verification import verify
from qpipe_assets.tables.installation import Installation
from qpipe_resources.object_store import FolderObjectStore
from tests.exports.conftest import SETTINGS, bring_in, export_to
from tests.exports.contents import files, rows

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


def test_keep_neither_counts_nor_removes_what_another_installation_has_exported(
    filled: Installation, own: Installation, folder: Path
) -> None:
    theirs = export_to(folder, filled).run(REQUEST).version
    # The remedy where latest.json cannot be used: versions stay, and the next export does not ask whose they are.
    (folder / "demo" / "latest.json").unlink()
    export = export_to(folder, own)
    old = export.run(REQUEST).version
    bring_in(own, "LiH", [5])
    assert export.run(REQUEST, keep=1).removed.versions == (old,)
    assert verify(export.target, 1, theirs).damaged == {}


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


def test_of_two_exports_at_once_one_writes_and_the_other_finds_it_done(filled: Installation, folder: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        outcomes = [each.result() for each in [pool.submit(export_to(folder, filled).run, REQUEST) for _ in range(2)]]
    assert sorted(outcome.new for outcome in outcomes) == [False, True]
    assert len({outcome.version for outcome in outcomes}) == 1


def test_a_dry_run_writes_nothing_at_all(export: Export, folder: Path) -> None:
    outcome = export.run(REQUEST, dry_run=True)
    assert (outcome.new, outcome.rows_written, outcome.files_written) == (True, 6 + 24, 0)
    assert not folder.exists()


def test_a_store_that_keeps_other_bytes_is_noticed(export: Export, folder: Path) -> None:
    from qpipe_assets.exports.target import TargetFailedError

    class Lying(FolderObjectStore):
        def put(self, key: str, data: bytes) -> str:
            return super().put(key, data[:-1] + b"?" if key.endswith(".parquet") else data)

    lying = dataclasses.replace(export.target, store=Lying(folder))
    with pytest.raises(TargetFailedError, match="reads otherwise than it was written"):
        Export(export.installation, lying, SETTINGS).run(REQUEST)
    assert not (folder / "demo" / "latest.json").exists()


def test_the_probe_is_removed(export: Export, folder: Path) -> None:
    export.run(REQUEST)
    assert not [name for name in files(folder) if "probe" in name]
