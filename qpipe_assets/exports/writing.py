"""The files of one version written: data first, then what describes them, then the manifest that makes it whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING

from qpipe_assets.exports import flat_files, parquet_files
from qpipe_assets.exports.datasheet import render
from qpipe_assets.exports.facts import find_facts
from qpipe_assets.exports.iceberg_metadata import ExportedTable
from qpipe_assets.exports.manifest import (
    ColumnEntry,
    DataFileEntry,
    Increment,
    Manifest,
    StoredFile,
    TableEntry,
    TableIncrement,
    Unit,
    folder_of,
    increment_path,
    manifest_path,
)
from qpipe_assets.exports.plan import Plan
from qpipe_assets.exports.progress import Progress
from qpipe_assets.exports.selection import ChosenTable
from qpipe_assets.exports.target import ExportTarget

if TYPE_CHECKING:
    from qpipe_resources.lakehouse import Lakehouse


@dataclass
class Tally:
    """Files and bytes that were written, and those that were there already."""

    written: int = 0
    bytes: int = 0
    there: int = 0


@dataclass
class VersionWriter:
    """Writes one planned version."""

    plan: Plan
    target: ExportTarget
    lakehouse: Lakehouse
    transfers: int
    progress: Progress
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._split_of = {m: split for split, members in self.plan.splits.items() for m in members}
        self._files: dict[str, list[DataFileEntry]] = defaultdict(list)
        self._units: dict[str, dict[str, Unit]] = defaultdict(dict)
        self._facts = dict(self.plan.facts)
        self._exported: dict[str, ExportedTable] = {}
        folder = f"{self.plan.base_url}/{folder_of(self.plan.version)}iceberg"
        made_at = int(self.plan.created.timestamp() * 1000)
        for table in self.plan.selection.tables:
            self._exported[table.name] = ExportedTable.of(table, f"{folder}/{table.name}", made_at)

    def write(self) -> Manifest:
        """Write what is missing; the version is whole when this returns."""
        self._upload(self._parquet() if self.plan.is_parquet else self._flat())
        documents = [self._put(path, content) for path, content in self._documents()]
        manifest = self._manifest(documents)
        readme = render(manifest, find_facts(self.lakehouse, self.plan.selection)).encode()
        documents.append(self._put(f"{folder_of(self.plan.version)}README.md", readme))
        manifest = manifest.model_copy(update={"documents": tuple(documents)})
        self._put(manifest_path(self.plan.version), manifest.as_json())
        return manifest

    def _put(self, path: str, content: bytes) -> StoredFile:
        stored = self.target.write(path, content)
        self.tally.written += 1
        self.tally.bytes += stored.bytes
        return stored

    def _upload(self, files: Iterator[tuple[DataFileEntry, bytes]]) -> None:
        """Write data files side by side; as many are in memory as travel."""
        done, whole = 0, self.plan.rows_to_write
        self.progress(done, whole)
        waiting: dict[Future[StoredFile], DataFileEntry] = {}

        def settle(until: int) -> None:
            nonlocal done
            while len(waiting) > until:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    future.result()
                    entry = waiting.pop(future)
                    self.tally.written += 1
                    self.tally.bytes += entry.bytes
                    done += entry.rows
                    self.progress(done, whole)

        with ThreadPoolExecutor(self.transfers) as pool:
            for entry, content in files:
                if self.plan.present.get(entry.path) == entry.bytes and self.plan.is_parquet:
                    # Named by its content: a killed export has left it.
                    self.tally.there += 1
                    done += entry.rows
                    continue
                settle(self.transfers - 1)
                waiting[pool.submit(self.target.write, entry.path, content)] = entry
            settle(0)

    def _parquet(self) -> Iterator[tuple[DataFileEntry, bytes]]:
        for table in self.plan.selection.tables:
            for source in table.sources:
                unit = self.plan.kept.get((table.name, source.name))
                if unit is None:
                    made = parquet_files.made_files(table, source, self._exported[table.name]) if source.rows else []
                    for file in made:
                        self._facts[file.entry.path] = file.facts
                        yield file.entry, file.content
                    files = tuple(file.entry for file in made)
                    unit = Unit(parts=source.parts, left_out=source.left_out, files=files)
                else:
                    self.tally.there += len(unit.files)
                self._units[table.name][source.name] = unit
                self._files[table.name].extend(unit.files)

    def _flat(self) -> Iterator[tuple[DataFileEntry, bytes]]:
        tables = self.plan.selection.tables
        for table in tables:
            for source in table.sources:
                unit = Unit(parts=source.parts, left_out=source.left_out, files=())
                self._units[table.name][source.name] = unit
        for file in flat_files.made_files(tables, self.plan.request.format, self.plan.version, self.plan.splits):
            for name in file.tables:
                self._files[name].append(file.entry)
            yield file.entry, file.content

    def _documents(self) -> Iterator[tuple[str, bytes]]:
        folder = folder_of(self.plan.version)
        if self.plan.is_parquet:
            for table in self.plan.selection.tables:
                data_files = [
                    parquet_files.moved(self._facts[file.path], f"{self.plan.base_url}/{file.path}")
                    for file in self._files[table.name]
                ]
                for path, content in self._exported[table.name].metadata_files(data_files).items():
                    yield f"{folder}iceberg/{table.name}/{path}", content
        increment = Increment(
            tables={
                table.name: TableIncrement(schema_digest=table.schema_digest, units=self._units[table.name])
                for table in self.plan.selection.tables
            }
        )
        yield increment_path(self.plan.version), increment.as_json()

    def _manifest(self, documents: list[StoredFile]) -> Manifest:
        plan = self.plan
        return Manifest(
            dataset=self.target.dataset,
            version=plan.version,
            created_at=plan.created.isoformat(),
            exported_by=f"qpipe {_own_version()}",
            asked_version=plan.request.version or "now",
            format=plan.request.format,
            license=plan.request.license,
            base_url=plan.base_url,
            tables=tuple(self._entry(table) for table in plan.selection.tables),
            molecules={table.name: table.rows_of for table in plan.selection.tables},
            splits=plan.splits,
            split_rule=plan.request.splits,
            divided=plan.divided,
            batches=plan.selection.batches,
            batches_left_out=plan.selection.unfinished,
            waiting=plan.selection.waiting,
            documents=tuple(documents),
        )

    def _entry(self, table: ChosenTable) -> TableEntry:
        declared = {column.name: column for column in table.declared.columns}
        columns = [
            ColumnEntry(
                name=f.name,
                type=str(f.field_type),
                unit=declared[f.name].unit if f.name in declared else "",
                doc=declared[f.name].doc if f.name in declared else f.doc or "",
                required=f.required,
            )
            for f in table.version.schema.fields
        ]
        iceberg = f"{folder_of(self.plan.version)}iceberg/{table.name}/metadata/v1.metadata.json"
        return TableEntry(
            name=table.name,
            comment=table.declared.comment,
            key=table.declared.key,
            source_uuid=table.uuid,
            snapshot_id=table.snapshot_id,
            tags=table.tags,
            rows=table.rows,
            columns=tuple(columns),
            iceberg=iceberg if self.plan.is_parquet else None,
            files=tuple(self._in_split(file) for file in self._files[table.name]),
        )

    def _in_split(self, file: DataFileEntry) -> DataFileEntry:
        if file.split is not None or file.molecule is None:
            return file
        return file.model_copy(update={"split": self._split_of.get(file.molecule)})


def _own_version() -> str:
    try:
        return metadata.version("qpipe")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "from a checkout"
