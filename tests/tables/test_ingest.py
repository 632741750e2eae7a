"""The ingest protocol undisturbed: what is new lands once, in batches, and what is not new changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpipe_assets.tables import schemas
from qpipe_assets.tables.decode import decode
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.serialization import to_avro_container
from simulation.record import VQEDecoratedResult
from tests.synthetic import plain_record
from tests.tables.protocol import (
    assert_at_rest,
    content,
    h2,
    land,
    record_bytes,
    settings_in,
    snapshots,
    undisturbed,
)

FOLDER = "experiments/experiment.vqe/"


def test_a_second_ingest_adds_no_row_and_no_snapshot(installation: Installation) -> None:
    land(installation, range(3))
    installation.ingest().run("H2")
    before, rows = snapshots(installation), content(installation)
    report = installation.ingest().run("H2")
    assert set(report.rows.values()) == {0} and report.batches == []
    assert (snapshots(installation), content(installation)) == (before, rows)
    assert_at_rest(installation)


def test_a_batch_of_duplicates_makes_one_audit_row_and_nothing_else(installation: Installation) -> None:
    land(installation, [0, 1])
    installation.ingest().run("H2")
    before, rows = snapshots(installation), content(installation)
    land(installation, [0, 1], name="redelivered")
    report = installation.ingest().run("H2")
    after = snapshots(installation)
    assert report.duplicates == 2
    assert content(installation) == rows
    assert len(after.pop("processing_metadata")) == len(before.pop("processing_metadata")) + 1
    assert after == before
    audit = installation.lakehouse.arrow("processing_metadata").to_pylist()
    assert [row["record_counts"] for row in audit if set(row["table_versions"]) == {"no_changes"}] == [[0] * 9]
    assert len(audit) == 2
    assert_at_rest(installation)


def test_a_record_redelivered_under_another_name_is_a_duplicate(installation: Installation) -> None:
    land(installation, [0])
    land(installation, [0], name="same-pass")
    report = installation.ingest().run("H2")
    assert report.duplicates == 1 and report.warnings == []
    assert content(installation) == undisturbed(h2(0))


def test_the_same_record_as_json_and_as_avro_is_one_experiment(installation: Installation) -> None:
    land(installation, [0])
    record = VQEDecoratedResult.model_validate_json(record_bytes(0))
    installation.store.put(f"{FOLDER}partition=0/experiment.vqe+0+0000000000.avro", to_avro_container([record]))
    assert installation.ingest().run("H2").duplicates == 1
    assert content(installation) == undisturbed(h2(0))


def test_another_content_for_the_same_experiment_warns_and_the_first_stays(installation: Installation) -> None:
    identity = "ab" * 32
    for name, minimum in (("a", -1.0), ("b", -2.0)):
        record = plain_record() | {"experiment_id": identity}
        record["vqe_result"]["minimum"] = minimum
        installation.store.put(f"{FOLDER}molecule=H2/{name}.json", json.dumps(record).encode())
    report = installation.ingest().run("H2")
    assert len(report.warnings) == 1 and identity in report.warnings[0] and "molecule=H2/b.json" in report.warnings[0]
    assert installation.lakehouse.arrow("vqe_results").column("minimum_energy").to_pylist() == [-1.0]


def test_every_layout_of_an_external_writer_becomes_rows_without_configuration(installation: Installation) -> None:
    store = installation.store
    store.put(f"{FOLDER}7-1763683200000000000.json", record_bytes(0))
    store.put(f"{FOLDER}year=2026/month=11/day=21/x.json", record_bytes(1))
    store.put("experiments/vqe_decorated_result_v1/partition=3/vqe_decorated_result_v1+3+42.avro", avro(2, 3))
    store.put(f"{FOLDER}molecule=H2/year=2026/y.json", record_bytes(4))
    store.put("experiments/topicless.json", record_bytes(5))
    store.put(f"{FOLDER}8-1763683200000000001.json", record_bytes(0, "LiH"))
    installation.ingest().run("H2")
    assert content(installation) == undisturbed(h2(*range(6)))
    installation.ingest().run("LiH")
    assert content(installation) == undisturbed(h2(*range(6)) | {("LiH", 0)})
    assert_at_rest(installation, ("H2", "LiH"))


def avro(*numbers: int) -> bytes:
    return to_avro_container(VQEDecoratedResult.model_validate_json(record_bytes(number)) for number in numbers)


def test_records_without_the_later_fields_become_complete_rows(installation: Installation) -> None:
    record = plain_record()
    for step in record["vqe_result"]["iteration_list"]:
        for later in ("energy_delta", "parameter_delta_norm", "cumulative_min_energy"):
            del step[later]
    installation.store.put(f"{FOLDER}1-2.json", json.dumps(record).encode())
    installation.ingest().run("H2")
    rows = installation.lakehouse.arrow("vqe_iterations").sort_by("iteration_step").to_pylist()
    assert [row["cumulative_min_energy"] for row in rows] == sorted(
        (row["cumulative_min_energy"] for row in rows), reverse=True
    )
    assert [row["energy_delta"] is None for row in rows] == [True] + [False] * 11


def test_batches_are_bounded_in_bytes(tmp_path: Path) -> None:
    size = len(record_bytes(0))
    installation = open_installation(settings_in(tmp_path, batch_bytes=2 * size + size // 2))
    land(installation, range(5))
    assert len(installation.ingest().run("H2").batches) == 3
    assert content(installation) == undisturbed(h2(*range(5)))


def test_a_tag_carries_the_batch_and_says_which_was_first(installation: Installation) -> None:
    batches = []
    for number in range(2):
        land(installation, [number])
        batches += installation.ingest().run("H2").batches
    for name in (*schemas.NORMALIZED_NAMES, "processing_metadata"):
        assert set(installation.lakehouse.load(name).refs()) == {"main", f"v_{batches[0]}", f"v_incr_{batches[1]}"}
    assert installation.lakehouse.arrow("molecules", f"v_{batches[0]}").num_rows == 1
    assert installation.lakehouse.arrow("molecules", batches[1]).num_rows == 2


def test_a_subset_a_redelivery_and_a_full_run_end_as_one_full_run(installation: Installation) -> None:
    land(installation, [0, 1])
    installation.ingest().run("H2", ["molecules", "vqe_results", "hamiltonian_terms"])
    assert installation.lakehouse.arrow("vqe_iterations").num_rows == 0
    assert len(installation.ledger.open_batches("H2")) == 1
    land(installation, [0], name="redelivered")
    installation.ingest().run("H2", ["molecules"])
    installation.ingest().run("H2")
    assert content(installation) == undisturbed(h2(0, 1))
    assert_at_rest(installation)


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%20b"])
def test_a_home_that_would_mean_another_file_in_a_uri_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="expected a path without"):
        settings_in(tmp_path / name)


def test_a_home_with_spaces_and_accents_works(tmp_path: Path) -> None:
    installation = open_installation(settings_in(tmp_path / "mes données"))
    land(installation, [0])
    installation.ingest().run("H2")
    assert content(installation) == undisturbed(h2(0))


def test_an_unknown_table_or_molecule_is_refused_before_anything_happens(installation: Installation) -> None:
    with pytest.raises(ValueError, match="vqe_resluts"):
        installation.ingest().run("H2", ["vqe_resluts"])
    for molecule in ("../x", "", "H2/..", "a b", "..", "H2\n"):
        with pytest.raises(ValueError, match="no valid partition key"):
            installation.ingest().run(molecule)


def test_a_table_made_before_a_column_was_declared_grows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = schemas.table("vqe_iterations")
    older = type(declared)(
        declared.name,
        declared.comment,
        declared.key,
        declared.partition,
        tuple(c for c in declared.columns if c.name not in ("gradient_norm", "energy_variance")),
    )
    settings = settings_in(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(schemas, "ALL", tuple(older if t is declared else t for t in schemas.ALL))
        patched.setattr(schemas, "NORMALIZED", tuple(older if t is declared else t for t in schemas.NORMALIZED))
        installation = open_installation(settings)
        land(installation, [0])
        installation.ingest().run("H2")
    installation = open_installation(settings)
    land(installation, [1])
    installation.ingest().run("H2")
    assert installation.lakehouse.load("vqe_iterations").schema().find_field("gradient_norm").doc
    assert content(installation) == undisturbed(h2(0, 1))
    assert_at_rest(installation)


def test_ids_in_the_tables_are_those_of_the_records(installation: Installation) -> None:
    land(installation, [3])
    installation.ingest().run("H2")
    identity = decode(record_bytes(3))[0].experiment_id
    assert installation.lakehouse.arrow("vqe_results").column("experiment_id").to_pylist() == [identity]
    assert installation.ledger.experiment(identity) is not None


def test_every_record_of_an_object_knows_the_object_that_it_came_from(installation: Installation) -> None:
    documents = [json.dumps(plain_record(number)).encode() for number in range(3)]
    installation.store.put("experiments/experiment.vqe/molecule=H2/together.json", b"\n".join(documents))
    installation.ingest().run("H2")
    identities = installation.lakehouse.arrow("vqe_results").column("experiment_id").to_pylist()
    assert len(identities) == 3
    for identity in identities:
        [version] = installation.ledger.object_versions(identity)
        assert version["object_key"].endswith("together.json") and version["status"] == "ingested"
