"""Garage: an S3 object store of one node that writes through to the disk before it answers."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from pathlib import Path

from deploy.services.errors import ServiceError
from deploy.services.process import base_environment
from deploy.services.programs import cache, filled_at_once, need, run, tell
from deploy.services.service import Service
from deploy.services.state import write_private
from deploy.services.versions import GARAGE, RUST
from deploy.setup.garage import Administration, GarageRefusedError

REGION = "garage"
BUCKETS = ("raw-results", "features")


class Garage(Service):
    """Listeners: `s3` (the S3 API), `garage-rpc`, `garage-admin`."""

    name = "garage"
    title = f"Garage {GARAGE}"
    ports = {"s3": 3901, "garage-rpc": 3900, "garage-admin": 3903}  # noqa: RUF012

    @property
    def access_key(self) -> tuple[str, str]:
        """Id and secret of the S3 key."""
        return self.state.secret("s3-key-id", prefix="GK", size=12), self.state.secret("s3-key", size=32)

    @property
    def endpoint(self) -> str:
        """URL of the S3 API."""
        return f"http://{self.state.address('s3')}"

    @property
    def program(self) -> Path:
        """The binary."""
        return cache() / f"garage-{GARAGE}" / "bin" / "garage"

    def install(self) -> None:
        """Build it by cargo: no registry that can be reached carries a binary."""
        if self.program.exists():
            return
        cargo = need("cargo", "cargo")
        need("cc", "build-essential")
        tell(f"building {self.title} (about 8 minutes on two cores, once a machine: the binary goes to {cache()})")
        target = cache() / f"garage-{GARAGE}-build"
        with filled_at_once(self.program.parents[1]) as folder:
            # The build folder stays when it is interrupted, so that the next call goes on with it.
            command = [
                cargo,
                "install",
                "garage",
                "--version",
                GARAGE,
                "--locked",
                "--root",
                str(folder),
                "--target-dir",
                str(target),
            ]
            run(command, f"{self.title} cannot be built (it needs a C compiler and a recent Rust; {RUST} does)")
        shutil.rmtree(target, ignore_errors=True)

    def configure(self) -> None:
        """Write the secrets and garage.toml."""
        at = self.state.address
        rpc, admin = self.folder / "rpc-secret", self.folder / "admin-token"
        write_private(rpc, self.state.secret("garage-rpc", size=32))
        write_private(admin, self.state.secret("garage-admin", size=32))
        (self.folder / "garage.toml").write_text(
            f"""metadata_dir = "{self.folder / "metadata"}"
data_dir = "{self.folder / "data"}"
db_engine = "lmdb"
metadata_fsync = true
data_fsync = true
replication_factor = 1
rpc_bind_addr = "{at("garage-rpc")}"
rpc_public_addr = "{at("garage-rpc")}"
rpc_secret_file = "{rpc}"

[s3_api]
s3_region = "{REGION}"
api_bind_addr = "{at("s3")}"
root_domain = ".s3.garage.localhost"

[admin]
api_bind_addr = "{at("garage-admin")}"
admin_token_file = "{admin}"
"""
        )

    def command(self) -> list[str]:
        """The server lays out a cluster of one node by itself."""
        return [str(self.program), "--config", str(self.folder / "garage.toml"), "server", "--single-node"]

    def environment(self) -> dict[str, str]:
        """Warnings and errors only."""
        return base_environment() | {"RUST_LOG": "garage=warn"}

    def ready(self) -> bool:
        """Whether its health check says so."""
        try:
            with urllib.request.urlopen(f"http://{self.state.address('garage-admin')}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    @property
    def _administration(self) -> Administration:
        return Administration(f"http://{self.state.address('garage-admin')}", self.state.secret("garage-admin"))

    def prepare(self) -> None:
        """Create the key, which may create buckets, and the buckets."""
        identity, secret = self.access_key
        try:
            self._administration.import_key(identity, secret)
            self._administration.make_buckets(BUCKETS, identity)
        except GarageRefusedError as error:
            raise ServiceError(str(error)) from None
