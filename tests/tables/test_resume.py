"""The ingest protocol disturbed: killed at exact places, overtaken by others, its tags expired, rebuilt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qpipe_assets.tables import schemas
from qpipe_assets.tables.embedded_engine import EmbeddedEngine
from qpipe_assets.tables.ingest import Ingest
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_assets.tables.ledger import Ledger
from qpipe_assets.tables.ledger_tables import TableCommit
from qpipe_assets.tables.staging import StagingLostError, part_key
from qpipe_resources.lakehouse import Lakehouse
from qpipe_resources.object_store import FolderObjectStore
from tests.tables.protocol import (
    assert_at_rest,
    assert_one_tag_per_snapshot,
    content,
    h2,
    land,
    record_bytes,
    settings_in,
    snapshots,
    undisturbed,
)


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


@pytest.mark.parametrize(
    ("owner", "method", "calls"),
    [
        (FolderObjectStore, "put", 1),
        (Ledger, "claim", 1),
        (Lakehouse, "append", 1),
        (Ledger, "record_commits", 1),
        (Lakehouse, "append", 9),
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
    for number in range(8):
        land(installation, [number])
        installation.ingest().run("H2")
        assert len(installation.lakehouse.load("molecules").snapshots()) < 2 + 3
    assert content(installation) == undisturbed(h2(*range(8)))
    assert_at_rest(installation)


def expire_everything_of(installation: Installation, molecule: str) -> None:
    """Let another molecule write until the tags of `molecule` have expired."""
    for number in range(2):
        land(installation, [number], "LiH", name=f"pusher-{molecule}")
        installation.ingest().run("LiH")
        installation.ml_features().run("LiH")


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


def test_an_ml_builder_that_looked_before_a_tag_came_and_expired_does_not_append_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = short_lived(tmp_path)
    land(installation, [0])
    installation.ingest().run("H2")
    original = EmbeddedEngine._added
    slow = True

    def looks_then_sleeps(engine: EmbeddedEngine, *arguments: Any) -> Any:
        nonlocal slow
        if slow:
            slow = False
            installation.ml_features().run("H2")
            expire_everything_of(installation, "H2")
        return original(engine, *arguments)

    monkeypatch.setattr(EmbeddedEngine, "_added", looks_then_sleeps)
    installation.ml_features().run("H2")
    expected = undisturbed(h2(0) | {("LiH", 0), ("LiH", 1)}, ml=True)
    assert content(installation, expected) == expected
    assert_at_rest(installation, ("H2", "LiH"))


def test_a_rebuild_while_an_ml_builder_computes_withdraws_what_it_computed(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(installation, [0])
    installation.ingest().run("H2")
    original = Lakehouse.append
    slow = True

    def sleeps_before_it_writes(lakehouse: Lakehouse, name: str, *arguments: Any) -> Any:
        nonlocal slow
        if slow and name == "ml_iteration_features":
            slow = False
            installation.ingest().run("H2", rebuild=True)
        return original(lakehouse, name, *arguments)

    monkeypatch.setattr(Lakehouse, "append", sleeps_before_it_writes)
    installation.ml_features().run("H2")
    installation.ml_features().run("H2")
    expected = undisturbed(h2(0), ml=True)
    assert content(installation, expected) == expected
    assert_at_rest(installation)


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
        (Lakehouse, "delete_molecule", 11),
        (Ledger, "finish_rebuild", 1),
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
    installation = short_lived(tmp_path)
    land(installation, [0])
    for _ in range(4):
        # A batch that is withdrawn between its commit and the ledger's note of it leaves a tag too.
        undo = killed_after(monkeypatch, Lakehouse, "append", 1)
        with pytest.raises(Killed):
            installation.ingest().run("H2", rebuild=True)
        undo()
    installation.ingest().run("H2", rebuild=True)
    for name in schemas.NORMALIZED_NAMES:
        assert len(installation.lakehouse.load(name).snapshots()) <= 2, name
    assert content(installation) == undisturbed(h2(0))
    assert_at_rest(installation)


def test_the_next_batch_is_decoded_while_rows_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, append = EmbeddedEngine.stage, Lakehouse.append
    staged: list[str] = []
    second = threading.Event()

    def staging(self: EmbeddedEngine, molecule: str, batch_id: str, *rest: Any) -> Any:
        staged.append(batch_id)
        if len(staged) == 2:
            second.set()
        return stage(self, molecule, batch_id, *rest)

    def appending(self: Lakehouse, *arguments: Any, **options: Any) -> Any:
        assert second.wait(30)
        return append(self, *arguments, **options)

    monkeypatch.setattr(EmbeddedEngine, "stage", staging)
    monkeypatch.setattr(Lakehouse, "append", appending)
    installation = open_installation(settings_in(tmp_path, batch_bytes=1))
    land(installation, [0, 1, 2])
    assert installation.ingest().run("H2").batches == staged
    assert content(installation) == undisturbed(h2(0, 1, 2))
    assert_at_rest(installation)


def test_a_batch_that_was_decoded_ahead_and_not_claimed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = open_installation(settings_in(tmp_path, batch_bytes=1))
    land(installation, [0, 1, 2])
    undo = killed_after(monkeypatch, Lakehouse, "append", 1)
    with pytest.raises(Killed):
        installation.ingest().run("H2")
    undo()
    (claimed,) = installation.ledger.open_batches("H2")
    assert [info.key for info in installation.store.list_objects("staging/")] == [part_key(claimed.batch_id, None)]
    installation.ingest().run("H2")
    assert content(installation) == undisturbed(h2(0, 1, 2))
    assert_at_rest(installation)
