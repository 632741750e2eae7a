"""What docker-compose.yml runs once: each step may be repeated, and a refusal is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deploy.setup import garage, kafka_connect
from deploy.setup.garage import Administration, GarageRefusedError
from deploy.setup.variables import need


class _Api(ThreadingHTTPServer):
    """Answers by path; keeps what it was asked."""

    answers: dict[str, Any]
    asked: list[tuple[str, str, Any]]
    failures: int


class _Handler(BaseHTTPRequestHandler):
    server: _Api

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        name = self.path.removeprefix("/v2/")
        self.server.asked.append((self.command, name, body))
        status, answer = 200, self.server.answers.get(name.partition("?")[0], {})
        if self.server.failures:
            self.server.failures -= 1
            status, answer = 500, {"message": "not yet"}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def api() -> Iterator[_Api]:
    server = _Api(("127.0.0.1", 0), _Handler)
    server.answers, server.asked, server.failures = {}, [], 0
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url(api: _Api) -> str:
    return f"http://127.0.0.1:{api.server_port}"


EMPTY = {
    "GetClusterLayout": {"version": 0, "roles": []},
    "GetClusterStatus": {"nodes": [{"id": "a1"}]},
    "ListKeys": [],
    "ListBuckets": [],
    "CreateBucket": {"id": "b1"},
}
FULL = EMPTY | {
    "GetClusterLayout": {"version": 1, "roles": [{"id": "a1"}]},
    "ListKeys": [{"id": "GK1"}],
    "ListBuckets": [{"id": "b1", "globalAliases": ["raw-results"]}, {"id": "b2", "globalAliases": ["features"]}],
}


@pytest.fixture
def _settings(api: _Api, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "GARAGE_ADMIN_URL": url(api),
        "GARAGE_ADMIN_TOKEN": "token",
        "AWS_ACCESS_KEY_ID": "GK1",
        "AWS_SECRET_ACCESS_KEY": "hidden",
        "QPIPE_S3_RAW_BUCKET": "raw-results",
        "QPIPE_S3_FEATURES_BUCKET": "features",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_settings")
def test_an_empty_garage_gets_layout_key_and_buckets(api: _Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers = EMPTY
    garage.main()
    posted = {name: body for method, name, body in api.asked if method == "POST"}
    assert [role["id"] for role in posted["UpdateClusterLayout"]["roles"]] == ["a1"]
    assert posted["ApplyClusterLayout"] == {"version": 1}
    assert posted["ImportKey"]["accessKeyId"] == "GK1"
    assert posted["AllowBucketKey"]["permissions"] == {"read": True, "write": True, "owner": True}
    told = capsys.readouterr().out
    assert told == "Garage: layout, key, raw-results, features\n"


@pytest.mark.usefixtures("_settings")
def test_a_garage_that_has_them_gets_no_others(api: _Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers = FULL
    garage.main()
    posted = [(name, body["bucketId"]) for method, name, body in api.asked if method == "POST"]
    assert posted == [("AllowBucketKey", "b1"), ("AllowBucketKey", "b2")], "the key may be another one than before"
    assert capsys.readouterr().out == "Garage: nothing was missing\n"


def test_a_refusal_carries_garages_words(api: _Api) -> None:
    api.failures = 1
    with pytest.raises(GarageRefusedError, match=r"Garage refused ListKeys: .*not yet"):
        Administration(url(api), "token").call("ListKeys")


def test_the_connector_is_registered_with_the_shipped_options_after_some_refusals(api: _Api) -> None:
    api.failures = 4
    kafka_connect.register(url(api), pause=0.0)
    method, path, body = api.asked[-1]
    assert (method, path, len(api.asked)) == ("PUT", "/connectors/garage-sink/config", 5)
    assert body == json.loads(kafka_connect.CONNECTOR.read_text())["config"]


def test_the_fifth_refusal_is_the_last(api: _Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.failures = 9
    with pytest.raises(OSError, match="500"):
        kafka_connect.register(url(api), pause=0.0)
    assert "attempt 5 of 5" in capsys.readouterr().err


def test_a_missing_variable_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GARAGE_ADMIN_URL", raising=False)
    with pytest.raises(SystemExit, match="GARAGE_ADMIN_URL is not set; `make env`"):
        need("GARAGE_ADMIN_URL")
