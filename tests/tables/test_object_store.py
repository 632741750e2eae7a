"""The folder as an object store: S3's verbs, whole or not at all, and never outside the folder."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe_resources.object_store import (
    FolderObjectStore,
    InvalidKeyError,
    ObjectChangedError,
    ObjectMissingError,
    validate_key,
)

_SEGMENT = st.from_regex(r"[A-Za-z0-9_.+=@-]{1,8}", fullmatch=True)


@pytest.fixture
def store(tmp_path: Path) -> FolderObjectStore:
    return FolderObjectStore(tmp_path / "bucket")


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


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x", "a/../b", "a/./b", "a//b", "a/", "a\n", "a b", "a\\b", "..."]
)
def test_every_verb_refuses_a_key_that_could_leave_the_folder(store: FolderObjectStore, key: str) -> None:
    store.put("a", b"1")
    for act in (
        lambda: store.get(key),
        lambda: store.put(key, b""),
        lambda: store.delete(key),
        lambda: store.copy("a", key),
        lambda: store.copy(key, "b"),
    ):
        with pytest.raises(InvalidKeyError):
            act()


def test_what_is_put_is_got_with_the_same_etag_as_listed(store: FolderObjectStore) -> None:
    etag = store.put("a/b.json", b"content")
    (info,) = store.list_objects("a/")
    stored = store.get("a/b.json")
    assert (stored.data, stored.etag, info.etag, info.key, info.size) == (b"content", etag, etag, "a/b.json", 7)


def test_another_content_of_the_same_size_has_another_etag(store: FolderObjectStore) -> None:
    assert store.put("a", b"one") != store.put("a", b"two")


def test_objects_are_listed_in_key_order_with_or_without_what_lies_deeper(store: FolderObjectStore) -> None:
    for key in ("x/b", "x/a/2", "x/a/1", "x/c", "y/z"):
        store.put(key, b"")
    assert [info.key for info in store.list_objects("x/")] == ["x/a/1", "x/a/2", "x/b", "x/c"]
    assert [info.key for info in store.list_objects("x/", recursive=False)] == ["x/b", "x/c"]
    assert store.folders("x/") == ["x/a/"] and store.folders("") == ["x/", "y/"]
    assert list(store.list_objects("nothing/")) == [] and store.folders("nothing/") == []


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


def test_a_missing_object_is_named(store: FolderObjectStore) -> None:
    for act in (lambda: store.get("a/b"), lambda: store.copy("a/b", "c")):
        with pytest.raises(ObjectMissingError, match="a/b"):
            act()
    store.delete("a/b")
    assert list(store.list_objects("")) == []


def test_a_failed_put_leaves_nothing_behind(store: FolderObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("x/a", b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        store.put("x/a", b"new")
    assert os.listdir(store.root / "x") == ["a"]
    assert store.get("x/a").data == b"old"


def test_a_reader_sees_the_old_or_the_new_content_and_never_a_mixture(store: FolderObjectStore) -> None:
    contents = [bytes([number]) * 200_000 for number in range(2)]
    store.put("a", contents[0])
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            store.put("a", contents[number % 2])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [store.get("a").data for _ in range(200)]
    finally:
        stop.set()
        writer.join()
    assert set(seen) <= set(contents)


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


def test_a_copy_is_the_same_content(store: FolderObjectStore) -> None:
    store.put("a", b"content")
    store.copy("a", "q/a")
    assert store.get("q/a").data == b"content"
