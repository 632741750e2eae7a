"""What Dagster loads: light, complete, with the catalogue's partitions, and generated from the tables' declaration."""

from __future__ import annotations

import datetime as dt
import json
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.test_utils import freeze_time
from dagster._daemon.monitoring.concurrency import execute_concurrency_slots_iteration

from jobs.definitions import ASSETS, build_defs, defs
from qpipe_assets.partitions import MOLECULE_PARTITIONS, add_molecule_file
from qpipe_assets.tables import schemas
from qpipe_resources.settings import SettingsError
from simulation.molecules import MoleculeError, catalogue

PROJECT = Path(__file__).resolve().parents[2]
HEAVY = ["pyscf", "qiskit", "qiskit_aer", "pyspark", "pyiceberg", "numba", "matplotlib", "duckdb", "pandas", "pyarrow"]


@pytest.fixture(scope="module")
def graph() -> dg.AssetGraph:
    return build_defs().resolve_asset_graph()


def test_loading_the_definitions_imports_nothing_heavy() -> None:
    program = f"""
import json, sys
from jobs.definitions import build_defs
build_defs().get_repository_def().get_all_jobs()
print(json.dumps([name for name in {HEAVY} if name in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=PROJECT, check=True, timeout=120
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_dagster_validates_the_workspace_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", str(PROJECT / "workspace.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Validation successful for code location qpipe" in done.stderr + done.stdout


def test_the_instance_file_is_one_that_dagster_accepts(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled


def test_the_catalogues_molecules_are_partitions_once_the_definitions_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    defs()
    with dg.DagsterInstance.get() as instance:
        assert set(instance.get_dynamic_partitions(MOLECULE_PARTITIONS)) == set(catalogue())


def test_the_molecules_of_a_file_become_partitions(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([{"symbols": ["O", "O"], "coords": [[0, 0, 0], [0, 0, 1.2]], "multiplicity": 3}]))
    with dg.instance_for_test() as instance:
        assert add_molecule_file(instance, path) == ["O2_m3"]
        assert add_molecule_file(instance, path) == []
        assert instance.get_dynamic_partitions(MOLECULE_PARTITIONS) == ["O2_m3"]
        path.write_text("{}")
        with pytest.raises(MoleculeError, match="expected an array"):
            add_molecule_file(instance, path)


def test_an_unknown_environment_is_refused_with_those_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPIPE_ENV", "prodction")
    with pytest.raises(SettingsError, match="'prodction': Input should be 'local', 's3' or 'services'"):
        build_defs()


def test_every_table_is_an_asset_with_its_declared_columns_keys_and_lineage(graph: dg.AssetGraph) -> None:
    for table in schemas.ALL:
        node = graph.get(dg.AssetKey(table.name))
        assert {key.path[-1] for key in node.parent_keys} == set(table.sources)
        assert node.kinds == {"iceberg"}
        columns = node.metadata["dagster/column_schema"].columns
        assert [(c.name, c.type, c.description) for c in columns] == [
            (c.name, c.type, c.described) for c in table.columns
        ]


def test_the_nine_normalized_tables_form_one_group(graph: dg.AssetGraph) -> None:
    group = {key.path[-1] for key in graph.get_all_asset_keys() if graph.get(key).group_name == "normalized"}
    assert group == set(schemas.NORMALIZED_NAMES)


def test_column_lineage_names_only_columns_that_exist(graph: dg.AssetGraph) -> None:
    lineage = graph.get(dg.AssetKey("ml_iteration_features")).metadata["dagster/column_lineage"]
    assert {dep.asset_key.path[-1] for dep in lineage.deps_by_column["optimizer"]} == {"vqe_results"}
    for deps in lineage.deps_by_column.values():
        for dep in deps:
            assert dep.column_name in schemas.table(dep.asset_key.path[-1]).column_names


@pytest.mark.parametrize(
    ("job", "first", "last", "count"),
    [
        ("quantum_feature_processing", "raw_vqe_objects", "processing_metadata", 11),
        ("quantum_ml_feature_processing", "ml_iteration_features", "ml_run_summary", 2),
        ("molecule_processing", "raw_vqe_objects", "ml_run_summary", 13),
        ("vqe_experiment", "vqe_runs", "ml_run_summary", 14),
        ("vqe_batch_generation", "vqe_runs", "ml_run_summary", 14),
    ],
)
def test_a_job_runs_what_its_name_says(job: str, first: str, last: str, count: int) -> None:
    definition = build_defs().resolve_job_def(job)
    keys = {key.path[-1] for key in definition.asset_layer.selected_asset_keys}
    assert {first, last} <= keys
    assert len(keys) == count
    assert definition.partitions_def is not None


MINUTE = 60.0


def test_only_what_depends_on_storage_is_retried_after_waits_that_double_up_to_an_hour() -> None:
    waits = {
        asset.op.name: asset.op.retry_policy
        and [asset.op.retry_policy.calculate_delay(n + 1) / MINUTE for n in range(asset.op.retry_policy.max_retries)]
        for asset in ASSETS
    }
    assert waits.pop("vqe_runs") is None
    assert waits.pop("ml_tables") == [15, 30]
    assert waits.pop("r2_export") == [10]
    assert set(map(tuple, waits.values())) == {(20, 40, 60)}


def test_runs_that_write_tables_may_work_for_two_hours_and_one_besides_their_waits_and_go_first() -> None:
    definitions = build_defs()
    hours = {
        name: float(definitions.resolve_job_def(name).tags["dagster/max_runtime"]) / 3600
        for name in ("quantum_feature_processing", "quantum_ml_feature_processing", "molecule_processing")
    }
    assert hours == {
        "quantum_feature_processing": 2 + 2,
        "quantum_ml_feature_processing": 1 + 0.75,
        "molecule_processing": 2 + 2 + 1 + 0.75,
    }
    assert int(definitions.resolve_job_def("molecule_processing").tags["dagster/priority"]) > 0
    assert definitions.resolve_sensor_def("automation").run_tags["dagster/max_runtime"] == str(round(1.75 * 3600))


def test_a_slot_of_a_run_that_has_ended_is_freed(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = instance.add_run(dg.DagsterRun(job_name="vqe_experiment"))
        instance.event_log_storage.set_concurrency_slots("simulation", 1)
        assert instance.event_log_storage.claim_concurrency_slot("simulation", run.run_id, "vqe_runs").is_claimed
        instance.report_run_failed(run, "its machine was switched off")
        context = SimpleNamespace(instance=instance)
        with freeze_time(dt.datetime.now(dt.UTC) + dt.timedelta(minutes=2)):
            list(execute_concurrency_slots_iteration(context, logging.getLogger()))  # type: ignore[arg-type]
        assert instance.event_log_storage.get_concurrency_info("simulation").active_slot_count == 0
