"""Rows as CSV (a file for each table) and as HDF5 (a group for each table), one set of files for each split.

These are for tables that fit into memory; Parquet is for any size. In HDF5

    /<table>/<column>                       a dataset, with the attributes type, unit and description
    /<table>/<column>/offsets, values       of lists: row i is values[offsets[i]:offsets[i + 1]]; nested likewise
    /<table>/<column>__valid                where there are nulls: false for them (the dataset holds 0, NaN or "" there)

Dates are days and timestamps microseconds (UTC) since 1970. In CSV lists are JSON text, a null is empty and an empty
text is "".
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from qpipe_assets.exports.manifest import DataFileEntry, folder_of
from qpipe_assets.exports.request import Format
from qpipe_assets.exports.selection import MOLECULE, ChosenTable
from qpipe_assets.tables.declaration import Column

if TYPE_CHECKING:
    import pyarrow as pa

_ALL = "data"
"""Name of the HDF5 file where there are no splits."""


@dataclass(frozen=True)
class FlatFile:
    """A file that is not written yet, and the tables that it holds."""

    entry: DataFileEntry
    content: bytes
    tables: tuple[str, ...]


def made_files(
    tables: Sequence[ChosenTable], form: Format, version: str, splits: Mapping[str, Sequence[str]]
) -> Iterator[FlatFile]:
    """The files, one after the other.

    Args:
        tables: what to write.
        form: CSV or HDF5.
        version: whose folder the files go to.
        splits: molecules of each split; one set of files where there are none.
    """
    folder = folder_of(version)
    for split, molecules in splits.items() or [(None, None)]:
        if form is Format.HDF5:
            yield _made(f"{folder}{split or _ALL}.h5", _hdf5, tables, molecules, split)
        else:
            for table in tables:
                inside = f"{split}/" if split else ""
                yield _made(f"{folder}{inside}{table.name}.csv", _csv, [table], molecules, split)


def _made(
    path: str,
    write: Callable[[Sequence[tuple[ChosenTable, pa.Table]]], bytes],
    tables: Sequence[ChosenTable],
    molecules: Sequence[str] | None,
    split: str | None,
) -> FlatFile:
    rows = [(table, _rows(table, molecules)) for table in tables]
    content = write(rows)
    entry = DataFileEntry(
        path=path,
        bytes=len(content),
        sha256=sha256(content).hexdigest(),
        rows=sum(len(found) for _, found in rows),
        split=split,
    )
    return FlatFile(entry, content, tuple(table.name for table in tables))


def _rows(table: ChosenTable, molecules: Sequence[str] | None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    found = [table.version.arrow_schema.empty_table()]
    for source in table.sources:
        wanted = table.exported(source)
        if molecules is not None:
            # Of no molecules Arrow could not tell the type.
            inside = pc.field(MOLECULE).isin(pa.array(molecules, pa.string()))
            wanted = inside if wanted is None else wanted & inside
        found.append(table.rows_in(source).to_table(filter=wanted))
    return pa.concat_tables(found)


def _csv(tables: Sequence[tuple[ChosenTable, pa.Table]]) -> bytes:
    import pyarrow as pa
    from pyarrow import csv

    [(_, rows)] = tables
    for position, field in enumerate(rows.schema):
        if pa.types.is_list(field.type):
            texts = [None if value is None else json.dumps(value) for value in rows.column(position).to_pylist()]
            rows = rows.set_column(position, field.name, pa.array(texts, pa.string()))
    written = io.BytesIO()
    csv.write_csv(rows, written)
    return written.getvalue()


def _hdf5(tables: Sequence[tuple[ChosenTable, pa.Table]]) -> bytes:
    import h5py

    written = io.BytesIO()
    # Without times of its own the same rows are the same bytes.
    with h5py.File(written, "w", track_order=True) as file:
        for table, rows in tables:
            group = file.create_group(table.name, track_order=True)
            group.attrs["description"] = table.declared.comment
            group.attrs["key"] = list(table.declared.key)
            columns = {column.name: column for column in table.declared.columns}
            for name in rows.column_names:
                made = _column(group, name, rows.column(name).combine_chunks())
                _describe(made, columns.get(name))
    return written.getvalue()


def _describe(made: Any, column: Column | None) -> None:
    if column is not None:
        made.attrs["type"] = column.type
        made.attrs["unit"] = column.unit
        made.attrs["description"] = column.doc


def _column(group: Any, name: str, values: pa.Array) -> Any:
    import pyarrow as pa

    if values.null_count:
        group.create_dataset(f"{name}__valid", data=values.is_valid().to_numpy(zero_copy_only=False))
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    if pa.types.is_list(values.type):
        lists = group.create_group(name)
        lists.create_dataset("offsets", data=_offsets(values))
        _column(lists, "values", values.flatten())
        return lists
    return group.create_dataset(name, **_numbers(values))


def _offsets(values: pa.Array) -> Any:
    import numpy as np
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _numbers(values: pa.Array) -> dict[str, Any]:
    """What h5py makes a dataset of: the values with those that are null filled in."""
    import h5py
    import pyarrow as pa

    kind = values.type
    if pa.types.is_string(kind):
        return {"data": values.fill_null("").to_pylist(), "dtype": h5py.string_dtype(), "shape": (len(values),)}
    if pa.types.is_floating(kind):
        return {"data": values.fill_null(float("nan")).to_numpy(zero_copy_only=False)}
    if pa.types.is_date(kind):
        values = values.cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        values = values.cast(pa.int64())
    return {"data": values.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False)}
