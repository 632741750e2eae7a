"""The ingest protocol step by step: what is new lands once, what is not changes nothing, what broke is resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qpipe_assets.tables import schemas
from qpipe_assets.tables.decode import decode
from qpipe_assets.tables.ingest import Ingest, StagingLostError
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_assets.tables.ledger import Ledger, TableCommit
from qpipe_resources.lakehouse import Lakehouse
from qpipe_resources.serialization import to_avro_container
from simulation.record import VQEDecoratedResult
from tests.synthetic import plain_record
from tests.tables.protocol import (
    assert_at_rest,
    assert_one_tag_per_snapshot,
    content,
    land,
    record_bytes,
    settings_in,
    snapshots,
    undisturbed,
)

FOLDER = "experiments/experiment.vqe/"


def h2(*numbers: int) -> frozenset[tuple[str, int]]:
    return frozenset(("H2", number) for number in numbers)


class Killed(BaseException):
    """Stands for SIGKILL at one exact place: nothing catches it."""


def killed_after(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, calls: int) -> Callable[[], None]:
    """Let the method of the class work `calls` times, then die right after it; returns how to undo this."""
    original = getattr(owner, method)
    count = 0

    def dying(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        result = original(*arguments, **options)
        count += 1
        if count == calls:
            raise Killed
        return result

    monkeypatch.setattr(owner, method, dying)
    return lambda: monkeypatch.setattr(owner, method, original)


# What is new lands once


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


# A subset of the tables


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


def test_an_unknown_table_or_molecule_is_refused_before_anything_happens(installation: Installation) -> None:
    with pytest.raises(ValueError, match="vqe_resluts"):
        installation.ingest().run("H2", ["vqe_resluts"])
    for molecule in ("../x", "", "H2/..", "a b", "..", "H2\n"):
        with pytest.raises(ValueError, match="no valid partition key"):
            installation.ingest().run(molecule)


# Kills at exact places


@pytest.mark.parametrize(
    ("owner", "method", "calls"),
    [
        (Ledger, "claim", 1),
        (Lakehouse, "append", 1),
        (Ledger, "record_commits", 1),
        (Lakehouse, "append", 5),
        (Lakehouse, "append", 9),
        (Ledger, "record_commits", 9),
        (Lakehouse, "append", 10),
        (Ledger, "record_commits", 10),
        (Ledger, "finish_batch", 1),
    ],
)
def test_a_kill_right_after_each_step_is_resumed(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, calls: int
) -> None:
    land(installation, [0, 1])
    undo = killed_after(monkeypatch, owner, method, calls)
    with pytest.raises(Killed):
        installation.ingest().run("H2")
    undo()
    land(installation, [1], name="redelivered")
    land(installation, [2])
    installation.ingest().run("H2")
    assert content(installation) == undisturbed(h2(0, 1, 2))
    assert_at_rest(installation)


def test_a_resume_uses_what_was_staged_not_the_object_that_was_overwritten(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(installation, [0])
    undo = killed_after(monkeypatch, Lakehouse, "append", 3)
    with pytest.raises(Killed):
        installation.ingest().run("H2")
    undo()
    key = next(installation.store.list_objects("experiments/")).key
    installation.store.put(key, record_bytes(1))
    installation.ingest().run("H2")
    assert content(installation) == undisturbed(h2(0, 1))
    assert_at_rest(installation)


def test_a_lost_staging_file_is_an_error_that_a_rebuild_heals(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(installation, [0])
    undo = killed_after(monkeypatch, Lakehouse, "append", 2)
    with pytest.raises(Killed):
        installation.ingest().run("H2")
    undo()
    for info in list(installation.store.list_objects("staging/")):
        installation.store.delete(info.key)
    with pytest.raises(StagingLostError, match="rebuild H2"):
        installation.ingest().run("H2")
    installation.ingest().run("H2", rebuild=True)
    assert content(installation) == undisturbed(h2(0))
    assert_at_rest(installation)


# Retention


def short_lived(folder: Path) -> Installation:
    return open_installation(settings_in(folder, retained_batches=1, retained_days=0, expire_every=1))


def test_a_run_after_the_old_tags_have_expired_adds_nothing(tmp_path: Path) -> None:
    installation = short_lived(tmp_path)
    for number in range(4):
        land(installation, [number])
        installation.ingest().run("H2")
        installation.ml_features().run("H2")
    assert len(installation.lakehouse.load("molecules").snapshots()) < 4
    before = snapshots(installation)
    installation.ingest().run("H2")
    installation.ml_features().run("H2")
    assert snapshots(installation) == before
    assert content(installation) == undisturbed(h2(*range(4)))
    assert_at_rest(installation)


def test_a_table_keeps_few_snapshots_however_many_batches_there_were(tmp_path: Path) -> None:
    installation = open_installation(settings_in(tmp_path, retained_batches=2, retained_days=0, expire_every=3))
    for number in range(12):
        land(installation, [number])
        installation.ingest().run("H2")
        assert len(installation.lakehouse.load("molecules").snapshots()) < 2 + 3
    assert content(installation) == undisturbed(h2(*range(12)))
    assert_at_rest(installation)


def expire_everything_of(installation: Installation, molecule: str) -> None:
    """Let other molecules write until the tags of `molecule` have expired."""
    for number in range(2):
        land(installation, [number], "LiH", name=f"pusher-{molecule}")
        installation.ingest().run("LiH")


def test_an_ingester_that_looked_before_a_tag_came_and_expired_does_not_append_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = short_lived(tmp_path)
    land(installation, [0])
    installation.ingest().run("H2", ["vqe_results"])  # leaves the batch open
    original = Ledger.batch_commits
    slow = True

    def looks_then_sleeps(ledger: Ledger, batch_id: str) -> dict[str, TableCommit]:
        nonlocal slow
        seen = original(ledger, batch_id)
        if slow:
            slow = False
            installation.ingest().run("H2", ["molecules", "ansatz_info"])
            expire_everything_of(installation, "H2")
        return seen

    monkeypatch.setattr(Ledger, "batch_commits", looks_then_sleeps)
    installation.ingest().run("H2")
    assert content(installation) == undisturbed(h2(0) | {("LiH", 0), ("LiH", 1)})
    assert_at_rest(installation, ("H2", "LiH"))


def test_a_closer_that_looked_before_the_audit_row_came_and_expired_does_not_append_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = short_lived(tmp_path)
    land(installation, [0])
    undo = killed_after(monkeypatch, Ledger, "record_commits", 9)
    with pytest.raises(Killed):
        installation.ingest().run("H2")
    undo()
    original = Ingest._audit_row
    slow = True

    def looks_then_sleeps(ingest: Ingest, *arguments: Any) -> Any:
        nonlocal slow
        row = original(ingest, *arguments)
        if slow:
            slow = False
            undo = killed_after(monkeypatch, Ledger, "record_commits", 1)
            with pytest.raises(Killed):
                installation.ingest().run("H2")
            undo()
            expire_everything_of(installation, "H2")
        return row

    monkeypatch.setattr(Ingest, "_audit_row", looks_then_sleeps)
    installation.ingest().run("H2")
    assert_at_rest(installation, ("H2", "LiH"))


def test_two_expiries_at_once_do_not_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = open_installation(settings_in(tmp_path, retained_batches=1, retained_days=0, expire_every=100))
    for number in range(5):
        land(installation, [number])
        installation.ingest().run("H2")
    lakehouse = installation.lakehouse
    nested = False

    def choose(tags: dict[str, Any]) -> list[str]:
        nonlocal nested
        newest_first = sorted(tags, key=lambda tag: tags[tag], reverse=True)
        if not nested:
            nested = True
            # Another process, which saw fewer snapshots, removes the older ones meanwhile.
            lakehouse.expire("molecules", lambda _: newest_first[2:])
        return newest_first[1:]

    lakehouse.expire("molecules", choose)
    assert len(lakehouse.load("molecules").snapshots()) == 1
    assert_one_tag_per_snapshot(installation, "molecules")
    assert lakehouse.arrow("molecules").num_rows == 5


# Rebuild


def test_a_rebuild_replaces_the_molecule_s_rows_and_no_others(installation: Installation) -> None:
    land(installation, [0, 1])
    land(installation, [0], "LiH")
    for molecule in ("H2", "LiH"):
        installation.ingest().run(molecule)
        installation.ml_features().run(molecule)
    key = next(installation.store.list_objects("experiments/")).key
    installation.store.delete(key)
    installation.ingest().run("H2", rebuild=True)
    installation.ml_features().run("H2")
    expected = undisturbed(frozenset({("H2", 1), ("LiH", 0)}), ml=True)
    assert content(installation, expected) == expected
    assert_at_rest(installation, ("H2", "LiH"))


@pytest.mark.parametrize(
    ("owner", "method", "calls"),
    [
        (Ledger, "request_rebuild", 1),
        (Lakehouse, "delete_molecule", 1),
        (Lakehouse, "delete_molecule", 7),
        (Lakehouse, "delete_molecule", 11),
        (Ledger, "finish_rebuild", 1),
        (Ledger, "claim", 1),
        (Lakehouse, "append", 4),
    ],
)
def test_a_rebuild_killed_right_after_each_step_is_finished_by_a_plain_run(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, calls: int
) -> None:
    land(installation, [0, 1])
    installation.ingest().run("H2")
    installation.ml_features().run("H2")
    undo = killed_after(monkeypatch, owner, method, calls)
    with pytest.raises(Killed):
        installation.ingest().run("H2", rebuild=True)
    undo()
    installation.ml_features().run("H2")
    installation.ingest().run("H2")
    installation.ml_features().run("H2")
    expected = undisturbed(h2(0, 1), ml=True)
    assert content(installation, expected) == expected
    assert_at_rest(installation)


def test_rebuilding_many_times_does_not_pile_up_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = open_installation(settings_in(tmp_path, retained_batches=2, retained_days=0, expire_every=3))
    land(installation, [0])
    for round_ in range(8):
        if round_ % 2:
            # A batch that is withdrawn between its commit and the ledger's note of it leaves a tag too.
            undo = killed_after(monkeypatch, Lakehouse, "append", 1)
            with pytest.raises(Killed):
                installation.ingest().run("H2", rebuild=True)
            undo()
        installation.ingest().run("H2", rebuild=True)
    for name in schemas.NORMALIZED_NAMES:
        assert len(installation.lakehouse.load(name).snapshots()) <= 2 + 3 + 2, name
    assert content(installation) == undisturbed(h2(0))
    assert_at_rest(installation)


# Broken and hostile objects


def test_broken_objects_are_quarantined_and_all_others_land(installation: Installation) -> None:
    land(installation, [0, 1])
    broken = {
        "empty.json": b"",
        "truncated.json": record_bytes(0)[:-10],
        "text.json": record_bytes(0).replace(b'"molecule_id": 0', b'"molecule_id": "zero"'),
        "unknown.json": record_bytes(0).replace(b'"H"', b'"Qq"'),
        "path.json": record_bytes(0).replace(b'"masses"', b'"name": "../x", "masses"'),
    }
    for name, data in broken.items():
        installation.store.put(f"{FOLDER}molecule=H2/{name}", data)
        installation.store.put(f"{FOLDER}flat-{name}", data)
    report = installation.ingest().run("H2")
    assert report.quarantined == len(broken)
    assert content(installation) == undisturbed(h2(0, 1))
    found = {row["object_key"]: row["error"] for row in installation.ledger.quarantined()}
    assert len(found) == 2 * len(broken) and all(found.values())
    for key in found:
        assert installation.store.get(f"quarantine/{key}").data == installation.store.get(key).data
    assert installation.ingest().run("H2").quarantined == 0
    assert_at_rest(installation)


def test_an_object_that_was_half_copied_heals(installation: Installation) -> None:
    for folder in (f"{FOLDER}molecule=H2/", FOLDER):
        key = f"{folder}copied.json"
        number = len(folder) % 2
        installation.store.put(key, record_bytes(number)[:200])
        installation.ingest().run("H2")
        assert [row["object_key"] for row in installation.ledger.quarantined()] == [key]
        installation.store.put(key, record_bytes(number))
        installation.ingest().run("H2")
        assert installation.ledger.quarantined() == []
    assert_at_rest(installation)


def test_an_object_under_the_wrong_molecule_s_folder_is_quarantined(installation: Installation) -> None:
    installation.store.put(f"{FOLDER}molecule=LiH/x.json", record_bytes(0, "H2"))
    assert installation.ingest().run("LiH").quarantined == 1
    (row,) = installation.ledger.quarantined()
    assert "molecule=LiH" in row["error"] and "H2" in row["error"]


@pytest.mark.parametrize("name", ["molecule=a b", "molecule=..x..", "molecule=", "molecule=" + "x" * 80, "molecule=ü"])
def test_a_folder_whose_name_is_no_partition_key_stops_nothing(installation: Installation, name: str) -> None:
    land(installation, [0])
    folder = installation.settings.raw_results / FOLDER / name
    folder.mkdir()
    (folder / "x.json").write_bytes(record_bytes(1))
    for _ in range(2):
        assert list(installation.discovery.by_molecule()) == ["H2"]
    assert [row["object_key"] for row in installation.ledger.quarantined()] == [f"{FOLDER}{name}/x.json"]
    installation.ingest().run("H2")
    assert content(installation) == undisturbed(h2(0))


@pytest.mark.parametrize("name", [b"a b.json", b"\xff\xfe.json", b"new\nline.json", b"x" * 250, "ü.json".encode()])
def test_a_file_with_an_impossible_name_stops_nothing(installation: Installation, name: bytes) -> None:
    land(installation, [0])
    for folder in (FOLDER, f"{FOLDER}molecule=H2/"):
        path = os.path.join(os.fsencode(installation.settings.raw_results / folder), name)
        with open(path, "wb") as file:
            file.write(record_bytes(0))
    installation.ingest().run("H2")
    installation.discovery.by_molecule()
    assert content(installation) == undisturbed(h2(0))
    assert_at_rest(installation)


def test_a_file_where_a_molecule_s_folder_would_be_stops_nothing(installation: Installation) -> None:
    land(installation, [0], "LiH")
    (installation.settings.raw_results / FOLDER / "molecule=H2").write_bytes(record_bytes(0))
    installation.ingest().run("H2")
    installation.ingest().run("LiH")
    assert content(installation) == undisturbed(h2(0) | {("LiH", 0)})


def test_links_to_folders_are_not_followed(installation: Installation, tmp_path: Path) -> None:
    land(installation, [0])
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.json").write_bytes(record_bytes(1))
    raw = installation.settings.raw_results
    (raw / FOLDER / "linked").symlink_to(outside)
    (raw / FOLDER / "molecule=LiH").symlink_to(outside)
    (raw / FOLDER / "molecule=H2" / "loop").symlink_to(raw / "experiments")
    installation.ingest().run("H2")
    assert installation.ingest().run("LiH").quarantined == 0
    assert content(installation) == undisturbed(h2(0))


@pytest.mark.parametrize("basis", ["6-31g*", "6-311++G(2d,2p)", "a/b", "..", "%2F", "sto 3g", "ü", "#?&="])
def test_any_basis_s_name_can_be_written_and_read_back(installation: Installation, basis: str) -> None:
    record = json.loads(record_bytes(0)) | {"basis_set": basis}
    installation.store.put(f"{FOLDER}x.json", json.dumps(record).encode())
    installation.ingest().run("H2")
    installation.ml_features().run("H2")
    for name in ("vqe_results", "ml_run_summary"):
        assert installation.lakehouse.arrow(name).column("basis_set").to_pylist() == [basis]
    installation.ingest().run("H2", rebuild=True)
    assert installation.lakehouse.arrow("vqe_iterations").num_rows == 4


def test_quarantine_says_what_to_do_about_an_object_that_is_too_large(tmp_path: Path) -> None:
    installation = open_installation(settings_in(tmp_path, max_object_bytes=1024))
    installation.store.put(f"{FOLDER}molecule=H2/x.json", b"x" * 1025)
    installation.ingest().run("H2")
    (row,) = installation.ledger.quarantined()
    assert "1025 bytes" in row["error"] and "QPIPE_MAX_OBJECT_BYTES" in row["error"]
    assert list(installation.store.list_objects("quarantine/")) == []


# Evolution


def test_a_table_made_before_a_column_was_declared_grows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
