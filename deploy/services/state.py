"""What one installation of the services remembers: its folder, the ports it chose and the secrets it made once."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.services.errors import ServiceError

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
_PORTS_TRIED = 200


def default_folder() -> Path:
    """Folder of the services: QPIPE_SERVICES, for another set beside the usual one, or `.services` in the tree."""
    return Path(os.environ.get("QPIPE_SERVICES") or ROOT / ".services").absolute()


@dataclass
class State:
    """Ports by name and secrets by name; kept in `state.json`, which only its owner may read."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, folder: Path) -> State:
        """Read the state of the services below `folder`; an empty one where there is none yet."""
        try:
            stored = json.loads((folder / "state.json").read_text())
        except FileNotFoundError:
            return cls(folder)
        return cls(folder, stored["ports"], stored["secrets"])

    def save(self) -> None:
        """Write the state where `load` finds it."""
        write_private(
            self.folder / "state.json", json.dumps({"ports": self.ports, "secrets": self.secrets}, indent=2) + "\n"
        )

    def secret(self, name: str, prefix: str = "", size: int = 16) -> str:
        """Secret of that name, made on first use: `prefix` and `size` random bytes in hexadecimal."""
        if name not in self.secrets:
            self.secrets[name] = prefix + secrets.token_hex(size)
            self.save()
        return self.secrets[name]

    def choose_ports(self, preferred: Mapping[str, int]) -> None:
        """Keep the chosen port of each name while it is free, else take the preferred one or the next free one."""
        before = dict(self.ports)
        for name, port in preferred.items():
            others = {number for other, number in self.ports.items() if other != name}
            first = self.ports.get(name, port)
            for candidate in (first, *range(port, port + 10 * _PORTS_TRIED, 10)):
                if candidate not in others and is_free(candidate):
                    self.ports[name] = candidate
                    break
            else:
                raise ServiceError(f"{name}: no free port among {port}, {port + 10}, ...; free one of them")
        if self.ports != before:
            self.save()

    def address(self, name: str) -> str:
        """Host and port of a listener, as `127.0.0.1:9092`."""
        return f"{LOOPBACK}:{self.ports[name]}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other process starts or stops services below `folder`, and keep others from it meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def is_free(port: int) -> bool:
    """Whether a server could listen on that port of the loopback interface now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return not answers(port)


def answers(port: int) -> bool:
    """Whether something accepts connections on that port of the loopback interface."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
