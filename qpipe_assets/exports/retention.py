"""Old versions removed: only files that their manifests list, and that no version which stays refers to.

What another installation has exported to the same dataset is neither counted nor removed.

A version that goes loses its manifest first, so nobody takes it for whole; a copy of it stays until its files are
gone, so that a removal which was killed is finished by the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe_assets.exports.latest import manifest_named, names
from qpipe_assets.exports.manifest import Manifest, folder_of, manifest_path
from qpipe_assets.exports.origin import own_tables, strange_tables
from qpipe_assets.exports.target import ExportTarget

if TYPE_CHECKING:
    from qpipe_resources.lakehouse import Lakehouse


@dataclass(frozen=True)
class Removal:
    """Versions that went, and how many files."""

    versions: tuple[str, ...]
    files: int


def keep_newest(target: ExportTarget, lakehouse: Lakehouse, count: int, latest: str) -> Removal:
    """Remove all versions of these tables but the newest `count`, of which `latest` always is one."""
    begun = names(target)
    complete = [manifest for name in begun if (manifest := manifest_named(target, name))]
    half_gone = [Manifest.model_validate_json(text) for name in begun if (text := target.find(_retired(name)))]
    own = own_tables(lakehouse, [*complete, *half_gone])
    ours = [manifest for manifest in complete if not strange_tables(manifest, own)]
    newest = sorted(ours, key=lambda manifest: (manifest.version == latest, manifest.created_at), reverse=True)
    going = {manifest.version: manifest for manifest in newest[count:]}
    for manifest in going.values():
        target.write(_retired(manifest.version), manifest.as_json())
        target.delete(manifest_path(manifest.version))
    needed = {file.path for manifest in complete if manifest.version not in going for file in manifest.files}
    going |= {manifest.version: manifest for manifest in half_gone if not strange_tables(manifest, own)}
    files = sum(_remove(target, manifest, needed) for manifest in going.values())
    return Removal(tuple(sorted(going)), files)


def _retired(version: str) -> str:
    return f"{folder_of(version)}retired.json"


def _remove(target: ExportTarget, manifest: Manifest, needed: set[str]) -> int:
    paths = [file.path for file in manifest.files if file.path not in needed]
    for path in paths:
        target.delete(path)
    target.delete(_retired(manifest.version))
    return len(paths)
