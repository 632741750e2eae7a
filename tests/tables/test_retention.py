"""Retention: which tags may go, as properties of the choice and as what it leaves of a real table."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe_assets.tables.installation import Installation
from qpipe_assets.tables.maintenance import Retention, expirable, expire_tags
from qpipe_assets.tables.staging import Staging
from tests.tables.protocol import assert_one_tag_per_snapshot, land

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
_ages = st.timedeltas(dt.timedelta(0), dt.timedelta(days=12))
_tags = st.lists(_ages, max_size=40, unique=True).map(
    lambda ages: {f"v_incr_{number}": NOW - age for number, age in enumerate(ages)}
)
_retention = st.builds(Retention, st.integers(1, 8), st.integers(0, 8), st.integers(1, 4))


@given(_tags, _retention)
def test_the_newest_tags_stay(tags: dict[str, dt.datetime], retention: Retention) -> None:
    newest = sorted(tags, key=lambda tag: tags[tag], reverse=True)[: retention.batches]
    assert not set(newest) & set(expirable(tags, retention, NOW))


@given(_tags, _retention)
def test_the_last_tag_of_each_retained_day_stays(tags: dict[str, dt.datetime], retention: Retention) -> None:
    expired = set(expirable(tags, retention, NOW))
    days = {at.date() for at in tags.values() if (NOW.date() - at.date()).days < retention.days}
    for day in days:
        last = max((tag for tag in tags if tags[tag].date() == day), key=lambda tag: tags[tag])
        assert last not in expired


@given(_tags, _retention)
def test_everything_else_goes(tags: dict[str, dt.datetime], retention: Retention) -> None:
    expired = expirable(tags, retention, NOW)
    assert len(set(expired)) == len(expired) and set(expired) <= set(tags)
    assert len(tags) - len(expired) <= retention.batches + retention.days


@given(_tags, _retention)
def test_choosing_again_finds_nothing_more(tags: dict[str, dt.datetime], retention: Retention) -> None:
    expired = set(expirable(tags, retention, NOW))
    assert expirable({tag: at for tag, at in tags.items() if tag not in expired}, retention, NOW) == []


def three_batches(installation: Installation) -> list[str]:
    batches: list[str] = []
    for number in range(3):
        land(installation, [number])
        batches += installation.ingest().run("H2").batches
    return batches


def test_expired_tags_are_gone_and_the_rows_stay(installation: Installation) -> None:
    batches = three_batches(installation)
    removed = expire_tags(installation.lakehouse, installation.ledger, "molecules", Retention(1, 0, 1))
    assert sorted(removed) == sorted([f"v_{batches[0]}", f"v_incr_{batches[1]}"])
    assert len(installation.lakehouse.load("molecules").snapshots()) == 1
    assert installation.lakehouse.arrow("molecules").num_rows == 3
    assert_one_tag_per_snapshot(installation, "molecules")


def test_few_expirable_tags_wait_for_more(installation: Installation) -> None:
    three_batches(installation)
    assert expire_tags(installation.lakehouse, installation.ledger, "molecules", Retention(1, 0, 3)) == []
    assert len(installation.lakehouse.load("molecules").snapshots()) == 3


def test_a_tag_that_the_ledger_does_not_know_never_expires(installation: Installation) -> None:
    three_batches(installation)
    snapshot = installation.lakehouse.load("molecules").snapshots()[0].snapshot_id
    with installation.lakehouse.load("molecules").manage_snapshots() as manage:
        manage.create_tag(snapshot, "paper-2026")
    expire_tags(installation.lakehouse, installation.ledger, "molecules", Retention(1, 0, 1))
    assert installation.lakehouse.arrow("molecules", "paper-2026").num_rows == 1


def test_only_staging_files_that_nobody_needs_are_swept(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    store = installation.store
    three_batches(installation)
    land(installation, [3])
    installation.ingest().run("H2", ["molecules"])
    (needed,) = (info.key for info in store.list_objects("staging/"))
    done = installation.ledger.done_batches_without("H2", "ml_run_summary")[0].batch_id
    for name in (done, "young", "old"):
        store.put(f"staging/{name}.arrow", b"")
    two_days_ago = dt.datetime.now(dt.UTC).timestamp() - 2 * 86_400
    os.utime(installation.settings.raw_results / "staging/old.arrow", (two_days_ago, two_days_ago))
    Staging(store).sweep(installation.ledger)
    assert {info.key for info in store.list_objects("staging/")} == {needed, "staging/young.arrow"}
