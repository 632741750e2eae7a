"""A consistent snapshot: versions of the chosen tables, and the batches that all of them hold whole.

Tables are committed one after the other, so at any moment some have a batch that others do not have yet, or, inside a
rebuild, not any more. A batch whose rows a table lacks is left out of all, unless the ledger says that it has none for
that table. The ledger knows nothing of the batches of an adopted warehouse: these are taken as they are. A molecule
that is at work meanwhile is told, because where no table has its rows nothing else shows that they are missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from qpipe_assets.exports.manifest import Increment, Part
from qpipe_assets.exports.request import ExportRefusedError
from qpipe_assets.tables import schemas
from qpipe_assets.tables.declaration import Table
from qpipe_resources.locations import without_scheme

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

    from qpipe_assets.tables.ledger import Ledger
    from qpipe_resources.lakehouse import Lakehouse
    from qpipe_resources.table_version import TableVersion

BATCH, MOLECULE = "processing_batch_id", "molecule"
"""Columns that every table has."""


@dataclass(frozen=True)
class Source:
    """Rows of a table that lie in one file, or all of them where files cannot be read one by one.

    Attributes:
        name: the same for the same rows, whenever it is asked.
        parts: rows by batch and molecule.
        left_out: batches of it that are not exported.
        file: None for the whole version.
    """

    name: str
    parts: tuple[Part, ...]
    left_out: tuple[str, ...]
    file: DataFile | None

    @property
    def kept(self) -> tuple[Part, ...]:
        """What is exported of it."""
        return tuple(part for part in self.parts if part.batch not in self.left_out)

    @property
    def rows(self) -> int:
        """Rows that are exported."""
        return sum(part.rows for part in self.kept)


@dataclass(frozen=True)
class ChosenTable:
    """One table of the snapshot; `sources` hold its rows."""

    declared: Table
    version: TableVersion
    sources: tuple[Source, ...]

    @property
    def name(self) -> str:
        """Of the table."""
        return self.declared.name

    @property
    def rows(self) -> int:
        """Rows that are exported."""
        return sum(source.rows for source in self.sources)

    @property
    def rows_of(self) -> dict[str, int]:
        """Exported rows by molecule; "" for rows that name none."""
        found: dict[str, int] = defaultdict(int)
        for source in self.sources:
            for part in source.kept:
                found[part.molecule] += part.rows
        return dict(sorted(found.items()))

    @property
    def batches(self) -> list[str]:
        """Exported batches, sorted."""
        return sorted({part.batch for source in self.sources for part in source.kept})

    @property
    def schema_digest(self) -> str:
        """Differs when a column does."""
        return sha256(self.version.schema.model_dump_json().encode()).hexdigest()

    @property
    def uuid(self) -> str:
        """Identity of the table."""
        return str(self.version.table.metadata.table_uuid)

    @property
    def snapshot_id(self) -> str | None:
        """Version of the table."""
        return str(self.version.snapshot.snapshot_id) if self.version.snapshot else None

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the snapshot."""
        references = self.version.table.refs().items()
        tagged = {t for t, r in references if r.snapshot_ref_type == "tag" and str(r.snapshot_id) == self.snapshot_id}
        return tuple(sorted(tagged))

    def rows_in(self, source: Source) -> Any:
        """The rows of a source as a lazy Arrow dataset, those that are left out among them."""
        if source.file is None:
            return self.version.dataset(())
        return self.version.dataset_of([source.file], self.version.schema, ())

    def exported(self, source: Source) -> Any:
        """What to filter the rows of a source by; None for nothing."""
        import pyarrow.compute as pc

        # No batch is no batch that is left out, so nulls stay.
        column = pc.field(BATCH)
        return ~column.isin(list(source.left_out)) | column.is_null() if source.left_out else None


@dataclass(frozen=True)
class Selection:
    """The chosen tables, and which of their rows are exported.

    Attributes:
        tables: as they were chosen.
        batches: that all of them hold.
        left_out: batches that only some have.
        unfinished: those of them that a later export takes; the others were withdrawn by a rebuild.
        waiting: molecules at work, whose rows may be missing or not be all; none as of an older version.
    """

    tables: tuple[ChosenTable, ...]
    batches: int
    left_out: tuple[str, ...]
    unfinished: tuple[str, ...]
    waiting: tuple[str, ...]

    @property
    def molecules(self) -> list[str]:
        """Molecules with exported rows; "" where rows name none."""
        return sorted({molecule for table in self.tables for molecule in table.rows_of})

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)


