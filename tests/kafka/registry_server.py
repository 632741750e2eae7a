"""A Schema Registry in this process, over real HTTP: subjects, ids, compatibility rules, users and failures."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Registry:
    """What the registry knows, and how it behaves.

    `rule_needs_subject` imitates registries that keep no compatibility for a subject without a schema; `failure` is
    answered instead of anything else.
    """

    schemas: dict[int, str] = field(default_factory=dict)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    compatibility: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    user: str | None = None
    rule_needs_subject: bool = False
    refuse_registration: bool = False
    failure: tuple[int, str] | None = None
    url: str = ""

    def register(self, subject: str, schema: str) -> int:
        """The schema's id, a new one where it is not known."""
        known = next((number for number, text in self.schemas.items() if text == schema), len(self.schemas) + 1)
        self.schemas[known] = schema
        if known not in self.subjects.setdefault(subject, []):
            self.subjects[subject].append(known)
        return known

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and content of the answer to a request."""
        self.requests.append(f"{method} {path}")
        match method, path.strip("/").split("/"):
            case "GET", ["schemas", "ids", number]:
                schema = self.schemas.get(int(number))
                return (200, {"schema": schema}) if schema else (404, {"error_code": 40403, "message": "no schema"})
            case "POST", ["subjects", subject, "versions"]:
                if self.refuse_registration:
                    return 409, {"error_code": 409, "message": "incompatible with an earlier schema"}
                return 200, {"id": self.register(subject, body["schema"])}
            case "GET", ["config", subject]:
                level = self.compatibility.get(subject)
                return (
                    (200, {"compatibilityLevel": level}) if level else (404, {"error_code": 40408, "message": "none"})
                )
            case "PUT", ["config", subject]:
                if self.rule_needs_subject and subject not in self.subjects:
                    return 404, {"error_code": 40401, "message": "no subject"}
                self.compatibility[subject] = body["compatibility"]
                return 200, body
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def allows(self, authorization: str | None) -> bool:
        """Whether the request's user may."""
        expected = None if self.user is None else f"Basic {base64.b64encode(self.user.encode()).decode()}"
        return expected is None or authorization == expected


@contextmanager
def serving(registry: Registry) -> Iterator[Registry]:
    """The registry on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else {}
            if registry.failure is not None:
                status, text = registry.failure
            elif not registry.allows(self.headers.get("Authorization")):
                status, text = 401, json.dumps({"error_code": 401, "message": "Unauthorized"})
            else:
                status, content = registry.answer(self.command, self.path.split("?")[0], body)
                text = json.dumps(content)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = _handle  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield registry
        finally:
            server.shutdown()
