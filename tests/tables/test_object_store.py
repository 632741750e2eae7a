"""The folder as an object store: S3's verbs, whole or not at all, and never outside the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe_resources.object_store import (
    FolderObjectStore,
    InvalidKeyError,
    ObjectChangedError,
    ObjectStore,
    validate_key,
)
from tests.tables.object_store_behaviour import ObjectStoreBehaviour

_SEGMENT = st.from_regex(r"[A-Za-z0-9_.+=@-]{1,8}", fullmatch=True)


@pytest.fixture
def store(tmp_path: Path) -> FolderObjectStore:
    return FolderObjectStore(tmp_path / "bucket")


class TestAFolder(ObjectStoreBehaviour):
    @pytest.fixture
    def many(self, store: FolderObjectStore) -> tuple[ObjectStore, list[str]]:
        keys = [f"many/{number % 7}/{number}" for number in range(1100)]
        for key in keys:
            path = store.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        return store, keys


@given(st.lists(_SEGMENT, min_size=1, max_size=4).filter(lambda parts: all(set(part) != {"."} for part in parts)))
def test_plain_keys_are_accepted_as_they_are(segments: list[str]) -> None:
    assert validate_key("/".join(segments)) == "/".join(segments)


@given(st.text(max_size=20))
def test_no_accepted_key_leaves_the_folder(key: str) -> None:
    try:
        validate_key(key)
    except InvalidKeyError as error:
        assert repr(key) in str(error)
        return
    assert os.path.normpath(f"/bucket/{key}") == f"/bucket/{key}"
    assert key.isascii() and key.isprintable() and " " not in key


def test_hidden_files_and_links_to_folders_are_invisible(store: FolderObjectStore, tmp_path: Path) -> None:
    store.put("x/a", b"")
    (store.root / "x/.tmp-1").write_bytes(b"half")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"")
    (store.root / "x/link").symlink_to(tmp_path / "outside")
    (store.root / "x/dangling").symlink_to(tmp_path / "gone")
    os.mkfifo(store.root / "x/pipe")
    assert [info.key for info in store.list_objects("x/")] == ["x/a"]
    assert store.folders("x/") == []


def test_a_failed_put_leaves_nothing_behind(store: FolderObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("x/a", b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        store.put("x/a", b"new")
    assert os.listdir(store.root / "x") == ["a"]
    assert store.get("x/a").data == b"old"


def test_new_folders_are_on_the_disk_before_a_put_returns(
    store: FolderObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    original = os.fsync

    def recording(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    store.put("a/year=2026/month=11/x", b"")
    folders = [path for path in synced if path.is_dir()]
    above = [store.root / "a/year=2026", store.root / "a", store.root, store.root.parent]
    assert folders == [*reversed(above), store.root / "a/year=2026/month=11"]
    synced.clear()
    store.put("a/year=2026/month=11/y", b"")
    assert [path for path in synced if path.is_dir()] == [store.root / "a/year=2026/month=11"]


def test_an_object_that_changes_while_it_is_read_is_refused(
    store: FolderObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a", b"first")
    original = os.fstat
    calls = 0

    def growing(descriptor: int) -> os.stat_result:
        nonlocal calls
        calls += 1
        if calls == 2:
            with open(store.root / "a", "ab") as file:
                file.write(b" and more")
        return original(descriptor)

    monkeypatch.setattr("qpipe_resources.object_store.os.fstat", growing)
    with pytest.raises(ObjectChangedError, match="'a'"):
        store.get("a")
