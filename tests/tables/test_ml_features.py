"""The two ML tables against a pandas oracle written from the specification's formulas, to 1e-12."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpipe_assets.tables import schemas
from qpipe_assets.tables.decode import decode
from qpipe_assets.tables.embedded_engine import EmbeddedEngine, compute
from qpipe_assets.tables.flatten import BatchConstants, flatten
from qpipe_assets.tables.installation import Installation
from qpipe_assets.tables.ml_features import FanOutError
from qpipe_resources.serialization import arrow_schema
from tests.synthetic import plain_record
from tests.tables.protocol import land

CONSTANTS = BatchConstants("b" * 32, dt.datetime(2026, 11, 21, tzinfo=dt.UTC), "H2")
SOURCES = schemas.table("ml_iteration_features").sources

GOLDEN_ENERGIES = [-1.0, -1.05, -1.02, -1.05, -1.08, -1.07, -1.075, -1.0801, -1.0801, -1.09, -1.08, -1.0899]
"""Twelve steps with new minima at 1, 2, 5, 8 and 10, a tie at 4 and 9, and plateaus of two steps."""


def record(energies: list[float], number: int = 0) -> dict[str, Any]:
    """A plain record with this trajectory."""
    made = plain_record(number, evaluations=len(energies))
    lowest = math.inf
    for index, (step, energy) in enumerate(zip(made["vqe_result"]["iteration_list"], energies, strict=True)):
        lowest = min(lowest, energy)
        step |= {
            "result": energy,
            "energy_delta": None if index == 0 else energy - energies[index - 1],
            "parameter_delta_norm": None if index == 0 else 0.1 / (index + number + 1),
            "cumulative_min_energy": lowest,
        }
    made["vqe_result"]["minimum"] = lowest
    return made


def sources_of(*records: dict[str, Any]) -> dict[str, pa.Table]:
    decoded = [item for plain in records for item in decode(json.dumps(plain).encode())]
    rows = [item.row | {"experiment_id": item.experiment_id} for item in decoded]
    staged = pa.Table.from_pylist(rows, schema=arrow_schema())
    return {name: flatten(staged, name, CONSTANTS) for name in SOURCES}


def built(*records: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    features = compute("ml_iteration_features", sources_of(*records))
    summary = compute("ml_run_summary", {"ml_iteration_features": features})
    return (
        features.to_pandas().sort_values(["experiment_id", "iteration_step"], ignore_index=True),
        summary.to_pandas().sort_values("experiment_id", ignore_index=True),
    )


def features_oracle(plain: dict[str, Any]) -> pd.DataFrame:
    """The derived columns of one run, step by step."""
    steps = plain["vqe_result"]["iteration_list"]
    frame = pd.DataFrame(
        {
            "iteration_step": [step["iteration"] for step in steps],
            "energy": [step["result"] for step in steps],
            "cmin": [step["cumulative_min_energy"] for step in steps],
            "move": [math.nan if (v := step["parameter_delta_norm"]) is None else v for step in steps],
        }
    )
    step = frame["iteration_step"]
    frame["relative_iteration"] = step / len(frame)
    frame["energy_improvement_rate"] = (frame["energy"].iloc[0] - frame["cmin"]) / step
    frame["normalized_energy"] = ((frame["energy"] - frame["cmin"]) / frame["cmin"].abs()).where(frame["cmin"] != 0, 0)
    before = frame["cmin"].shift()
    frame["is_new_minimum"] = before.isna() | (frame["cmin"] < before)
    frame["steps_since_improvement"] = frame.groupby(frame["is_new_minimum"].cumsum()).cumcount()
    windows = [frame["energy"].iloc[max(0, i - 4) : i + 1] for i in range(len(frame))]
    frame["energy_moving_avg_5"] = [math.fsum(window) / len(window) for window in windows]
    frame["energy_moving_std_5"] = [np.std(window, ddof=1) if len(window) > 1 else math.nan for window in windows]
    moved = [math.fsum(frame["move"].iloc[: i + 1].dropna()) for i in range(len(frame))]
    frame["mean_param_change"] = (pd.Series(moved) / step).where(frame["move"].notna().cummax())
    frame["convergence_iteration"] = step[frame["is_new_minimum"]].max()
    return frame


def summary_oracle(plain: dict[str, Any]) -> dict[str, float]:
    """The aggregates of one run."""
    frame = features_oracle(plain)
    steps = plain["vqe_result"]["iteration_list"]
    deltas = pd.Series([s["energy_delta"] for s in steps[1:]], dtype=float)
    first, last = frame.head(10), frame.tail(10)
    centred = first["iteration_step"] - first["iteration_step"].mean()
    new_minima = int(frame["is_new_minimum"].sum())
    through = (centred * (first["energy"] - first["energy"].mean())).sum()
    slope = through / (centred**2).sum() if len(first) > 1 else math.nan
    return {
        "mean_energy_delta": deltas.mean(),
        "std_energy_delta": deltas.std(),
        "min_energy": frame["energy"].min(),
        "max_energy": frame["energy"].max(),
        "energy_range": frame["energy"].max() - frame["energy"].min(),
        "mean_param_delta_norm": frame["move"].mean(),
        "std_param_delta_norm": frame["move"].std(),
        "total_param_distance": frame["move"].sum(min_count=1),
        "num_new_minima": new_minima,
        "longest_plateau": frame["steps_since_improvement"].max(),
        "improvement_ratio": new_minima / len(frame),
        "first_10_mean_energy": first["energy"].mean(),
        "first_10_energy_slope": slope,
        "last_10_mean_energy": last["energy"].mean(),
        "time_per_iteration": plain["vqe_time"] / len(frame),
        "convergence_iteration": frame["convergence_iteration"].iloc[0],
    }


def assert_features_equal(made: pd.DataFrame, plain: dict[str, Any]) -> None:
    expected = features_oracle(plain)
    exact = ["iteration_step", "is_new_minimum", "steps_since_improvement", "convergence_iteration"]
    for name in exact:
        assert made[name].tolist() == expected[name].tolist(), name
    for name in (
        "energy",
        "relative_iteration",
        "energy_improvement_rate",
        "normalized_energy",
        "energy_moving_avg_5",
        "energy_moving_std_5",
        "mean_param_change",
    ):
        np.testing.assert_allclose(made[name], expected[name], rtol=0, atol=1e-12, err_msg=name)


def assert_summary_equal(made: pd.Series, plain: dict[str, Any]) -> None:
    for name, value in summary_oracle(plain).items():
        np.testing.assert_allclose(made[name], value, rtol=0, atol=1e-12, err_msg=name)


def test_the_features_of_a_golden_run_equal_the_oracle() -> None:
    golden = record(GOLDEN_ENERGIES)
    features, _ = built(golden)
    assert_features_equal(features, golden)


def test_the_summary_of_a_golden_run_equals_the_oracle() -> None:
    golden = record(GOLDEN_ENERGIES)
    _, summary = built(golden)
    assert_summary_equal(summary.iloc[0], golden)


def test_the_features_of_a_golden_run_are_these_numbers() -> None:
    # By hand from the formulas and GOLDEN_ENERGIES, so that an error in the oracle shows too.
    features, summary = built(record(GOLDEN_ENERGIES))
    minima = [1, 2, 5, 8, 10]
    assert features.loc[features["is_new_minimum"], "iteration_step"].tolist() == minima
    assert features["steps_since_improvement"].tolist() == [0, 0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 2]
    assert set(features["convergence_iteration"]) == {10}
    assert features["energy_moving_avg_5"][4] == pytest.approx((-1.0 - 1.05 - 1.02 - 1.05 - 1.08) / 5, abs=1e-12)
    assert math.isnan(features["energy_moving_std_5"][0])
    assert features["energy_moving_std_5"][1] == pytest.approx(0.05 / math.sqrt(2), abs=1e-12)
    assert features["energy_improvement_rate"][11] == pytest.approx(0.09 / 12, abs=1e-12)
    assert features["normalized_energy"][2] == pytest.approx(0.03 / 1.05, abs=1e-12)
    row = summary.iloc[0]
    assert (row["num_new_minima"], row["longest_plateau"], row["total_iterations"]) == (5, 2, 12)
    assert row["improvement_ratio"] == pytest.approx(5 / 12, abs=1e-12)
    assert row["energy_range"] == pytest.approx(0.09, abs=1e-12)
    assert row["mean_energy_delta"] == pytest.approx((-1.0899 + 1.0) / 11, abs=1e-12)


# Energies of chemistry's size: on the scale of 1e300 an absolute 1e-12 would mean nothing.
_trajectories = st.lists(st.floats(-120, 120).map(lambda e: round(e, 9)), min_size=1, max_size=30)


@settings(max_examples=40)
@given(st.lists(_trajectories, min_size=1, max_size=3))
def test_random_runs_in_one_batch_equal_the_oracle(trajectories: list[list[float]]) -> None:
    records = [record(energies, number) for number, energies in enumerate(trajectories)]
    features, summary = built(*records)
    for plain in records:
        identity = decode(json.dumps(plain).encode())[0].experiment_id
        mine = features[features["experiment_id"] == identity].reset_index(drop=True)
        assert_features_equal(mine, plain)
        (row,) = summary[summary["experiment_id"] == identity].iloc
        oracle = summary_oracle(plain)
        for name, value in oracle.items():
            # A run of one step has no slope and no deviation: NaN in the oracle, null in the table.
            np.testing.assert_allclose(
                float(row[name]), value, rtol=1e-12, atol=1e-11 if "slope" in name else 1e-12, err_msg=name
            )


def test_run_constants_come_from_their_tables() -> None:
    features, summary = built(record(GOLDEN_ENERGIES))
    for frame in (features, summary):
        row = frame.iloc[0]
        assert (row["molecule_name"], row["num_atoms"], row["num_qubits"]) == ("HH", 2, 4)
        assert (row["optimizer"], row["basis_set"], row["ansatz_type"]) == ("COBYLA", "sto3g", "EfficientSU2")
        assert (row["vqe_time"], row["total_time"], row["default_shots"]) == (1.5, 1.875, 1024)
        assert row["final_energy"] == min(GOLDEN_ENERGIES)
        assert row["processing_date"] == dt.date(2026, 11, 21)


def test_a_cumulative_minimum_of_zero_gives_no_division() -> None:
    features, _ = built(record([0.0, 1.0, 2.0]))
    assert features["normalized_energy"].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("column", ["molecule_name", "optimizer", "basis_set", "num_qubits"])
def test_rows_without_a_guarded_column_are_dropped(column: str) -> None:
    source = {"molecule_name": "molecules", "basis_set": "ansatz_info"}.get(column, "vqe_results")
    sources = sources_of(record(GOLDEN_ENERGIES), record(GOLDEN_ENERGIES, 1))
    rows = sources[source]
    kept = [None, *rows.column(column).to_pylist()[1:]]
    position = rows.column_names.index(column)
    sources[source] = rows.set_column(position, column, pa.array(kept, rows.schema.field(column).type))
    assert compute("ml_iteration_features", sources).num_rows == 12


def test_a_join_that_multiplies_rows_is_refused_and_nothing_is_written(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(installation, [0])
    installation.ingest().run("H2")
    batch = installation.ledger.done_batches_without("H2", "ml_iteration_features")[0]
    twice = installation.lakehouse.arrow("molecules")
    installation.lakehouse.load("molecules").append(twice.cast(schemas.table("molecules").arrow_schema()))
    # What a scan finds, not what the batch's snapshot added: it holds the key twice.
    monkeypatch.setattr(EmbeddedEngine, "_added", lambda engine, source, *_: installation.lakehouse.dataset(source))
    with pytest.raises(FanOutError, match="rebuild H2"):
        installation.ml_features().run("H2")
    assert installation.lakehouse.arrow("ml_iteration_features").num_rows == 0
    assert "ml_iteration_features" not in installation.ledger.batch_commits(batch.batch_id)


def test_a_second_build_adds_nothing(installation: Installation) -> None:
    land(installation, [0, 1])
    installation.ingest().run("H2")
    first = installation.ml_features().run("H2")
    assert first.rows == {"ml_iteration_features": 8, "ml_run_summary": 2}
    snapshots = [installation.lakehouse.load(name).current_snapshot() for name in schemas.ML_NAMES]
    assert installation.ml_features().run("H2").rows == {"ml_iteration_features": 0, "ml_run_summary": 0}
    assert snapshots == [installation.lakehouse.load(name).current_snapshot() for name in schemas.ML_NAMES]


def test_batches_that_were_ingested_meanwhile_are_caught_up(installation: Installation) -> None:
    for number in range(3):
        land(installation, [number])
        installation.ingest().run("H2")
    assert installation.ml_features().run("H2").rows["ml_run_summary"] == 3


def test_each_ml_table_is_completed_independently(installation: Installation) -> None:
    land(installation, [0])
    installation.ingest().run("H2")
    installation.ml_features().run("H2", ["ml_iteration_features"])
    assert installation.lakehouse.arrow("ml_run_summary").num_rows == 0
    installation.ml_features().run("H2")
    assert installation.lakehouse.arrow("ml_run_summary").num_rows == 1


def test_a_batch_of_duplicates_is_done_without_a_snapshot(installation: Installation) -> None:
    land(installation, [0])
    installation.ingest().run("H2")
    installation.ml_features().run("H2")
    land(installation, [0], name="again")
    installation.ingest().run("H2")
    installation.ml_features().run("H2")
    for name in schemas.ML_NAMES:
        assert len(installation.lakehouse.load(name).snapshots()) == 1
        assert installation.ledger.done_batches_without("H2", name) == []
