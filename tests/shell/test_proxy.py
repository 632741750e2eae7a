"""deploy/proxy before a real Dagster: a password or nothing, WebSockets, pages of other sites, TLS."""

from __future__ import annotations

import base64
import http.client
import itertools
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from deploy.services.certificates import Certificates, make_certificates
from tests.chromium import chromium_page
from tests.daemon import ROOT, Daemon, wait_for

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.nginx, pytest.mark.timeout(900)]

PROXY = ROOT / "deploy" / "proxy"
PASSWORD = "correct horse"


def basic(password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'operator:{password}'.encode()).decode()}"}


BASIC, WRONG = basic(PASSWORD), basic("wrong")
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "graphql-ws",
}
QUESTION = '{"query": "{version}"}'
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Proxy:
    port: int
    tls: ssl.SSLContext | None = None

    def ask(self, path: str, body: str | None = None, **headers: str) -> http.client.HTTPResponse:
        if self.tls is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        else:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=self.tls)
        connection.request("GET" if body is None else "POST", path, body, headers)
        return connection.getresponse()

    def status(self, path: str, body: str | None = None, **headers: str) -> int:
        return self.ask(path, body, **headers).status

    @property
    def own_origin(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def password_line() -> str:
    """As docs/security.md makes it, but that it asks nobody."""
    done = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=PASSWORD, capture_output=True, text=True, check=True
    )
    return f"operator:{done.stdout}"


