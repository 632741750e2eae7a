"""Disks of a few MiB, and a Garage on one: what a full disk does, without filling the machine's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.services.garage import REGION, Garage
from deploy.services.state import State

MIB = 1024 * 1024


def on_a_small_disk(folder: Path, size: int) -> tuple[str, ...]:
    """Prefix of a command that sees an empty disk of so many bytes at `folder`; nobody else sees it."""
    script = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'
    namespace = ("--mount",) if os.geteuid() == 0 else ("--mount", "--map-root-user")
    return ("unshare", *namespace, "sh", "-c", script, "sh", str(size), str(folder))


class SmallGarage(Garage):
    """A Garage whose data lie on a disk of a few MiB; its own ports, key and folder."""

    size = 8 * MIB

    def command(self) -> list[str]:
        """The same server, on a small disk."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        return [*on_a_small_disk(self.folder / "data", self.size), *super().command()]

    def variables(self) -> dict[str, str]:
        """Variables by which qpipe finds it."""
        key, secret = self.access_key
        return {
            "QPIPE_S3_ENDPOINT": self.endpoint,
            "QPIPE_S3_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "QPIPE_S3_RAW_BUCKET": "raw-results",
            "QPIPE_S3_FEATURES_BUCKET": "features",
        }

    @property
    def _ballast(self) -> Path:
        # The disk is mounted for the server alone; this is the way to what it sees.
        return Path(f"/proc/{self.process.pid}/root") / (self.folder / "data" / "ballast").relative_to("/")

    def fill(self) -> None:
        """Leave no byte free."""
        with open(self._ballast, "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                return

    def make_room(self) -> None:
        """Undo `fill`."""
        self._ballast.unlink()


@contextmanager
def small_garage(folder: Path) -> Iterator[SmallGarage]:
    """A running Garage on a small disk, with its buckets."""
    folder.mkdir()
    garage = SmallGarage(State(folder))
    garage.install()
    garage.state.choose_ports({name: port + 2000 for name, port in garage.ports.items()})
    try:
        garage.launch()
        garage.wait()
        garage.prepare()
        yield garage
    finally:
        garage.process.kill()
