"""A bucket of Garage as an object store: what every store does, and what it says when it cannot."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from qpipe_resources.object_store import ObjectMissingError, ObjectStore, StoreRefusedError
from qpipe_resources.s3_bucket import S3Bucket
from qpipe_resources.s3_store import S3ObjectStore
from qpipe_resources.settings import load_settings
from tests.integration.conftest import Sandbox
from tests.tables.object_store_behaviour import ObjectStoreBehaviour, listed

MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def _client() -> None:
    """boto3's import is no part of the first test's time."""
    import boto3

    assert boto3


@pytest.fixture
def store(sandbox: Sandbox, _client: None) -> S3ObjectStore:
    settings = load_settings()
    return S3ObjectStore(settings.s3_endpoint, settings.s3_region, sandbox.raw_bucket)


class TestABucket(ObjectStoreBehaviour):
    @pytest.fixture
    def many(self, store: S3ObjectStore) -> tuple[ObjectStore, list[str]]:
        keys = [f"many/{number % 7}/{number}" for number in range(1100)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda key: store.put(key, b""), keys))
        return store, keys


def test_an_object_of_128_mebibytes_is_put_and_got_whole(store: S3ObjectStore) -> None:
    data = bytes(range(256)) * (128 * MEBIBYTE // 256)
    store.put("large", data)
    assert store.get("large").data == data


def test_markers_of_empty_folders_and_what_other_tools_write_do_no_harm(sandbox: Sandbox, store: S3ObjectStore) -> None:
    for key in ("x/", "x/a b.json", "x//c", "x/d", "x/é"):
        sandbox.s3().put_object(Bucket=sandbox.raw_bucket, Key=key, Body=b"")
    assert listed(store, "x/") == ["x//c", "x/a b.json", "x/d", "x/é"]


def test_a_bucket_that_is_missing_is_named_by_every_verb(store: S3ObjectStore) -> None:
    settings = load_settings()
    missing = S3ObjectStore(settings.s3_endpoint, settings.s3_region, "qpipe-no-such-bucket")
    for act in (
        lambda: missing.get("a"),
        lambda: missing.put("a", b""),
        lambda: missing.copy("a", "b"),
        lambda: missing.delete("a"),
        lambda: list(missing.list_objects("")),
        lambda: missing.folders(""),
    ):
        began = time.monotonic()
        with pytest.raises(StoreRefusedError, match=r"no bucket 'qpipe-no-such-bucket' .*; create it"):
            act()
        assert time.monotonic() - began < 5


def test_a_wrong_secret_is_refused_and_not_shown(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, store: S3ObjectStore
) -> None:
    store.put("a", b"")  # connects with the right one
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "0" * 64)
    settings = load_settings()
    wrong = S3ObjectStore(settings.s3_endpoint, settings.s3_region, sandbox.raw_bucket)
    with pytest.raises(StoreRefusedError, match=r"refuses the key .*; mend AWS_ACCESS_KEY_ID") as caught:
        wrong.put("a", b"")
    assert "0" * 64 not in str(caught.value)
    store.delete("a")


def test_a_key_given_as_the_secret_and_the_secret_as_the_key_shows_neither(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    import traceback

    key, secret = sandbox.environment["AWS_ACCESS_KEY_ID"], sandbox.environment["AWS_SECRET_ACCESS_KEY"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", secret)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key)
    settings = load_settings()
    with pytest.raises(StoreRefusedError) as caught:
        S3ObjectStore(settings.s3_endpoint, settings.s3_region, sandbox.raw_bucket).get("a")
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_any_key_of_a_bucket_can_be_sized_and_deleted(sandbox: Sandbox) -> None:
    settings = load_settings()
    bucket = S3Bucket(settings.s3_endpoint, settings.s3_region, sandbox.features_bucket)
    bucket.put("warehouse/molecule=HeH%2B/f 1.parquet", b"12345")
    assert bucket.size("warehouse/molecule=HeH%2B/f 1.parquet") == 5
    bucket.delete("warehouse/molecule=HeH%2B/f 1.parquet")
    assert bucket.size("warehouse/molecule=HeH%2B/f 1.parquet") is None
    with pytest.raises(ObjectMissingError):
        bucket.get("warehouse/molecule=HeH%2B/f 1.parquet")
