"""A Garage that has just started becomes a store: its layout, the key of qpipe and the buckets.

`python -m deploy.setup.garage` reads GARAGE_ADMIN_URL, GARAGE_ADMIN_TOKEN, the S3 key and the names of the buckets.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from deploy.setup.variables import need

_CAPACITY = 10**12
"""Bytes that a node is said to have; with one node it only divides by itself."""


class GarageRefusedError(RuntimeError):
    """Garage's administration API refused a call; carries its words."""


class Administration:
    """Garage's administration API, version 2."""

    def __init__(self, url: str, token: str) -> None:
        """Prepare; asks nothing yet.

        Args:
            url: Where the API answers, as http://HOST:3903.
            token: Its admin token.
        """
        self._url = url.rstrip("/")
        self._token = token

    def call(self, name: str, body: object = None) -> Any:
        """One call; with a body it is a POST.

        Raises:
            GarageRefusedError: Garage answered with an error.
        """
        request = urllib.request.Request(
            f"{self._url}/v2/{name}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            words = error.read().decode(errors="replace")
            raise GarageRefusedError(f"Garage refused {name.partition('?')[0]}: {words}") from None

    def lay_out(self) -> bool:
        """Give every node a role where none has one; returns whether that was so."""
        layout = self.call("GetClusterLayout")
        if layout["roles"]:
            return False
        nodes = [node["id"] for node in self.call("GetClusterStatus")["nodes"]]
        roles = [{"id": node, "zone": "local", "capacity": _CAPACITY, "tags": []} for node in nodes]
        self.call("UpdateClusterLayout", {"roles": roles})
        self.call("ApplyClusterLayout", {"version": layout["version"] + 1})
        return True

    def import_key(self, identity: str, secret: str) -> bool:
        """Make the key known and let it create buckets; returns whether it is new."""
        if identity in {key["id"] for key in self.call("ListKeys")}:
            return False
        self.call("ImportKey", {"accessKeyId": identity, "secretAccessKey": secret, "name": "qpipe"})
        self.call(f"UpdateKey?id={identity}", {"allow": {"createBucket": True}})
        return True

    def make_buckets(self, names: Sequence[str], identity: str) -> list[str]:
        """Make the buckets that are missing, and let the key use all of them; returns the new ones' names."""
        buckets = {alias: bucket["id"] for bucket in self.call("ListBuckets") for alias in bucket["globalAliases"]}
        made = [name for name in names if name not in buckets]
        for name in made:
            buckets[name] = self.call("CreateBucket", {"globalAlias": name})["id"]
        # Those that were there too: the key may be another one than before.
        for name in names:
            allowed = {"read": True, "write": True, "owner": True}
            permission = {"bucketId": buckets[name], "accessKeyId": identity, "permissions": allowed}
            self.call("AllowBucketKey", permission)
        return made


def main() -> None:
    """Set up what is missing and say what that was."""
    administration = Administration(need("GARAGE_ADMIN_URL"), need("GARAGE_ADMIN_TOKEN"))
    identity = need("AWS_ACCESS_KEY_ID")
    laid_out = administration.lay_out()
    imported = administration.import_key(identity, need("AWS_SECRET_ACCESS_KEY"))
    made = administration.make_buckets((need("QPIPE_S3_RAW_BUCKET"), need("QPIPE_S3_FEATURES_BUCKET")), identity)
    new = [*(["layout"] if laid_out else []), *(["key"] if imported else []), *made]
    print(f"Garage: {', '.join(new) if new else 'nothing was missing'}")


if __name__ == "__main__":
    main()
