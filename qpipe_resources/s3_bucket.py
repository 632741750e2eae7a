"""A bucket of Garage, or of any other S3: requests by any key, tried again while the store may come back.

The retries are ours, not botocore's: bounded by time instead of attempts, so that a restart of the store passes
unnoticed and a dead one is an error after PATIENCE seconds, and around the reading of a body too.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from qpipe_resources.object_store import ObjectMissingError, StoredObject, StoreRefusedError, StoreUnavailableError

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from pydantic import SecretStr

PATIENCE = 20.0
"""Seconds for which a store that does not answer is asked again."""
CONNECT_TIMEOUT = 5
READ_TIMEOUT = 10
"""Seconds without a byte; Garage answers a put of 128 MiB a second after its last."""
CONNECTIONS = 32

_LONGEST_PAUSE = 2.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_BUSY = ("SlowDown", "RequestTimeout", "ThrottlingException", "TooManyRequests")

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class S3Access:
    """The key to sign with, and what the settings are called that an error names.

    Attributes:
        key_id: Of the key; whatever the AWS client finds where it is empty.
        secret: Of the key.
        keys: Settings of the key.
        endpoint: Setting of the endpoint.
        region: Setting of the region.
        buckets: Settings that name a bucket.
    """

    key_id: str = ""
    secret: SecretStr | None = None
    keys: str = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    endpoint: str = "QPIPE_S3_ENDPOINT"
    region: str = "QPIPE_S3_REGION"
    buckets: str = "QPIPE_S3_RAW_BUCKET or QPIPE_S3_FEATURES_BUCKET"

    @property
    def session(self) -> dict[str, str]:
        """Arguments of boto3's session."""
        if not self.key_id or self.secret is None:
            return {}
        return {"aws_access_key_id": self.key_id, "aws_secret_access_key": self.secret.get_secret_value()}


SOURCE_ACCESS = S3Access()
"""The installation's own store."""


