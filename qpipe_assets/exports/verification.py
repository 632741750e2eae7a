"""Every file of a version read back and compared with its manifest; needs the target alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256

from qpipe_assets.exports.latest import Version, latest_version, version_named
from qpipe_assets.exports.manifest import StoredFile
from qpipe_assets.exports.progress import Progress, silent
from qpipe_assets.exports.request import ExportRefusedError
from qpipe_assets.exports.target import ExportTarget


@dataclass(frozen=True)
class Verification:
    """What was read.

    Attributes:
        version: that was looked at.
        files: of it.
        bytes: of them.
        damaged: path and what is wrong with it, of those that are not as the manifest says.
    """

    version: str
    files: int
    bytes: int
    damaged: dict[str, str]


def verify(target: ExportTarget, readers: int, version: str | None = None, progress: Progress = silent) -> Verification:
    """Compare the latest version, or the one named, with its manifest.

    Args:
        target: where it lies.
        readers: files read at once.
        version: name of an export's version; the latest when None.
        progress: told bytes read, and bytes in all.

    Raises:
        ExportRefusedError: there is no such version.
    """
    found: Version | None = latest_version(target) if version is None else version_named(target, version)
    if found is None:
        raise ExportRefusedError(f"there is no {'export' if version is None else f'version {version}'} at {target.url}")
    files = found.manifest.files
    whole, read, damaged = sum(file.bytes for file in files), 0, {}
    with ThreadPoolExecutor(readers) as pool:
        for file, wrong in zip(files, pool.map(lambda file: _wrong(target, file), files), strict=True):
            read += file.bytes
            if wrong:
                damaged[file.path] = wrong
            progress(read, whole)
    return Verification(found.manifest.version, len(files), whole, damaged)


def _wrong(target: ExportTarget, file: StoredFile) -> str:
    content = target.find(file.path)
    if content is None:
        return "is missing"
    if len(content) != file.bytes:
        return f"has {len(content)} bytes, expected {file.bytes}"
    return "" if sha256(content).hexdigest() == file.sha256 else "has another SHA-256 than the manifest"
