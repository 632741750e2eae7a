"""Iceberg metadata of its own for an exported table: one snapshot of Parquet files, in version 2 of the format.

Written as Iceberg's Hadoop layout has it (`metadata/v1.metadata.json` and `version-hint.text`), so that readers open it
by its folder too. Paths inside are absolute: Iceberg knows no others.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from qpipe_assets.exports.memory_files import MemoryFiles
from qpipe_assets.exports.selection import MOLECULE, ChosenTable

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

_METADATA = "metadata/v1.metadata.json"


@dataclass(frozen=True)
class ExportedTable:
    """One table of one version.

    Attributes:
        name: of the table.
        comment: one sentence about it.
        schema: its columns, with the source's field ids.
        location: URL of the folder of its metadata.
        made_at: milliseconds since 1970 of the version.
    """

    name: str
    comment: str
    schema: Schema
    location: str
    made_at: int

    @classmethod
    def of(cls, table: ChosenTable, location: str, made_at: int) -> ExportedTable:
        """A chosen table as it will be at `location`."""
        return cls(table.name, table.declared.comment, table.version.schema, location, made_at)

    @property
    def metadata_location(self) -> str:
        """URL of the metadata file, which StaticTable.from_metadata takes."""
        return f"{self.location}/{_METADATA}"

    @property
    def partition(self) -> PartitionSpec:
        """Files hold one molecule each."""
        from pyiceberg.partitioning import PartitionField, PartitionSpec
        from pyiceberg.transforms import IdentityTransform

        source = self.schema.find_field(MOLECULE).field_id
        return PartitionSpec(PartitionField(source, 1000, IdentityTransform(), MOLECULE))

    def empty(self, files: MemoryFiles) -> IcebergTable:
        """The table without rows, as Iceberg's writers of data files take it; they write into `files`."""
        from pyiceberg.catalog.noop import NoopCatalog
        from pyiceberg.table import Table

        return Table(("export", self.name), self._metadata(None), self.metadata_location, files, NoopCatalog("export"))

    def _metadata(self, snapshot: Snapshot | None) -> TableMetadata:
        from pyiceberg.table.metadata import TableMetadataV2
        from pyiceberg.table.snapshots import SnapshotLogEntry
        from pyiceberg.table.sorting import UNSORTED_SORT_ORDER

        spec = self.partition
        snapshots = [snapshot] if snapshot else []
        return TableMetadataV2(
            location=self.location,
            table_uuid=uuid.uuid5(uuid.NAMESPACE_URL, self.location),
            last_updated_ms=self.made_at,
            last_column_id=self.schema.highest_field_id,
            schemas=[self.schema],
            current_schema_id=self.schema.schema_id,
            partition_specs=[spec],
            default_spec_id=spec.spec_id,
            last_partition_id=spec.last_assigned_field_id,
            properties={"comment": self.comment},
            sort_orders=[UNSORTED_SORT_ORDER],
            default_sort_order_id=UNSORTED_SORT_ORDER.order_id,
            snapshots=snapshots,
            current_snapshot_id=snapshot.snapshot_id if snapshot else None,
            snapshot_log=[SnapshotLogEntry(snapshot_id=s.snapshot_id, timestamp_ms=s.timestamp_ms) for s in snapshots],
            last_sequence_number=len(snapshots),
        )

    def metadata_files(self, data_files: Sequence[DataFile]) -> dict[str, bytes]:
        """The metadata of the table with these data files, by path below the table's location."""
        files = MemoryFiles()
        snapshot = self._snapshot(data_files, files) if data_files else None
        made = {location.removeprefix(f"{self.location}/"): content for location, content in files.contents.items()}
        made[_METADATA] = self._metadata(snapshot).model_dump_json(by_alias=True, exclude_none=True).encode()
        made["metadata/version-hint.text"] = b"1"
        return made

    def _snapshot(self, data_files: Sequence[DataFile], files: MemoryFiles) -> Snapshot:
        """The one snapshot; its manifest and the list of it are written into `files`."""
        from pyiceberg.manifest import ManifestEntry, ManifestEntryStatus, write_manifest, write_manifest_list
        from pyiceberg.table.snapshots import Operation, Snapshot, Summary

        snapshot_id = int.from_bytes(sha256(self.location.encode()).digest()[:7], "big")
        manifests, entries = f"{self.location}/metadata/files.avro", f"{self.location}/metadata/snapshot.avro"
        with write_manifest(
            2, self.partition, self.schema, files.new_output(manifests), snapshot_id, "deflate"
        ) as manifest:
            for file in data_files:
                manifest.add_entry(
                    ManifestEntry.from_args(
                        status=ManifestEntryStatus.ADDED,
                        snapshot_id=snapshot_id,
                        sequence_number=1,
                        file_sequence_number=1,
                        data_file=file,
                    )
                )
        with write_manifest_list(2, files.new_output(entries), snapshot_id, None, 1, "deflate") as listed:
            listed.add_manifests([manifest.to_manifest_file()])
        rows, count = str(sum(file.record_count for file in data_files)), str(len(data_files))
        size = str(sum(file.file_size_in_bytes for file in data_files))
        summary = {"records": rows, "data-files": count, "files-size": size}
        totals = {f"{kind}-{name}": value for kind in ("added", "total") for name, value in summary.items()}
        return Snapshot(
            snapshot_id=snapshot_id,
            sequence_number=1,
            timestamp_ms=self.made_at,
            manifest_list=entries,
            summary=Summary(Operation.APPEND, **totals),
            schema_id=self.schema.schema_id,
        )


def data_files_of(metadata_location: str, contents: dict[str, bytes]) -> list[DataFile]:
    """The data files of a table, by its metadata and manifests given by location."""
    from pyiceberg.manifest import ManifestEntryStatus
    from pyiceberg.table.metadata import TableMetadataUtil

    files = MemoryFiles()
    files.contents.update(contents)
    snapshot = TableMetadataUtil.parse_raw(contents[metadata_location].decode()).current_snapshot()
    if snapshot is None:
        return []
    return [
        entry.data_file
        for manifest in snapshot.manifests(files)
        for entry in manifest.fetch_manifest_entry(files)
        if entry.status != ManifestEntryStatus.DELETED
    ]