@contextmanager
def running(daemon: Daemon, folder: Path, configuration: str, listen: str) -> Iterator[int]:
    """nginx on a copy of the folder, before this Dagster, on a port of its own."""
    shutil.copytree(PROXY, folder, dirs_exist_ok=True)
    port, upstream = free_port(), daemon.url.removeprefix("http://")
    for name, old, new in (
        ("dagster.conf", "127.0.0.1:3000", upstream),
        (configuration, f"listen {listen}", f"listen 127.0.0.1:{port}"),
    ):
        text = (folder / name).read_text()
        assert text.count(old) == 1, (name, old)
        (folder / name).write_text(text.replace(old, new))
    (folder / "htpasswd").write_text(password_line())
    state = folder / "state"
    state.mkdir()
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    # Its workers may not read a test's folder unless they are who runs the test.
    directives = "daemon off; user root;" if os.geteuid() == 0 else "daemon off;"
    command = [program, "-p", str(state), "-e", "error.log", "-c", str(folder / configuration), "-g", directives]
    with open(state / "out", "w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: process.poll() is not None or answers(port), "nginx", 20)
        assert process.poll() is None, (state / "out").read_text() + (state / "error.log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def proxy(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running(daemon, tmp_path_factory.mktemp("proxy"), "nginx.conf", "127.0.0.1:8480") as port:
        yield Proxy(port)


@pytest.mark.parametrize("path", ["/", "/graphql", "/runs", "/server_info", "/logs/x/y/z", "/favicon.png", "/nowhere"])
def test_without_the_password_nothing_answers(proxy: Proxy, path: str) -> None:
    answer = proxy.ask(path)
    assert answer.status == 401
    assert answer.getheader("WWW-Authenticate") == 'Basic realm="qpipe"'
    assert b"agster" not in answer.read()


def test_a_wrong_password_is_refused_slowly(proxy: Proxy) -> None:
    import time

    begin = time.monotonic()
    assert proxy.status("/", **WRONG) == 401
    assert time.monotonic() - begin > 0.9


def test_with_the_password_the_ui_and_graphql_answer(proxy: Proxy) -> None:
    page = proxy.ask("/", **BASIC)
    assert page.status == 200
    assert b"Dagster" in page.read()
    asked = proxy.ask("/graphql", QUESTION, Origin=proxy.own_origin, **BASIC, **JSON)
    assert asked.status == 200
    assert b'"version"' in asked.read()


def test_pages_carry_the_security_headers_once(proxy: Proxy) -> None:
    headers = proxy.ask("/", **BASIC).headers
    for name, value in {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Server": "nginx",
    }.items():
        assert headers.get_all(name) == [value], name
    policies = headers.get_all("Content-Security-Policy")
    assert any("script-src 'nonce-" in one for one in policies), "Dagster's own"
    assert "frame-ancestors 'none'" in policies


def test_a_websocket_is_upgraded_with_the_password_only(proxy: Proxy) -> None:
    upgraded = proxy.ask("/graphql", **UPGRADE, **BASIC, Origin=proxy.own_origin)
    assert (upgraded.status, upgraded.getheader("Sec-WebSocket-Protocol")) == (101, "graphql-ws")
    assert proxy.status("/graphql", **UPGRADE) == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_another_sites_page_cannot_use_the_browsers_password(proxy: Proxy, headers: dict[str, str]) -> None:
    assert proxy.status("/graphql?query=%7Bversion%7D", **BASIC, **headers) == 403
    assert proxy.status("/graphql", QUESTION, **BASIC, **JSON, **headers) == 403
    assert proxy.status("/graphql", **UPGRADE, **BASIC, **headers) == 403


def test_dagster_itself_would_answer_them(daemon: Daemon) -> None:
    bare = Proxy(int(daemon.url.rpartition(":")[2]))
    image = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert bare.status("/graphql?query=%7Bversion%7D", **image) == 200


def test_a_link_from_another_site_opens_the_ui(proxy: Proxy) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert proxy.status("/runs", **BASIC, **link) == 200
    assert proxy.status("/runs", **BASIC, **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}) == 403


def test_tls_answers_with_a_certificate_and_to_tls_alone(daemon: Daemon, tmp_path: Path) -> None:
    folder = tmp_path / "proxy"
    made = Certificates(tmp_path / "certificates", "unused")
    make_certificates(made)
    folder.mkdir()
    shutil.copyfile(made.folder / "server.crt", folder / "tls.crt")
    shutil.copyfile(made.folder / "server.key", folder / "tls.key")
    with running(daemon, folder, "nginx-tls.conf", "8443") as port:
        proxy = Proxy(port, ssl.create_default_context(cafile=str(made.ca)))
        assert proxy.status("/") == 401
        page = proxy.ask("/", **BASIC)
        assert page.status == 200
        assert page.headers.get_all("Strict-Transport-Security") == ["max-age=31536000"]
        assert page.headers.get_all("X-Frame-Options") == ["DENY"]
        assert proxy.status("/graphql", **UPGRADE, **BASIC, Origin=proxy.own_origin) == 101
        assert Proxy(port).status("/", **BASIC) == 400


def test_dagster_listens_on_loopback_alone_and_so_does_what_the_proxy_asks(daemon: Daemon) -> None:
    sockets = itertools.chain.from_iterable(daemon.of_each(lambda process: process.net_connections("tcp")))
    listening = [socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN]
    assert listening
    assert {"127.0.0.1", "::1"} >= set(listening)
    text = (PROXY / "dagster.conf").read_text()
    assert re.findall(r"^\s*server (\S+);", text, re.MULTILINE) == ["127.0.0.1:3000"]
    locations = (PROXY / "locations.conf").read_text()
    assert set(re.findall(r"proxy_pass (\S+);", locations)) == {"http://dagster"}
    assert re.findall(r"listen (\S+)", (PROXY / "nginx.conf").read_text()) == ["127.0.0.1:8480;"]


def test_no_password_file_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "htpasswd" not in listed
    assert "htpasswd" in (ROOT / ".gitignore").read_text()


@pytest.mark.browser
def test_the_ui_lives_behind_the_proxy(proxy: Proxy) -> None:
    with chromium_page(http_credentials={"username": "operator", "password": PASSWORD}) as page:
        with page.expect_websocket(lambda one: one.url.endswith("/graphql")):
            page.goto(f"{proxy.own_origin}/assets/vqe_runs")
        page.get_by_role("button", name="Materialize").first.wait_for()
        page.goto(f"{proxy.own_origin}/runs")
        page.get_by_text("Runs", exact=True).first.wait_for()
