"""Compaction: the same rows in fewer files, only where no batch writes any more, beside whoever writes."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe_assets.tables import compaction, schemas
from qpipe_assets.tables.compaction import FILE_BYTES, FILE_ROWS, ClosedDays, compact, planned
from qpipe_assets.tables.installation import Installation
from qpipe_resources.stored_files import needed_files, stored_files
from tests.noon import NOON, TOMORROW
from tests.tables.protocol import assert_at_rest, content, h2, land, undisturbed

pytestmark = pytest.mark.usefixtures("at_noon")

EVERY_TABLE = (*schemas.NORMALIZED_NAMES, *schemas.ML_NAMES)


def ingest(installation: Installation, *numbers: int, molecule: str = "H2") -> str:
    """Land and ingest these records as one batch; its id."""
    land(installation, numbers, molecule)
    (batch,) = installation.ingest().run(molecule).batches
    return batch


def compact_all(installation: Installation) -> None:
    for table in schemas.ALL:
        compact(installation.lakehouse, installation.ledger, table.name, TOMORROW)


def data_files(installation: Installation, name: str) -> list[str]:
    return [task.file.file_path for task in installation.lakehouse.load(name).scan().plan_files()]


def assert_no_file_is_left_over(installation: Installation, name: str) -> None:
    """Of the data files; metadata of commits that were lost stays until it is old."""
    table = installation.lakehouse.load(name)
    stored = {file.path for file in stored_files(installation.lakehouse, table) if file.path.endswith(".parquet")}
    assert stored <= needed_files(table).content


def interrupt(installation: Installation, monkeypatch: pytest.MonkeyPatch, between: Any) -> list[None]:
    """Do `between` right before the next commit reaches the catalog: its base is stale then."""
    catalog, done = installation.lakehouse.catalog, []
    original = catalog.commit_table

    def commit_table(*arguments: Any) -> Any:
        if not done:
            done.append(None)
            between()
        return original(*arguments)

    monkeypatch.setattr(catalog, "commit_table", commit_table)
    return done


def test_small_files_of_a_closed_day_become_one_and_the_rows_stay(installation: Installation) -> None:
    for number in range(4):
        ingest(installation, number)
    installation.ml_features().run("H2")
    compact_all(installation)
    assert {name: len(data_files(installation, name)) for name in schemas.names(schemas.ALL)} == dict.fromkeys(
        schemas.names(schemas.ALL), 1
    )
    assert content(installation, EVERY_TABLE) == undisturbed(h2(*range(4)), ml=True)
    assert_at_rest(installation)


def test_the_commit_says_that_it_changed_no_row(installation: Installation) -> None:
    for number in range(3):
        ingest(installation, number)
    before = installation.lakehouse.load("vqe_iterations").current_snapshot()
    done = compact(installation.lakehouse, installation.ledger, "vqe_iterations", TOMORROW)
    snapshot = installation.lakehouse.load("vqe_iterations").current_snapshot()
    assert before and before.summary and snapshot and snapshot.summary
    assert snapshot.summary.operation.value == "replace"
    assert snapshot.summary["total-records"] == before.summary["total-records"]
    assert (done.files_before, done.files_after) == (3, 1) == (3, int(snapshot.summary["total-data-files"]))
    assert done.bytes_before == int(before.summary["total-files-size"])
    assert done.bytes_after == int(snapshot.summary["total-files-size"]) < done.bytes_before


def test_every_tag_of_before_still_means_the_same_rows(installation: Installation) -> None:
    tags = ["v_" + ingest(installation, 0), *("v_incr_" + ingest(installation, number) for number in (1, 2))]
    before = [installation.lakehouse.arrow("vqe_results", tag).sort_by("experiment_id") for tag in tags]
    compact_all(installation)
    after = [installation.lakehouse.arrow("vqe_results", tag).sort_by("experiment_id") for tag in tags]
    assert [rows.num_rows for rows in after] == [1, 2, 3]
    assert after == before


def test_compacting_again_does_nothing(installation: Installation) -> None:
    for number in range(3):
        ingest(installation, number)
    compact_all(installation)
    location = installation.lakehouse.load("molecules").metadata_location
    assert compact(installation.lakehouse, installation.ledger, "molecules", TOMORROW).files_before == 0
    assert installation.lakehouse.load("molecules").metadata_location == location


def test_what_is_planned_is_what_is_done(installation: Installation) -> None:
    for number in range(3):
        ingest(installation, number)
    plan = planned(installation.lakehouse, installation.ledger, "molecules", TOMORROW)
    assert len(data_files(installation, "molecules")) == 3
    done = compact(installation.lakehouse, installation.ledger, "molecules", TOMORROW)
    assert (plan.files_before, plan.files_after) == (done.files_before, done.files_after)


def test_a_day_that_is_not_over_is_left_alone(installation: Installation) -> None:
    for number in range(3):
        ingest(installation, number)
    just_after_midnight = NOON + dt.timedelta(hours=12, minutes=30)
    assert compact(installation.lakehouse, installation.ledger, "molecules", just_after_midnight).files_before == 0
    assert len(data_files(installation, "molecules")) == 3


def test_the_day_of_an_open_batch_is_left_alone_until_it_is_done(installation: Installation) -> None:
    ingest(installation, 0)
    ingest(installation, 1)
    land(installation, [2])
    installation.ingest().run("H2", ["molecules"])
    assert installation.ledger.open_batches("H2")
    compact_all(installation)
    assert len(data_files(installation, "molecules")) == 3
    assert len(data_files(installation, "vqe_results")) == 2
    installation.ingest().run("H2")
    compact_all(installation)
    assert len(data_files(installation, "molecules")) == 1
    assert content(installation) == undisturbed(h2(0, 1, 2))


def test_an_ml_table_waits_for_the_batches_that_it_lacks(installation: Installation) -> None:
    ingest(installation, 0)
    ingest(installation, 1)
    installation.ml_features().run("H2")
    ingest(installation, 2)
    compact_all(installation)
    assert len(data_files(installation, "vqe_results")) == 1
    assert len(data_files(installation, "ml_run_summary")) == 2


def test_ml_rows_of_batches_that_were_compacted_meanwhile_are_right(installation: Installation) -> None:
    for number in range(3):
        ingest(installation, number)
    compact_all(installation)
    installation.ml_features().run("H2")
    assert content(installation, EVERY_TABLE) == undisturbed(h2(*range(3)), ml=True)


def test_ml_rows_are_right_when_the_snapshots_of_before_have_expired_too(installation: Installation) -> None:
    for number in range(3):
        ingest(installation, number)
    compact_all(installation)
    for name in schemas.NORMALIZED_NAMES:
        installation.lakehouse.expire(name, lambda tags: [tag for tag in tags if not tag.startswith("v_compaction_")])
        assert len(installation.lakehouse.load(name).snapshots()) == 1
    installation.ml_features().run("H2")
    assert content(installation, EVERY_TABLE) == undisturbed(h2(*range(3)), ml=True)


def test_an_append_that_comes_between_is_not_lost(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        ingest(installation, number)
    done = interrupt(installation, monkeypatch, lambda: ingest(installation, 3))
    compact(installation.lakehouse, installation.ledger, "vqe_iterations", TOMORROW)
    assert done
    assert content(installation) == undisturbed(h2(*range(4)))
    assert len(data_files(installation, "vqe_iterations")) == 1
    assert_no_file_is_left_over(installation, "vqe_iterations")


def test_a_rebuild_that_comes_between_wins_and_leaves_nothing_behind(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        ingest(installation, number)
    interrupt(installation, monkeypatch, lambda: installation.ingest().run("H2", rebuild=True))
    assert compact(installation.lakehouse, installation.ledger, "vqe_iterations", TOMORROW).files_before == 0
    assert content(installation) == undisturbed(h2(*range(3)))
    assert_no_file_is_left_over(installation, "vqe_iterations")


def test_two_compactions_at_once_do_it_once(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        ingest(installation, number)
    interrupt(
        installation,
        monkeypatch,
        lambda: compact(installation.lakehouse, installation.ledger, "vqe_iterations", TOMORROW),
    )
    assert compact(installation.lakehouse, installation.ledger, "vqe_iterations", TOMORROW).files_before == 0
    assert content(installation) == undisturbed(h2(*range(3)))
    assert len(installation.lakehouse.load("vqe_iterations").snapshots()) == 4
    assert_no_file_is_left_over(installation, "vqe_iterations")


def test_rows_of_a_molecule_lie_together_in_the_file(installation: Installation) -> None:
    for number, molecule in enumerate(["LiH", "H2", "LiH", "H2"]):
        ingest(installation, number, molecule=molecule)
    compact_all(installation)
    assert installation.lakehouse.arrow("vqe_results").column("molecule").to_pylist() == ["H2", "H2", "LiH", "LiH"]


def test_a_partition_of_many_rows_becomes_several_files(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        ingest(installation, number)
    rows = installation.lakehouse.arrow("vqe_iterations").num_rows // 5
    monkeypatch.setattr(compaction, "FILE_ROWS", 2 * rows)
    monkeypatch.setattr(compaction, "_COMMIT_GROUPS", 1)
    compact(installation.lakehouse, installation.ledger, "vqe_iterations", TOMORROW)
    assert len(data_files(installation, "vqe_iterations")) == 3
    assert content(installation) == undisturbed(h2(*range(5)))


_sizes = st.lists(st.tuples(st.integers(1, 2 * FILE_BYTES), st.integers(1, 2 * FILE_ROWS)), max_size=30)


@given(_sizes)
def test_packing_takes_every_file_once_and_makes_no_file_too_large(sizes: list[tuple[int, int]]) -> None:
    tasks = [
        SimpleNamespace(file=SimpleNamespace(file_size_in_bytes=size, record_count=rows, file_path=str(number)))
        for number, (size, rows) in enumerate(sizes)
    ]
    groups = list(compaction._packed(cast(Any, tasks)))
    assert sorted(t.file.file_path for group in groups for t in group) == sorted(t.file.file_path for t in tasks)
    for group in groups:
        if len(group) > 1:
            assert sum(t.file.file_size_in_bytes for t in group) <= FILE_BYTES
            assert sum(t.file.record_count for t in group) <= FILE_ROWS


def test_a_span_of_days_is_closed_when_each_of_its_days_is() -> None:
    closed = ClosedDays(dt.date(2026, 11, 21), frozenset({dt.date(2026, 11, 18)}))
    assert closed.hold(dt.date(2026, 11, 19), dt.date(2026, 11, 20))
    assert not closed.hold(dt.date(2026, 11, 17), dt.date(2026, 11, 20))
    assert not closed.hold(dt.date(2026, 11, 20), dt.date(2026, 11, 21))
