"""Garage: an S3 object store of one node that writes through to the disk before it answers."""

from __future__ import annotations

import json
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
    def _program(self) -> Path:
        return cache() / f"garage-{GARAGE}" / "bin" / "garage"

    def install(self) -> None:
        """Build it by cargo: no registry that can be reached carries a binary."""
        if self._program.exists():
            return
        cargo = need("cargo", "cargo")
        need("cc", "build-essential")
        tell(f"building {self.title} (about 8 minutes on two cores, once a machine: the binary goes to {cache()})")
        target = cache() / f"garage-{GARAGE}-build"
        with filled_at_once(self._program.parents[1]) as folder:
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
        return [str(self._program), "--config", str(self.folder / "garage.toml"), "server", "--single-node"]

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

    def _administrate(self, call: str, body: object = None) -> dict[str, object]:
        request = urllib.request.Request(
            f"http://{self.state.address('garage-admin')}/v2/{call}",
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.state.secret('garage-admin')}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ServiceError(
                f"Garage refused {call.partition('?')[0]}: {error.read().decode(errors='replace')}"
            ) from None

    def prepare(self) -> None:
        """Create the key, which may create buckets, and the buckets."""
        identity, secret = self.access_key
        keys = self._administrate("ListKeys")
        if identity not in {key["id"] for key in keys}:  # type: ignore[index]
            self._administrate("ImportKey", {"accessKeyId": identity, "secretAccessKey": secret, "name": "qpipe"})
            self._administrate(f"UpdateKey?id={identity}", {"allow": {"createBucket": True}})
        known = {alias for bucket in self._administrate("ListBuckets") for alias in bucket["globalAliases"]}  # type: ignore[index]
        for name in BUCKETS:
            if name not in known:
                bucket = self._administrate("CreateBucket", {"globalAlias": name})
                allowed = {"read": True, "write": True, "owner": True}
                self._administrate(
                    "AllowBucketKey", {"bucketId": bucket["id"], "accessKeyId": identity, "permissions": allowed}
                )
