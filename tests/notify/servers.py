"""A mail server and a webhook on loopback that keep what they get."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "qpipe", "correct horse"


@dataclass
class Mailbox:
    """What the mail server took, and what it says next."""

    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    signed_in: list[bool] = field(default_factory=list)
    connections: int = 0
    answers: list[str] = field(default_factory=list)
    """What is answered to the next messages instead of 250."""
    unknown: dict[str, str] = field(default_factory=dict)
    """What is answered to a recipient instead of 250, by address."""

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.unknown:
            return self.unknown[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.connections += 1
        if self.answers:
            return self.answers.pop(0)
        message = message_from_bytes(envelope.content or b"", policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        self.encrypted.append(session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None)
        self.signed_in.append(bool(session.authenticated))
        return "250 taken"


def _authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)


@contextmanager
def mail_server(security: str, certificate: Path | None = None, *, auth: bool = False) -> Iterator[Mailbox]:
    """Run a mail server on a free port of loopback; the certificate's file holds its key as well."""
    mailbox = Mailbox()
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    options: dict[str, Any] = {"authenticator": _authenticate, "auth_required": True} if auth else {}
    if security == "tls":
        # The connection is encrypted before SMTP begins, which it cannot see.
        controller = Controller(mailbox, "127.0.0.1", 0, ssl_context=context, auth_require_tls=False, **options)
    elif security == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
        controller = Controller(mailbox, "127.0.0.1", 0, **options)
    else:
        controller = Controller(mailbox, "127.0.0.1", 0, auth_require_tls=False, **options)
    _start(controller)
    mailbox.port = controller.server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        controller.stop(no_assert=True)


def _start(controller: Controller) -> None:
    """Start it; its own probe asks the port that was given, which is 0."""

    def probe() -> None:
        socket.create_connection(controller.server.sockets[0].getsockname()[:2], 5).close()

    controller._trigger_server = probe  # type: ignore[method-assign]
    controller.start()


@dataclass
class Hook:
    """What the webhook got, and what it answers next."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    answers: list[int] = field(default_factory=list)
    """Status codes of the next answers instead of 204."""


@contextmanager
def webhook() -> Iterator[Hook]:
    """Run a webhook on a free port of loopback."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.requests += 1
            status = hook.answers.pop(0) if hook.answers else 204
            if status < 300:
                assert self.headers["Content-Type"] == "application/json"
                hook.bodies.append(json.loads(body))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", hook.url)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.url = f"http://127.0.0.1:{server.server_port}/hooks/T0K3N"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
