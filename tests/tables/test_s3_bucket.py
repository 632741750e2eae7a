"""Requests to a bucket whose store fails: what is tried again, what is told, how long it takes; on real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from qpipe_resources import s3_bucket
from qpipe_resources.object_store import ObjectMissingError, StoreRefusedError, StoreUnavailableError
from qpipe_resources.s3_bucket import S3Bucket
from qpipe_resources.s3_store import S3ObjectStore

SECRET = "a-secret-that-nobody-may-see"
Answer = Callable[[BaseHTTPRequestHandler], None]


def error(status: int, code: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        body = f"<Error><Code>{code}</Code><Message>refused: {SECRET}</Message></Error>".encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def content(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("ETag", '"abc"')
    request.send_header("Content-Length", "7")
    request.end_headers()
    request.wfile.write(b"content")


def half(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("ETag", '"abc"')
    request.send_header("Content-Length", "7")
    request.end_headers()
    request.wfile.write(b"con")
    request.close_connection = True


def silence(request: BaseHTTPRequestHandler) -> None:
    time.sleep(1.5)
    request.close_connection = True


class FailingStore(ThreadingHTTPServer):
    """Answers as told, one after the other, the last again and again."""

    def __init__(self) -> None:
        store = self
        self.answers: list[Answer] = [content]
        self.requests = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = store.answers[min(store.requests, len(store.answers) - 1)]
                store.requests += 1
                answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def failing() -> Iterator[FailingStore]:
    server = FailingStore()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "GK0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def bucket(url: str, patience: float = 20) -> S3Bucket:
    return S3Bucket(url, "garage", "raw-results", patience)


@pytest.mark.parametrize(
    "trouble", [error(500, "InternalError"), error(503, "SlowDown"), half, error(429, "TooManyRequests")]
)
def test_a_failure_that_passes_is_not_noticed(failing: FailingStore, trouble: Answer) -> None:
    failing.answers = [trouble, trouble, content]
    stored = bucket(failing.url).get("a")
    assert (stored.data, stored.etag, failing.requests) == (b"content", "abc", 3)


def test_a_store_that_does_not_come_back_is_an_error_in_time(
    failing: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(s3_bucket, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    failing.answers = [error(500, "InternalError")]
    with pytest.raises(StoreUnavailableError, match=r"'raw-results'.*http://127.*500 InternalError.*disk is full"):
        bucket(failing.url, patience=10).get("a")
    assert 8 <= sum(pauses) <= 10
    assert failing.requests == len(pauses) + 1
    assert pauses[0] <= 0.1 and pauses[3] > pauses[1]


def test_a_port_where_nobody_listens_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(StoreUnavailableError, match=rf"127.0.0.1:{port} does not answer \(.*\); start it"):
        bucket(f"http://127.0.0.1:{port}", patience=0.3).get("a")


def test_a_store_that_accepts_and_says_nothing_is_an_error(
    failing: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_bucket, "READ_TIMEOUT", 0.2)
    failing.answers = [silence]
    with pytest.raises(StoreUnavailableError, match="ReadTimeoutError"):
        bucket(failing.url, patience=0.3).get("a")


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (error(403, "AccessDenied"), "mend AWS_ACCESS_KEY_ID"),
        (error(403, "SignatureDoesNotMatch"), "mend AWS_ACCESS_KEY_ID"),
        (error(404, "NoSuchBucket"), "create it"),
        (error(400, "BadRequest"), "QPIPE_S3_REGION"),
    ],
)
def test_a_refusal_is_told_at_once_with_its_remedy_and_no_secret(
    failing: FailingStore, answer: Answer, remedy: str
) -> None:
    failing.answers = [answer]
    with pytest.raises(StoreRefusedError, match=remedy) as caught:
        bucket(failing.url).get("a")
    assert failing.requests == 1
    assert "raw-results" in str(caught.value) and failing.url in str(caught.value)
    # What the store says may repeat what was taken for the key: it is in no part of a printed traceback.
    assert SECRET not in str(caught.value) and caught.value.__cause__ is None and caught.value.__suppress_context__


def test_a_missing_object_is_no_failure_of_the_store(failing: FailingStore) -> None:
    failing.answers = [error(404, "NoSuchKey")]
    with pytest.raises(ObjectMissingError, match="'a'"):
        bucket(failing.url).get("a")


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_without_a_key_it_says_what_to_set(
    failing: FailingStore, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.delenv(missing)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(StoreRefusedError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        bucket(failing.url).get("a")


def test_neither_store_nor_bucket_shows_the_key(failing: FailingStore) -> None:
    store = S3ObjectStore(failing.url, "garage", "raw-results")
    store.get("a")
    assert SECRET not in repr(store) + repr(vars(store)) + repr(vars(bucket(failing.url)))
