"""What every object store does, whatever it is made of: a class of tests for whoever brings the fixture `store`."""

from __future__ import annotations

import datetime as dt
import random
import threading

import pytest

from qpipe_resources.object_store import InvalidKeyError, ObjectMissingError, ObjectStore

REFUSED_KEYS = ["", "/etc/passwd", "../x", "a/../b", "a/./b", "a//b", "a/", "a\n", "a b", "a\\b", "..."]


def listed(store: ObjectStore, prefix: str, *, recursive: bool = True, after: str = "") -> list[str]:
    return [info.key for info in store.list_objects(prefix, recursive=recursive, after=after)]


class ObjectStoreBehaviour:
    """The behaviour; `store` is empty."""

    @pytest.mark.parametrize("key", REFUSED_KEYS)
    def test_every_verb_refuses_a_key_that_could_leave_the_store(self, store: ObjectStore, key: str) -> None:
        store.put("a", b"1")
        for act in (
            lambda: store.get(key),
            lambda: store.size(key),
            lambda: store.put(key, b""),
            lambda: store.delete(key),
            lambda: store.copy("a", key),
            lambda: store.copy(key, "b"),
        ):
            with pytest.raises(InvalidKeyError):
                act()
        assert listed(store, "") == ["a"]

    def test_the_size_of_an_object_is_known_and_that_of_none_is_none(self, store: ObjectStore) -> None:
        store.put("a/b", b"content")
        assert (store.size("a/b"), store.size("a"), store.size("a/c")) == (7, None, None)

    def test_what_is_put_is_got_with_the_same_etag_as_listed(self, store: ObjectStore) -> None:
        before = dt.datetime.now(dt.UTC)
        etag = store.put("a/b=1/LiH+2@x.json", b"content")
        (info,) = store.list_objects("a/")
        stored = store.get("a/b=1/LiH+2@x.json")
        assert (stored.data, stored.etag, info.etag, info.size) == (b"content", etag, etag, 7)
        assert info.key == "a/b=1/LiH+2@x.json"
        assert info.modified.tzinfo == dt.UTC and abs(info.modified - before) < dt.timedelta(minutes=1)

    @pytest.mark.parametrize("size", [0, 1, 3071, 3073, 70_000, 5 * 1024 * 1024])
    def test_content_of_any_size_comes_back_as_it_was(self, store: ObjectStore, size: int) -> None:
        data = random.Random(size).randbytes(size)
        store.put("a", data)
        (info,) = store.list_objects("")
        assert store.get("a").data == data and info.size == size

    def test_another_content_of_the_same_size_has_another_etag(self, store: ObjectStore) -> None:
        first, second = store.put("a", b"one"), store.put("a", b"two")
        assert first != second
        assert (store.get("a").data, store.get("a").etag) == (b"two", second)

    def test_objects_are_listed_in_key_order_with_or_without_what_lies_deeper(self, store: ObjectStore) -> None:
        for key in ("x/b", "x/a/2", "x/a/1", "x/c", "x/a.b", "x/a-b/z", "y/z", "xy/z"):
            store.put(key, b"")
        assert listed(store, "x/") == ["x/a-b/z", "x/a.b", "x/a/1", "x/a/2", "x/b", "x/c"]
        assert listed(store, "x/", recursive=False) == ["x/a.b", "x/b", "x/c"]
        assert store.folders("x/") == ["x/a-b/", "x/a/"]
        assert store.folders("") == ["x/", "xy/", "y/"]
        assert listed(store, "nothing/") == [] and store.folders("nothing/") == []

    @pytest.mark.parametrize("after", ["", "x/", "x/a", "x/a/1", "x/a/9", "x/b", "x/b.", "x/c/1", "w", "y"])
    @pytest.mark.parametrize("recursive", [True, False])
    def test_a_listing_can_begin_after_a_key(self, store: ObjectStore, after: str, recursive: bool) -> None:
        for key in ("x/a/1", "x/a/2", "x/b", "x/b.c", "x/c/1", "x/d"):
            store.put(key, b"")
        whole = listed(store, "x/", recursive=recursive)
        assert listed(store, "x/", recursive=recursive, after=after) == [key for key in whole if key > after]

    def test_hidden_names_are_invisible(self, store: ObjectStore) -> None:
        for key in ("x/a", "x/.tmp-1", "x/.hidden/b", "x/c/.d", ".x/e"):
            store.put(key, b"")
        assert listed(store, "") == ["x/a"]
        assert listed(store, "x/", recursive=False) == ["x/a"]
        assert store.folders("") == ["x/"] and ".hidden" not in "".join(store.folders("x/"))

    def test_more_objects_than_a_page_holds_are_all_listed(self, many: tuple[ObjectStore, list[str]]) -> None:
        store, keys = many
        assert listed(store, "many/") == sorted(keys)
        assert listed(store, "many/", after=sorted(keys)[1001]) == sorted(keys)[1002:]

    def test_a_missing_object_is_named(self, store: ObjectStore) -> None:
        for act in (lambda: store.get("a/b"), lambda: store.copy("a/b", "c")):
            with pytest.raises(ObjectMissingError, match="a/b"):
                act()
        store.delete("a/b")
        assert listed(store, "") == []

    def test_a_deleted_object_is_gone(self, store: ObjectStore) -> None:
        store.put("a/b", b"1")
        store.delete("a/b")
        assert listed(store, "") == []
        with pytest.raises(ObjectMissingError):
            store.get("a/b")

    def test_a_copy_is_the_same_content(self, store: ObjectStore) -> None:
        store.put("a=1/HeH+", b"content")
        store.copy("a=1/HeH+", "q/a=1/HeH+")
        assert store.get("q/a=1/HeH+").data == store.get("a=1/HeH+").data == b"content"

    def test_a_reader_sees_the_old_or_the_new_content_with_its_own_etag(self, store: ObjectStore) -> None:
        contents = [bytes([number]) * 200_000 for number in range(2)]
        etags = {store.put("a", content): content for content in contents}
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                etag = store.put("a", contents[number % 2])
                etags[etag] = contents[number % 2]

        writer = threading.Thread(target=write)
        writer.start()
        try:
            seen = [store.get("a") for _ in range(100)]
        finally:
            stop.set()
            writer.join()
        assert all(etags[stored.etag] == stored.data for stored in seen)
