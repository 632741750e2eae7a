"""Orphans: exactly the old files that no retained version needs, found without being touched, or removed."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation
from qpipe_assets.tables.orphans import LostFilesError, sweep_orphans
from qpipe_resources.stored_files import path_of
from tests.tables.protocol import assert_at_rest, content, h2, land, undisturbed

AGE = dt.timedelta(days=3)


def three_batches(installation: Installation) -> None:
    for number in range(3):
        land(installation, [number])
        installation.ingest().run("H2")


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def folder(installation: Installation, name: str = "molecules") -> Path:
    return Path("/" + path_of(installation.lakehouse.load(name).location()))


def plant(installation: Installation, path: str, *, days: float) -> Path:
    """A file under the table's location that was written days ago."""
    file = folder(installation) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"12345")
    written = (now() - dt.timedelta(days=days)).timestamp()
    os.utime(file, (written, written))
    return file


def test_only_old_files_that_no_version_needs_are_removed(installation: Installation) -> None:
    three_batches(installation)
    old = [
        plant(installation, path, days=4)
        for path in ("data/processing_date=2026-01-01/a.parquet", "metadata/b.avro", "metadata/c.metadata.json")
    ]
    kept = [
        plant(installation, "data/young.parquet", days=2.9),
        plant(installation, "metadata/version-hint.text", days=400),
        plant(installation, "README", days=400),
    ]
    sweep = sweep_orphans(installation.lakehouse, installation.ledger, "molecules", now() - AGE)
    assert (len(sweep.orphans), sweep.orphan_bytes) == (3, 15)
    assert [file.exists() for file in old] == [False] * 3
    assert [file.exists() for file in kept] == [True] * 3
    assert content(installation) == undisturbed(h2(0, 1, 2))


def test_a_dry_run_tells_the_same_and_removes_nothing(installation: Installation) -> None:
    three_batches(installation)
    old = plant(installation, "data/a.parquet", days=4)
    stored = [file for file in folder(installation).rglob("*") if file.is_file()]
    found = sweep_orphans(installation.lakehouse, installation.ledger, "molecules", now() - AGE, dry_run=True)
    assert old.exists()
    assert found.files == len(stored) and found.bytes == sum(file.stat().st_size for file in stored)
    assert sweep_orphans(installation.lakehouse, installation.ledger, "molecules", now() - AGE) == found


def test_the_files_of_every_retained_version_stay_however_old_they_are(installation: Installation) -> None:
    three_batches(installation)
    installation.ml_features().run("H2")
    later = now() + dt.timedelta(days=400)
    installation.maintenance().run(now=later)
    for table in schemas.ALL:
        sweep_orphans(installation.lakehouse, installation.ledger, table.name, later)
        loaded = installation.lakehouse.load(table.name)
        tags = [name for name in loaded.refs() if name != "main"]
        assert len(tags) > 1
        for tag in tags:
            assert installation.lakehouse.arrow(table.name, tag).num_rows > 0
    assert_at_rest(installation)


@pytest.mark.usefixtures("at_noon")
def test_what_compaction_and_expiry_have_put_out_of_use_goes(installation: Installation) -> None:
    three_batches(installation)
    later = now() + dt.timedelta(days=400)
    for name in schemas.names(schemas.ALL):
        installation.maintenance().run([name], now=later)
        installation.lakehouse.expire(name, lambda tags: [tag for tag in tags if not tag.startswith("v_compaction_")])
        sweep_orphans(installation.lakehouse, installation.ledger, name, later)
    assert len(list(folder(installation).rglob("*.parquet"))) == 1
    assert content(installation) == undisturbed(h2(0, 1, 2))


def test_nothing_goes_that_is_younger_than_an_open_batch(installation: Installation) -> None:
    three_batches(installation)
    land(installation, [3])
    installation.ingest().run("H2", ["vqe_results"])
    stranger = plant(installation, "data/a.parquet", days=-0.01)
    before = plant(installation, "data/b.parquet", days=1)
    sweep_orphans(installation.lakehouse, installation.ledger, "molecules", now() + dt.timedelta(days=9))
    assert stranger.exists() and not before.exists()
    installation.ingest().run("H2")
    sweep_orphans(installation.lakehouse, installation.ledger, "molecules", now() + dt.timedelta(days=9))
    assert not stranger.exists()
    assert content(installation) == undisturbed(h2(*range(4)))


def test_a_file_that_is_committed_while_the_sweep_looks_stays(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qpipe_resources import stored_files

    three_batches(installation)
    original = stored_files.stored_files

    def commit_in_between(*arguments: object) -> object:
        land(installation, [3])
        installation.ingest().run("H2")
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stored_files, "stored_files", commit_in_between)
    sweep_orphans(installation.lakehouse, installation.ledger, "molecules", now() + dt.timedelta(days=9))
    assert content(installation) == undisturbed(h2(*range(4)))


def test_where_a_needed_file_is_not_found_nothing_is_removed(installation: Installation) -> None:
    three_batches(installation)
    old = plant(installation, "data/a.parquet", days=4)
    needed = sorted(folder(installation).rglob("00000-*.parquet"))[0]
    needed.rename(needed.with_suffix(".away"))
    with pytest.raises(LostFilesError, match=rf"table molecules: 1 files .*{needed.name}\); no orphan was removed; "):
        sweep_orphans(installation.lakehouse, installation.ledger, "molecules", now() - AGE)
    assert old.exists()


@pytest.mark.parametrize(
    "location",
    ["file:///w/t/data/x=a%20b/f.parquet", "file:/w/t/data/x=a%20b/f.parquet", "/w/t/data/x=a%20b/f.parquet"],
)
def test_engines_name_the_same_file_in_several_ways(location: str) -> None:
    assert path_of(location) == "w/t/data/x=a%20b/f.parquet"


def test_schemes_of_buckets_do_not_matter() -> None:
    assert path_of("s3a://features/warehouse/f") == path_of("s3://features/warehouse/f") == "features/warehouse/f"
