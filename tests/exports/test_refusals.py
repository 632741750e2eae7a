"""What is refused before any work: targets, requests, and what something else has put at the target."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from qpipe_assets.exports.export import Export
from qpipe_assets.exports.health import ExportEndError
from qpipe_assets.exports.request import ExportRefusedError, ExportRequest
from qpipe_assets.exports.target import ExportTarget, open_target
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation
from qpipe_resources.object_store import FolderObjectStore
from tests.exports.conftest import SETTINGS, export_to, fill
from tests.exports.contents import files

REQUEST = ExportRequest()


@pytest.mark.parametrize("tables", [REQUEST.tables, ("vqe_results",), ("ml_run_summary", "molecules")])
def test_another_installation_does_not_take_over_a_dataset_whatever_it_exports(
    export: Export, folder: Path, tmp_path: Path, tables: tuple[str, ...]
) -> None:
    export.run(REQUEST)
    before = files(folder)
    stranger = fill(tmp_path / "stranger", ["H2"])
    with pytest.raises(ExportRefusedError, match="holds exports of another table ml_"):
        export_to(folder, stranger).run(ExportRequest(tables=tables), keep=1)
    assert files(folder) == before


def test_the_same_installation_exports_other_tables_to_its_dataset(export: Export) -> None:
    export.run(REQUEST)
    assert export.run(ExportRequest(tables=("vqe_results",))).new


def test_exports_of_a_table_that_is_not_declared_any_more_are_our_own(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    export.run(ExportRequest(tables=("molecules", "ml_run_summary")))
    monkeypatch.setattr(schemas, "ALL", tuple(table for table in schemas.ALL if table.name != "molecules"))
    assert export.run(REQUEST).new


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


def test_a_target_that_cannot_be_written_is_told_before_any_work(export: Export, folder: Path) -> None:
    class Full(FolderObjectStore):
        def put(self, key: str, data: bytes) -> str:
            raise OSError(28, "No space left on device")

    full = dataclasses.replace(export.target, store=Full(folder))
    with pytest.raises(ExportEndError, match=r"target of the export: .*No space left on device"):
        Export(export.installation, full, SETTINGS).run(REQUEST)


@pytest.mark.parametrize(
    ("place", "dataset", "words"),
    [
        ("", "demo", "no target"),
        ("gs://bucket", "demo", "expected a folder, or s3://bucket/prefix"),
        ("s3://B", "demo", "expected s3://bucket/prefix"),
        ("/tmp/a#b", "demo", "expected a path without #"),
        ("{home}/features/mine", "demo", "this installation's own"),
        ("{home}", "features", "this installation's own"),
        ("{home}", "raw-results", "this installation's own"),
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
