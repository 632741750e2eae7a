"""CSV and HDF5: what a reader without Arrow finds, nulls and lists among it."""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import json
import math
from pathlib import Path
from typing import Any

import h5py
import pandas as pd
import pyarrow as pa

from qpipe_assets.exports.export import Export
from qpipe_assets.exports.flat_files import _column
from qpipe_assets.exports.request import ExportRequest, Format
from qpipe_assets.exports.splits import parse_rule
from qpipe_assets.exports.verification import verify
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation

TABLES = ("ml_run_summary", "molecules")


def rows(installation: Installation, name: str) -> list[dict[str, Any]]:
    return installation.lakehouse.arrow(name).sort_by("experiment_id").to_pylist()


def test_csv_holds_every_digit_and_lists_as_json(export: Export, filled: Installation, folder: Path) -> None:
    outcome = export.run(ExportRequest(tables=TABLES, format=Format.CSV))
    place = folder / "demo" / "versions" / outcome.version
    frame = pd.read_csv(place / "ml_run_summary.csv").sort_values("experiment_id")
    expected = rows(filled, "ml_run_summary")
    assert list(frame.columns) == schemas.table("ml_run_summary").column_names
    assert frame["final_energy"].tolist() == [row["final_energy"] for row in expected]
    assert frame["fci_energy"].isna().all()
    with open(place / "molecules.csv", newline="") as file:
        molecules = sorted(csv.DictReader(file), key=lambda row: row["experiment_id"])
    source = rows(filled, "molecules")
    assert [json.loads(row["coordinates"]) for row in molecules] == [row["coordinates"] for row in source]
    assert verify(export.target, 1).damaged == {}
    assert not export.run(ExportRequest(tables=TABLES, format=Format.CSV)).new


def test_hdf5_has_a_group_for_each_table_and_a_dataset_with_unit_for_each_column(
    export: Export, filled: Installation, folder: Path
) -> None:
    outcome = export.run(ExportRequest(tables=TABLES, format=Format.HDF5))
    with h5py.File(folder / "demo" / "versions" / outcome.version / "data.h5") as file:
        assert set(file) == set(TABLES)
        summary, expected = file["ml_run_summary"], rows(filled, "ml_run_summary")
        energies = dict(zip(summary["experiment_id"].asstr()[:], summary["final_energy"][:], strict=True))
        assert energies == {row["experiment_id"]: row["final_energy"] for row in expected}
        assert summary["final_energy"].attrs["unit"] == "Hartree"
        assert summary["final_energy"].attrs["description"] == "Lowest electronic energy of the run"
        assert not summary["fci_energy__valid"][:].any()
        atoms = file["molecules/atom_symbols"]
        offsets, symbols = atoms["offsets"][:], atoms["values"].asstr()[:]
        found = [list(symbols[a:b]) for a, b in itertools.pairwise(offsets)]
        assert sorted(found) == sorted(row["atom_symbols"] for row in rows(filled, "molecules"))


def test_each_split_is_a_set_of_files_with_whole_molecules(export: Export, folder: Path) -> None:
    rule = parse_rule("train=0.6,test=0.4", ["test=LiH"])
    outcome = export.run(ExportRequest(tables=("ml_run_summary",), format=Format.CSV, splits=rule))
    place = folder / "demo" / "versions" / outcome.version
    found = {split: set(pd.read_csv(place / split / "ml_run_summary.csv")["molecule"]) for split in rule.shares}
    assert found["train"] | found["test"] == {"H2", "HeH+", "LiH"}
    assert not found["train"] & found["test"] and "LiH" in found["test"]


def test_a_split_without_molecules_is_files_without_rows(export: Export, folder: Path) -> None:
    rule = parse_rule("train=1,test=0")
    outcome = export.run(ExportRequest(tables=TABLES, format=Format.CSV, splits=rule))
    place = folder / "demo" / "versions" / outcome.version / "test"
    assert {name: len(pd.read_csv(place / f"{name}.csv")) for name in TABLES} == dict.fromkeys(TABLES, 0)
    outcome = export.run(ExportRequest(tables=TABLES, format=Format.HDF5, splits=rule))
    with h5py.File(folder / "demo" / "versions" / outcome.version / "test.h5") as file:
        assert file["ml_run_summary/final_energy"].shape == (0,)
        assert file["molecules/coordinates/offsets"][:].tolist() == [0]


def test_every_kind_of_column_reads_back_from_hdf5(tmp_path: Path) -> None:
    moment = dt.datetime(2026, 11, 22, 1, 2, 3, 4, tzinfo=dt.UTC)
    columns = {
        "text": pa.array(["a", None, ""]),
        "count": pa.array([2**40, None, -1], pa.int64()),
        "flag": pa.array([True, None, False]),
        "number": pa.array([0.1, None, math.inf]),
        "day": pa.array([moment.date(), None, dt.date(1970, 1, 2)]),
        "moment": pa.array([moment, None, moment], pa.timestamp("us", tz="UTC")),
        "nested": pa.array([[[1.0, 2.0], []], None, [[3.0]]], pa.list_(pa.list_(pa.float64()))),
    }
    with h5py.File(tmp_path / "all.h5", "w") as file:
        for name, values in columns.items():
            _column(file, name, values)
    with h5py.File(tmp_path / "all.h5") as file:
        assert all(file[f"{name}__valid"][:].tolist() == [True, False, True] for name in columns)
        assert file["text"].asstr()[:].tolist() == ["a", "", ""]
        assert file["count"][:].tolist() == [2**40, 0, -1]
        assert file["flag"][:].tolist() == [True, False, False]
        assert file["number"][[0, 2]].tolist() == [0.1, math.inf] and math.isnan(file["number"][1])
        assert file["day"][:].tolist() == [20779, 0, 1]
        assert file["moment"][0] == int(moment.timestamp()) * 10**6 + 4
        assert file["nested/offsets"][:].tolist() == [0, 2, 2, 3]
        assert file["nested/values/offsets"][:].tolist() == [0, 2, 2, 3]
        assert file["nested/values/values"][:].tolist() == [1.0, 2.0, 3.0]
