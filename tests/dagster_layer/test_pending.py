"""What is pending, and what asking for it costs: between full listings only two days of a bucket are listed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest

from jobs import pending
from jobs.pending import pending_work, recently_pending_work
from qpipe_assets.tables.installation import Installation
from qpipe_resources.object_store import FolderObjectStore, ObjectInfo
from tests.tables.protocol import record_bytes


class CountingStore(FolderObjectStore):
    """A folder in the place of a bucket that counts what is listed."""

    listings = 0
    listed = 0

    def list_objects(self, prefix: str, *, recursive: bool = True, after: str = "") -> Iterator[ObjectInfo]:
        self.listings += 1
        for info in super().list_objects(prefix, recursive=recursive, after=after):
            self.listed += 1
            yield info


@pytest.fixture
def store(installation: Installation) -> CountingStore:
    return CountingStore(installation.store.root)  # type: ignore[attr-defined]


@pytest.fixture
def bucket(installation: Installation, store: CountingStore) -> Installation:
    """An installation that takes its store for a bucket."""
    return Installation(installation.settings.model_copy(update={"env": "s3"}), store, installation.lakehouse)


def day(ago: int) -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(days=ago)).strftime("year=%Y/month=%m/day=%d")


def found(works: list[pending.PendingWork]) -> dict[str, int]:
    return {work.molecule: work.new_objects for work in works}


def test_after_the_first_time_only_the_last_two_days_of_a_bucket_are_listed(
    bucket: Installation, store: CountingStore
) -> None:
    for ago in range(2, 40):
        store.put(f"experiments/t/molecule=H2/{day(ago)}/{ago}.json", record_bytes(ago))
    assert found(recently_pending_work(bucket)) == {"H2": 38}
    store.put(f"experiments/t/molecule=H2/{day(0)}/0.json", record_bytes(0))
    store.put(f"experiments/t/molecule=LiH/{day(1)}/1.json", record_bytes(1, "LiH"))
    store.listed = store.listings = 0
    assert found(recently_pending_work(bucket)) == {"H2": 39, "LiH": 1}, "what was new at the full listing still is"
    assert store.listed == 2 and store.listings == 4
    bucket.ingest().run("H2")
    assert found(recently_pending_work(bucket)) == {"H2": 0, "LiH": 1}, "only the ML tables lack something of H2"


def test_an_object_that_comes_late_is_seen_at_the_next_full_listing(
    bucket: Installation, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recently_pending_work(bucket) == []
    store.put(f"experiments/t/molecule=H2/{day(5)}/late.json", record_bytes(0))
    assert recently_pending_work(bucket) == []
    assert found(pending_work(bucket)) == {"H2": 1}, "the daily schedule's question"
    monkeypatch.setattr(pending, "WHOLE_EVERY", 0.0)
    assert found(recently_pending_work(bucket)) == {"H2": 1}


def test_layouts_without_a_molecule_are_bounded_by_day_and_those_without_a_day_are_listed_whole(
    bucket: Installation, store: CountingStore
) -> None:
    assert recently_pending_work(bucket) == []
    old, new = day(9), day(0)
    for number, key in enumerate(
        [f"{old}/hour=01/a.json", f"{new}/hour=01/b.json", "partition=0/t+0+1.json", "7-1732200000000000000.json"]
    ):
        store.put(f"experiments/t/{key}", record_bytes(number))
    assert found(recently_pending_work(bucket)) == {"H2": 3}
    assert found(pending_work(bucket)) == {"H2": 4}


def test_a_folder_on_this_machine_is_always_listed_whole(installation: Installation) -> None:
    assert recently_pending_work(installation) == []
    installation.store.put(f"experiments/t/molecule=H2/{day(400)}/late.json", record_bytes(0))
    assert found(recently_pending_work(installation)) == {"H2": 1}


def test_what_is_unfinished_is_pending_although_nothing_recent_came(bucket: Installation, store: CountingStore) -> None:
    store.put(f"experiments/t/molecule=H2/{day(5)}/a.json", record_bytes(0))
    recently_pending_work(bucket)
    bucket.ingest().run("H2", ["molecules"])
    (work,) = recently_pending_work(bucket)
    assert (work.new_objects, work.unfinished) == (0, 1)


def test_a_quarantined_object_is_looked_for_in_its_own_folder_only(bucket: Installation, store: CountingStore) -> None:
    for ago in range(20):
        store.put(f"experiments/t/molecule=H2/{day(ago)}/{ago}.json", record_bytes(ago) if ago else b"no record")
    bucket.ingest().run("H2")
    store.listed = 0
    (entry,) = bucket.discovery.quarantined()
    assert entry["object_key"] == f"experiments/t/molecule=H2/{day(0)}/0.json"
    assert store.listed == 1
