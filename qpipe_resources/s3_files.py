"""The tables' files in a bucket: for pyiceberg whole, one request a file; for queries in ranges, through Arrow.

pyiceberg's own FileIO asks twice for each file it reads and four times for each it writes, and a dead store or a
refused key surfaces as whatever Arrow's SDK says. An append writes four small files and reads as many.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream

from qpipe_resources.locations import without_scheme
from qpipe_resources.object_store import ObjectMissingError
from qpipe_resources.s3_bucket import CONNECT_TIMEOUT, READ_TIMEOUT, S3Bucket

if TYPE_CHECKING:
    from pyarrow.fs import S3FileSystem

_ENDPOINT, _REGION = "s3.endpoint", "s3.region"
_ATTEMPTS = 8
"""Of Arrow's SDK: a store that is away for about ten seconds is waited for."""


@dataclass(frozen=True)
class S3Files:
    """Where the files of a lakehouse are served from."""

    endpoint: str
    region: str

    @property
    def properties(self) -> dict[str, str]:
        """What makes pyiceberg use S3FileIO."""
        return {"py-io-impl": f"{__name__}.S3FileIO", _ENDPOINT: self.endpoint, _REGION: self.region}

    @property
    def arrow(self) -> S3FileSystem:
        """The same files for Arrow, by `bucket/key`."""
        return _arrow(self.endpoint, self.region)


class S3FileIO(FileIO):
    """pyiceberg's access to `s3://bucket/key`; connections are shared by all tables of the process."""

    def new_input(self, location: str) -> S3File:
        """See FileIO."""
        return self._file(location)

    def new_output(self, location: str) -> S3File:
        """See FileIO."""
        return self._file(location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """See FileIO; a missing file is no error."""
        self._file(location if isinstance(location, str) else location.location).delete()

    def _file(self, location: str) -> S3File:
        bucket, _, key = without_scheme(location).partition("/")
        return S3File(location, _bucket(self.properties[_ENDPOINT], self.properties[_REGION], bucket), key)


class S3File(InputFile, OutputFile):
    """One file, read and written whole."""

    def __init__(self, location: str, bucket: S3Bucket, key: str) -> None:
        super().__init__(location)
        self._bucket = bucket
        self._key = key
        self._size: int | None = None

    def __len__(self) -> int:
        """See InputFile; known without a request after the file was written."""
        size = self._bucket.size(self._key) if self._size is None else self._size
        if size is None:
            raise FileNotFoundError(f"no file {self.location}")
        return size

    def exists(self) -> bool:
        """See InputFile."""
        return self._bucket.size(self._key) is not None

    def open(self, seekable: bool = True) -> InputStream:
        """See InputFile."""
        try:
            return io.BytesIO(self._bucket.get(self._key).data)
        except ObjectMissingError as error:
            raise FileNotFoundError(f"no file {self.location}") from error

    def create(self, overwrite: bool = False) -> OutputStream:
        """See OutputFile: the file is there when the stream is closed."""
        if not overwrite and self.exists():
            raise FileExistsError(f"file {self.location} exists")
        return _Upload(self)

    def to_input_file(self) -> S3File:
        """See OutputFile."""
        return self

    def write(self, data: bytes) -> None:
        """Write the file whole."""
        self._bucket.put(self._key, data)
        self._size = len(data)

    def delete(self) -> None:
        """Remove the file."""
        self._bucket.delete(self._key)


class _Upload(io.BytesIO):
    """Collects a file's content; an error inside a `with` leaves no file."""

    def __init__(self, file: S3File) -> None:
        super().__init__()
        self._file = file

    def __exit__(self, kind: object, *details: object) -> None:
        if kind is not None:
            super().close()
        self.close()

    def close(self) -> None:
        if not self.closed:
            content = self.getvalue()
            super().close()
            self._file.write(content)


@functools.cache
def _bucket(endpoint: str, region: str, name: str) -> S3Bucket:
    return S3Bucket(endpoint, region, name)


@functools.cache
def _arrow(endpoint: str, region: str) -> S3FileSystem:
    from pyarrow.fs import AwsDefaultS3RetryStrategy, S3FileSystem

    return S3FileSystem(
        endpoint_override=endpoint,
        region=region,
        connect_timeout=CONNECT_TIMEOUT,
        request_timeout=READ_TIMEOUT,
        retry_strategy=AwsDefaultS3RetryStrategy(max_attempts=_ATTEMPTS),
    )