def select(
    lakehouse: Lakehouse,
    ledger: Ledger,
    names: Sequence[str],
    version: str | None,
    known: Increment,
    readers: int,
) -> Selection:
    """Choose versions of tables that belong together.

    Args:
        lakehouse: that the tables are in.
        ledger: its ledger.
        names: of the tables.
        version: tag, batch, snapshot id or moment; what is current when None.
        known: source files that were looked into before.
        readers: files looked into at once.

    Raises:
        UnknownVersionError: a table has no such version, or not any more.
        ExportRefusedError: the version has no rows that all tables share.
    """
    # Asked before and after: what begins or ends while the versions are chosen may be in them by half.
    waiting = set() if version else _waiting(ledger, names)
    versions = {name: lakehouse.version(name, version) for name in names}
    waiting |= set() if version else _waiting(ledger, names)
    parts = {name: _parts(versions[name], known, readers) for name in names}
    present = {name: {p.batch for found in parts[name].values() for p in found[1]} for name in names}
    everything: set[str] = set().union(*present.values())
    incomplete = {batch for batch in everything if any(batch not in found for found in present.values())}
    committed = ledger.rows_committed(incomplete)
    left_out = {
        batch
        for batch in incomplete & committed.keys()
        # Neither in the table nor known to have nothing for it.
        if any(batch not in present[name] and committed[batch].get(name) != 0 for name in names)
    }
    tables = tuple(
        ChosenTable(
            schemas.table(name),
            versions[name],
            tuple(
                Source(source, found, tuple(sorted({p.batch for p in found} & left_out)), file)
                for source, (file, found) in sorted(parts[name].items())
            ),
        )
        for name in names
    )
    unfinished = left_out - ledger.withdrawn(left_out)
    selection = Selection(
        tables=tables,
        batches=len(everything - left_out),
        left_out=tuple(sorted(left_out)),
        unfinished=tuple(sorted(unfinished)),
        waiting=tuple(sorted(waiting)),
    )
    if not selection.rows:
        raise ExportRefusedError(
            f"there is nothing to export: no batch has rows in {', '.join(names)}"
            f"{'' if version is None else f' as of {version}'}; ingest runs first, or wait for the ML tables"
        )
    return selection


def _waiting(ledger: Ledger, names: Sequence[str]) -> set[str]:
    """Molecules with a rebuild or a batch that is not finished, a batch that one of the tables lacks, or none left."""
    return ledger.withdrawn_molecules().union(*(ledger.pending_molecules(name) for name in names))


def _parts(
    version: TableVersion, known: Increment, readers: int
) -> dict[str, tuple[DataFile | None, tuple[Part, ...]]]:
    """The sources of a table by name, with what they hold; files that were known are not opened."""
    from qpipe_resources.table_version import names_mean_fields

    if version.snapshot is None:
        return {}
    if version.deletes_rows or not names_mean_fields(version.table):
        return {f"snapshot-{version.snapshot.snapshot_id}": (None, _look_into(version.dataset(())))}
    before = known.tables[version.name].units if version.name in known.tables else {}
    files = {_name(version, file): file for file in version.files}

    def look(name: str) -> tuple[Part, ...]:
        if name in before:
            return before[name].parts
        return _look_into(version.dataset_of([files[name]], version.schema, ()))

    with ThreadPoolExecutor(readers) as pool:
        return {name: (files[name], parts) for name, parts in zip(files, pool.map(look, files), strict=True)}


def _name(version: TableVersion, file: DataFile) -> str:
    """Where a file lies below its table; of one that lies elsewhere, a digest of where."""
    path, folder = (without_scheme(place).lstrip("/") for place in (file.file_path, version.table.location()))
    inside = path.removeprefix(f"{folder}/")
    return inside if inside != path else sha256(path.encode()).hexdigest()


def _look_into(rows: Any) -> tuple[Part, ...]:
    counted: dict[tuple[str, str], int] = defaultdict(int)
    for batch in rows.to_batches(columns=[BATCH, MOLECULE]):
        grouped = _grouped(batch)
        for one in grouped:
            counted[one[BATCH] or "", one[MOLECULE] or ""] += one["rows"]
    return tuple(Part(batch=b, molecule=m, rows=n) for (b, m), n in sorted(counted.items()))


def _grouped(batch: Any) -> list[Mapping[str, Any]]:
    import pyarrow as pa

    table = pa.Table.from_batches([batch])
    counts = table.group_by([BATCH, MOLECULE]).aggregate([([], "count_all")])
    return counts.rename_columns([BATCH, MOLECULE, "rows"]).to_pylist()
