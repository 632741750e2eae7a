"""A bucket as an object store: S3's own verbs, with the keys that every store takes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from qpipe_resources.object_store import ObjectInfo, StoredObject, validate_key
from qpipe_resources.s3_bucket import PATIENCE, SOURCE_ACCESS, S3Access, S3Bucket, unquoted


class S3ObjectStore:
    """The objects of one bucket. Their etags are the store's own; safe to share among threads.

    Args:
        endpoint: URL of the S3 API; the key comes from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or whatever else
            the AWS client finds.
        region: Region that requests are signed for.
        bucket: Name of the bucket, which must exist.
        patience: Seconds for which a store that does not answer is asked again.
        access: Another key, and the names of its settings.
    """

    def __init__(
        self, endpoint: str, region: str, bucket: str, patience: float = PATIENCE, access: S3Access = SOURCE_ACCESS
    ) -> None:
        self._bucket = S3Bucket(endpoint, region, bucket, patience, access)
        self.endpoint = self._bucket.endpoint

    def list_objects(self, prefix: str, *, recursive: bool = True, after: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore; one request for each 1000 keys."""
        for page in self._pages(prefix, "" if recursive else "/", after):
            for entry in page.get("Contents", ()):
                key = entry["Key"]
                # A key that ends with '/' is what some tools write to show an empty folder.
                if not key.endswith("/") and _visible(key, prefix):
                    modified = entry["LastModified"].astimezone(dt.UTC)
                    yield ObjectInfo(key, unquoted(entry["ETag"]), entry["Size"], modified)

    def folders(self, prefix: str) -> list[str]:
        """See ObjectStore."""
        found = (entry["Prefix"] for page in self._pages(prefix, "/", "") for entry in page.get("CommonPrefixes", ()))
        return [folder for folder in found if _visible(folder, prefix)]

    def _pages(self, prefix: str, delimiter: str, after: str) -> Iterator[dict[str, Any]]:
        asked = {"Prefix": prefix, "Delimiter": delimiter, "StartAfter": after}
        while True:
            page = self._page({name: value for name, value in asked.items() if value})
            yield page
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _page(self, asked: dict[str, str]) -> dict[str, Any]:
        return self._bucket.ask(lambda: self._bucket.client.list_objects_v2(Bucket=self._bucket.name, **asked))

    def get(self, key: str) -> StoredObject:
        """See ObjectStore."""
        return self._bucket.get(validate_key(key))

    def size(self, key: str) -> int | None:
        """See ObjectStore."""
        return self._bucket.size(validate_key(key))

    def put(self, key: str, data: bytes) -> str:
        """See ObjectStore: there is the whole object or none."""
        return self._bucket.put(validate_key(key), data)

    def copy(self, source: str, target: str) -> None:
        """See ObjectStore: the store copies."""
        name = self._bucket.name
        origin = {"Bucket": name, "Key": validate_key(source)}
        validate_key(target)
        self._bucket.ask(lambda: self._bucket.client.copy_object(Bucket=name, Key=target, CopySource=origin), source)

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        self._bucket.delete(validate_key(key))


def _visible(key: str, prefix: str) -> bool:
    return not any(part.startswith(".") for part in key.removeprefix(prefix).split("/"))
