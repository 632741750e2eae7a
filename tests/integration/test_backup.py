"""Backup and restore on Garage and PostgreSQL, by pg_dump and pg_restore: every row is there again, once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from qpipe_assets.backup.restore import restore_objects, restore_tables
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.catalog_copy import CatalogCopyError
from qpipe_resources.settings import load_settings
from tests.backup.losses import assert_fits_after_many_commits, back_up, expected, ingest, rows, silent, worked_on
from tests.daemon import BIN
from tests.integration.conftest import Sandbox
from tests.tables.protocol import assert_at_rest


@pytest.fixture
def installation(sandbox: Sandbox) -> Installation:
    return open_installation()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def lose_the_catalog(installation: Installation) -> None:
    """The database is empty, as after a new installation."""
    installation.lakehouse.engine.dispose()
    engine = sa.create_engine(load_settings().catalog_uri.get_secret_value())
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()


def empty(sandbox: Sandbox, bucket: str) -> None:
    s3 = sandbox.s3()
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        if keys := [{"Key": entry["Key"]} for entry in page.get("Contents", ())]:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})


def test_an_older_dump_and_newer_buckets_end_with_every_row_once(installation: Installation, folder: Path) -> None:
    worked_on(installation, folder)
    lose_the_catalog(installation)
    assert restore_tables(load_settings(), folder, silent) == []
    again = open_installation()
    assert len(again.lakehouse.arrow("vqe_results")) == 2, "the tables are as they were at the backup"
    ingest(again)
    assert rows(again) == expected()
    assert_at_rest(again, ("H2", "LiH"))


def test_a_dump_fits_though_its_tables_have_moved_on_by_many_commits(installation: Installation, folder: Path) -> None:
    assert_fits_after_many_commits(installation, folder, lambda: lose_the_catalog(installation))


def test_without_a_catalog_all_rows_are_made_again_from_the_bucket(installation: Installation, folder: Path) -> None:
    worked_on(installation, folder)
    lose_the_catalog(installation)
    again = open_installation()
    ingest(again)
    assert rows(again) == expected()
    assert_at_rest(again, ("H2", "LiH"))


def test_everything_lost_comes_back_from_the_folder(installation: Installation, sandbox: Sandbox, folder: Path) -> None:
    worked_on(installation, folder)
    back_up(installation, folder)
    lose_the_catalog(installation)
    for bucket in (sandbox.raw_bucket, sandbox.features_bucket):
        empty(sandbox, bucket)
    fresh = open_installation()
    assert restore_objects(load_settings(), fresh.store, folder, silent)[1].new == 4
    ingest(fresh)
    assert rows(fresh) == expected()


def test_a_database_that_is_not_empty_is_never_overwritten(installation: Installation, folder: Path) -> None:
    worked_on(installation, folder)
    with pytest.raises(CatalogCopyError, match=r"the database has the tables .*qpipe_batches.* nothing is overwritten"):
        restore_tables(load_settings(), folder, silent)
    assert rows(installation) == expected()


def test_the_commands_of_the_documentation_do_the_same(
    installation: Installation, sandbox: Sandbox, folder: Path
) -> None:
    worked_on(installation, folder)

    def run(*command: str) -> str:
        done = subprocess.run(command, env=sandbox.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        password = sandbox.environment["PGPASSWORD"]
        assert password not in done.stdout + done.stderr
        return done.stdout

    parts = json.loads(run(str(BIN / "qpipe"), "backup", str(folder), "--format", "json"))
    assert [(part["part"], part["new"]) for part in parts[:3]] == [
        ("catalog and ledger", 1),
        ("outbox", 0),
        ("raw objects", 2),
    ]
    lose_the_catalog(installation)
    # What the dump holds is PostgreSQL's own format, for whoever has no qpipe at hand.
    uri = sa.make_url(sandbox.environment["QPIPE_CATALOG_URI"]).set(drivername="postgresql").render_as_string()
    run("pg_restore", "--no-owner", "--single-transaction", f"--dbname={uri}", str(folder / "catalog.dump"))
    assert rows(open_installation()) == expected()
    lose_the_catalog(installation)
    run(str(BIN / "qpipe"), "restore", str(folder), "--catalog")
    assert rows(open_installation()) == expected()
