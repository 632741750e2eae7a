"""The object store: its endpoint and key, its buckets, and what lies in them that nobody can use."""

from __future__ import annotations

import datetime as dt
import itertools
import time
import urllib.error
import urllib.request
import uuid
from email.utils import parsedate_to_datetime

from boto3.session import Session

from qpipe_resources.health.checks import ANSWER_SECONDS, Finding, failed, fine, reason, warning
from qpipe_resources.object_layout import DEAD_LETTERS
from qpipe_resources.object_store import FolderObjectStore, ObjectStore
from qpipe_resources.s3_store import S3ObjectStore
from qpipe_resources.settings import Settings

PROBES = "doctor/"
"""Folder of the objects by which a bucket is tried; each is deleted again."""
REFUSED_SKEW = dt.timedelta(minutes=15)
"""Difference of clocks from which S3 refuses signatures."""
TOLERATED_SKEW = dt.timedelta(minutes=1)
COUNTED = 1000
"""Objects after which counting stops."""


def check_endpoint(settings: Settings) -> Finding:
    """Whether the S3 endpoint answers, whether its clock is ours, and whether there is a key for it."""
    endpoint = settings.s3_endpoint
    try:
        with urllib.request.urlopen(endpoint, timeout=ANSWER_SECONDS) as response:
            date = response.headers.get("Date")
    except urllib.error.HTTPError as refusal:  # a request without a signature is refused, which is an answer
        date = refusal.headers.get("Date")
    except OSError as error:
        return failed(
            f"{endpoint}: {reason(error)}",
            "start the object store (Garage: make services), or correct QPIPE_S3_ENDPOINT",
        )
    skew = abs(dt.datetime.now(dt.UTC) - parsedate_to_datetime(date)) if date else dt.timedelta()
    seen = f"{endpoint}, clocks {skew.total_seconds():.0f} s apart" if date else f"{endpoint}, which tells no time"
    if skew > REFUSED_SKEW:
        return failed(seen, "set this machine's clock or the store's (NTP): S3 refuses signatures that are so far off")
    credentials = Session().get_credentials()
    if credentials is None:
        return failed(f"{seen}, no key", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    seen = f"{seen}, key by {credentials.method}"
    return warning(seen, "set the clocks (NTP)") if skew > TOLERATED_SKEW else fine(seen)


def check_bucket(settings: Settings, bucket: str) -> Finding:
    """Whether an object can be put into the bucket, listed, read and deleted again."""
    if settings.env == "local" and not settings.raw_results.exists():
        return fine(f"{settings.raw_results}; made at first use")
    store, where = _open(settings, bucket)
    key = f"{PROBES}{uuid.uuid4().hex}"
    began = time.perf_counter()
    seen = _try_out(store, key)
    if seen:
        return failed(f"{where}: {seen}", "use a store with strong consistency; look at its log")
    return fine(f"{where}, put, list, get and delete in {(time.perf_counter() - began) * 1000:.0f} ms")


def _try_out(store: ObjectStore, key: str) -> str:
    """What is wrong with the store's answers; empty where nothing is."""
    content = key.encode()
    store.put(key, content)
    try:
        if key not in {info.key for info in store.list_objects(PROBES)}:
            return "an object that was put is not listed"
        if store.get(key).data != content:
            return "an object that was put reads otherwise"
    finally:
        store.delete(key)
    listed = {info.key for info in store.list_objects(PROBES)}
    return "an object that was deleted is still listed" if key in listed else ""


def _open(settings: Settings, bucket: str) -> tuple[ObjectStore, str]:
    """The bucket as a store that answers soon or not at all, and its name for people."""
    if settings.env == "local":
        return FolderObjectStore(settings.raw_results), str(settings.raw_results)
    store = S3ObjectStore(settings.s3_endpoint, settings.s3_region, bucket, patience=ANSWER_SECONDS)
    return store, f"{store.endpoint}/{bucket}"


def check_dead_letters(settings: Settings) -> Finding:
    """Whether messages were put aside that are no records."""
    store, where = _open(settings, settings.s3_raw_bucket)
    letters = (info for info in store.list_objects(DEAD_LETTERS) if not info.key.endswith(".json"))
    number = sum(1 for _ in itertools.islice(letters, COUNTED))
    if not number:
        return fine("none")
    seen = f"{number}{' or more' if number == COUNTED else ''} below {where}/{DEAD_LETTERS}"
    return warning(
        seen,
        "read the reason in the .json beside each; what can be decoded by now lands with: qpipe sink "
        "--retry-dead-letters; put the producer of the rest right, and delete both files",
    )
