"""Old versions removed: only files that their manifests list, and that no version which stays refers to.

A version that goes loses its manifest first, so nobody takes it for whole; a copy of it stays until its files are
gone, so that a removal which was killed is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qpipe_assets.exports.latest import manifest_named, names
from qpipe_assets.exports.manifest import Manifest, folder_of, manifest_path
from qpipe_assets.exports.target import ExportTarget


@dataclass(frozen=True)
class Removal:
    """Versions that went, and how many files."""

    versions: tuple[str, ...]
    files: int


def keep_newest(target: ExportTarget, count: int, latest: str) -> Removal:
    """Remove all versions but the newest `count`, of which `latest` always is one."""
    begun = names(target)
    complete = [manifest for name in begun if (manifest := manifest_named(target, name))]
    newest = sorted(complete, key=lambda manifest: (manifest.version == latest, manifest.created_at), reverse=True)
    for manifest in newest[count:]:
        target.write(_retired(manifest.version), manifest.as_json())
        target.delete(manifest_path(manifest.version))
    retired = [Manifest.model_validate_json(text) for name in begun if (text := target.find(_retired(name)))]
    needed = {file.path for manifest in newest[:count] for file in manifest.files}
    files = sum(_remove(target, manifest, needed) for manifest in retired)
    return Removal(tuple(manifest.version for manifest in retired), files)


def _retired(version: str) -> str:
    return f"{folder_of(version)}retired.json"


def _remove(target: ExportTarget, manifest: Manifest, needed: Iterable[str]) -> int:
    paths = [file.path for file in manifest.files if file.path not in set(needed)]
    for path in paths:
        target.delete(path)
    target.delete(_retired(manifest.version))
    return len(paths)