class S3Bucket:
    """One bucket, addressed by path; safe to share among threads.

    Args:
        endpoint: URL of the S3 API; the key comes from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or whatever else
            the AWS client finds.
        region: Region that requests are signed for.
        name: Name of the bucket, which must exist.
        patience: Seconds for which a store that does not answer is asked again.
        access: Another key, and the names of its settings.
    """

    def __init__(
        self, endpoint: str, region: str, name: str, patience: float = PATIENCE, access: S3Access = SOURCE_ACCESS
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.region = region
        self.name = name
        self._patience = patience
        self._access = access

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which connects itself."""
        return {name: value for name, value in vars(self).items() if name != "client"}

    @cached_property
    def client(self) -> BaseClient:
        """boto3's client, for use inside `ask`."""
        from boto3.session import Session
        from botocore.config import Config

        config = Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=CONNECTIONS,
            s3={"addressing_style": "path"},
            # Not every S3 knows the checksums that botocore sends by default. The signature covers the content.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        client = Session(**self._access.session).client(
            "s3", endpoint_url=self.endpoint, region_name=self.region, config=config
        )
        if urlsplit(self.endpoint).hostname in _LOOPBACK:
            # Garage leaves Nagle's algorithm on: between 3 KiB and a loopback packet (64 KiB) a body waits 40 ms for
            # the kernel to acknowledge its header, except on a fresh connection, which costs a tenth of a millisecond.
            client.meta.events.register("before-send.s3.GetObject", _ask_for_a_fresh_connection)
        return client

    def get(self, key: str) -> StoredObject:
        """One object: content and etag come from one answer, so nothing can change in between.

        Raises:
            ObjectMissingError: there is none.
        """

        def read() -> StoredObject:
            answer = self.client.get_object(Bucket=self.name, Key=key)
            # `with` the body itself would give the raw stream, whose errors are urllib3's.
            with closing(answer["Body"]) as body:
                return StoredObject(body.read(), unquoted(answer["ETag"]))

        return self.ask(read, key)

    def put(self, key: str, data: bytes) -> str:
        """Write one object whole, in one request (S3 takes up to 5 GiB so); returns its etag."""
        answer = self.ask(lambda: self.client.put_object(Bucket=self.name, Key=key, Body=data), key)
        return unquoted(answer["ETag"])

    def size(self, key: str) -> int | None:
        """Bytes of an object, None when there is none."""
        try:
            return self.ask(lambda: self.client.head_object(Bucket=self.name, Key=key), key)["ContentLength"]
        except ObjectMissingError:
            return None

    def delete(self, key: str) -> None:
        """Remove one object; a missing one is no error."""
        self.ask(lambda: self.client.delete_object(Bucket=self.name, Key=key), key)

    def ask(self, request: Callable[[], _Answer], key: str = "") -> _Answer:
        """The answer to a request that may be repeated: until it comes, or the patience is over."""
        from botocore.exceptions import BotoCoreError, ClientError

        deadline = time.monotonic() + self._patience
        for attempt in itertools.count():
            try:
                return request()
            except (BotoCoreError, ClientError) as error:
                failure = self._failure(error, key)
            # Not chained: what a store says of a refused key can repeat what was given as the key.
            if not isinstance(failure, StoreUnavailableError):
                raise failure from None
            pause = random.uniform(0.5, 1) * min(0.1 * 2**attempt, _LONGEST_PAUSE)
            if time.monotonic() + pause > deadline:
                raise failure from None
            time.sleep(pause)
        raise AssertionError("the attempts never end")

    def _failure(self, error: Exception, key: str) -> Exception:
        """The error of ours that says what happened and what to do."""
        from botocore import exceptions

        no_key = (
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.CredentialRetrievalError,
            exceptions.ProfileNotFound,
        )
        no_answer = (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.IncompleteReadError)
        where = f"bucket {self.name!r} of the object store at {self.endpoint}"
        if isinstance(error, exceptions.ClientError):
            return self._answered(error.response, where, key)
        if isinstance(error, no_key):
            return StoreRefusedError(f"{where}: no key to sign with ({type(error).__name__}); set {self._access.keys}")
        if isinstance(error, exceptions.SSLError):
            return StoreRefusedError(
                f"{where}: its TLS certificate is not accepted; name its authority in AWS_CA_BUNDLE, or mend the "
                f"scheme of {self._access.endpoint}"
            )
        if isinstance(error, no_answer):
            return StoreUnavailableError(
                f"{where} does not answer ({type(error).__name__}); start it, or mend {self._access.endpoint}"
            )
        return error

    def _answered(self, response: dict[str, Any], where: str, key: str) -> Exception:
        code = response.get("Error", {}).get("Code", "unknown")
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "NoSuchKey" or (code == "404" and key):  # a head has no body that could say more
            return ObjectMissingError(f"no object {key!r} in {where}")
        if code == "NoSuchBucket":
            return StoreRefusedError(
                f"there is no {where}; create it and allow the key to read and write it, or name another one in "
                f"{self._access.buckets}"
            )
        if status >= 500 or status == 429 or code in _BUSY:
            return StoreUnavailableError(
                f"{where} fails with {status} {code}; look at its log and whether its disk is full"
            )
        if status in (401, 403):
            return StoreRefusedError(
                f"{where} refuses the key ({status} {code}); mend {self._access.keys}, or "
                "allow that key to read and write the bucket"
            )
        return StoreRefusedError(
            f"{where} refuses the request ({status} {code}); mend {self._access.endpoint} and {self._access.region} "
            f"(now {self.region!r}), and this machine's clock"
        )


def unquoted(etag: str) -> str:
    """An etag without the quotes that HTTP puts around it."""
    return etag.strip('"')


def _ask_for_a_fresh_connection(request: Any, **_: Any) -> None:
    request.headers["Connection"] = "close"
