"""Data files: whatever pieces and encodings rows come in, the table's readers see plain rows in their partitions."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import Table as IcebergTable

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.data_files import Written, write_data_files
from qpipe_resources.locations import without_scheme
from tests.tables.protocol import settings_in

SCHEMA = schemas.table("ansatz_info").arrow_schema()
AT = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return open_installation(settings_in(tmp_path))


def rows(*basis_sets: str, encoded: bool = False) -> pa.Table:
    made = [
        {
            **{
                "experiment_id": f"{number:064d}",
                "molecule_id": number,
                "basis_set": basis_set,
                "ansatz": "OPENQASM 3.0;",
            },
            **{"ansatz_reps": 2, "processing_timestamp": AT, "processing_date": AT.date(), "processing_batch_id": "b"},
            **{"processing_name": "p", "molecule": "H2", "num_parameters": 4},
        }
        for number, basis_set in enumerate(basis_sets)
    ]
    table = pa.Table.from_pylist(made, schema=SCHEMA)
    if encoded:
        for name in ("basis_set", "processing_name", "molecule", "mapper"):
            position = table.schema.get_field_index(name)
            field = table.schema.field(name)
            column = table.column(name).dictionary_encode()
            table = table.set_column(position, field.with_type(column.type), column)
    return table


def paths(written: Written) -> list[Path]:
    return [Path(without_scheme(file.file_path)) for file in written.files]


def committed(installation: Installation, *pieces: pa.Table) -> tuple[Written, IcebergTable]:
    made: list[Written] = []

    def write(table: IcebergTable) -> Written:
        made.append(write_data_files(table, iter(pieces)))
        return made[0]

    installation.lakehouse.append("ansatz_info", write, "b1")
    return made[0], installation.lakehouse.load("ansatz_info")


def in_order(table: pa.Table) -> list[dict[str, object]]:
    return sorted(table.select(SCHEMA.names).to_pylist(), key=lambda row: (row["basis_set"], row["molecule_id"]))


@pytest.mark.parametrize("encoded", [False, True])
def test_pieces_become_one_file_for_each_partition_with_every_row_once(
    installation: Installation, encoded: bool
) -> None:
    pieces = [rows("sto3g", "6-31g", "sto3g", encoded=encoded), rows("cc-pvdz", "sto3g", encoded=encoded)]
    written, table = committed(installation, *pieces)
    expected = in_order(pa.concat_tables([rows("sto3g", "6-31g", "sto3g"), rows("cc-pvdz", "sto3g")]))
    assert written.rows == 5
    assert sorted(path.parent.name for path in paths(written)) == [
        "basis_set=6-31g",
        "basis_set=cc-pvdz",
        "basis_set=sto3g",
    ]
    assert in_order(table.scan().to_arrow()) == in_order(installation.lakehouse.arrow("ansatz_info")) == expected
    assert table.scan(row_filter="basis_set == 'sto3g'").to_arrow().num_rows == 3


def test_no_reader_sees_that_texts_were_dictionaries(installation: Installation) -> None:
    written, table = committed(installation, rows("sto3g", "sto3g", encoded=True))
    (path,) = paths(written)
    file = pq.ParquetFile(path)
    texts = {field.name: field.type for field in file.schema_arrow if field.name in ("basis_set", "molecule", "mapper")}
    assert texts == dict.fromkeys(("basis_set", "mapper", "molecule"), pa.string())
    assert [column.field_id for column in table.schema().fields] == [
        int(field.metadata[b"PARQUET:field_id"]) for field in file.schema_arrow
    ]
    assert not any(pa.types.is_dictionary(field.type) for field in table.scan().to_arrow().schema)


def test_a_file_tells_the_bounds_of_its_columns(installation: Installation) -> None:
    written, table = committed(installation, rows("sto3g", encoded=True), rows("sto3g", "sto3g", encoded=True))
    (file,) = written.files
    number, mapper = (table.schema().find_field(name).field_id for name in ("molecule_id", "mapper"))
    assert file.record_count == 3
    assert (file.lower_bounds[number], file.upper_bounds[number]) == (b"\x00\x00\x00\x00", b"\x01\x00\x00\x00")
    assert file.null_value_counts[mapper] == 3
    assert file.file_size_in_bytes == paths(written)[0].stat().st_size


@pytest.mark.parametrize("encoded", [False, True])
def test_null_and_the_text_null_are_two_partitions(installation: Installation, encoded: bool) -> None:
    with installation.lakehouse.load("ansatz_info").update_spec() as update:
        update.add_identity("mapper")
    plain = rows("sto3g", "sto3g", "sto3g").drop_columns("mapper")
    mappers = pa.array([None, "null", None])
    given = plain.append_column("mapper", mappers.dictionary_encode() if encoded else mappers)
    written, table = committed(installation, given, given)
    assert [file.record_count for file in sorted(written.files, key=lambda file: file.record_count)] == [2, 4]
    assert table.scan(row_filter="mapper == 'null'").to_arrow().num_rows == 2
    assert table.scan(row_filter="mapper is null").to_arrow().num_rows == 4


def test_no_rows_are_no_file(installation: Installation) -> None:
    table = installation.lakehouse.load("ansatz_info")
    assert write_data_files(table, []).files == write_data_files(table, [SCHEMA.empty_table()]).files == ()


@pytest.mark.parametrize("encoded", [False, True])
def test_a_column_that_the_table_lacks_is_refused_and_leaves_no_file(installation: Installation, encoded: bool) -> None:
    table = installation.lakehouse.load("ansatz_info")
    more = rows("sto3g", encoded=encoded).append_column("surprise", pa.array([1]))
    with pytest.raises(ValueError, match="surprise"):
        write_data_files(table, [more])
    assert not list(Path(without_scheme(table.location())).rglob("*.parquet"))
