"""The project's own packages for executors: a zip of this checkout, so that they run the driver's code.

What the packages import must be installed where the executors are, or come with `QPIPE_SPARK_ARCHIVES`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("simulation", "qpipe_resources", "qpipe_assets")
"""What runs on executors; named, not imported."""

_SKIPPED = "__pycache__"
_STAMP = (1980, 1, 1, 0, 0, 0)


def write_packages(target: Path, packages: Sequence[str] = PACKAGES) -> Path:
    """Write the packages' files into a zip; the same files make the same bytes.

    Args:
        target: the zip to write.
        packages: top-level packages that can be imported here.

    Raises:
        ModuleNotFoundError: there is no such package.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in packages:
            folder = _folder(package)
            for file in sorted(folder.rglob("*")):
                if file.is_file() and _SKIPPED not in file.parts:
                    name = str(Path(package) / file.relative_to(folder))
                    entry = zipfile.ZipInfo(name, _STAMP)
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(entry, file.read_bytes())
    return target


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package {package} to ship to Spark's executors")
    return Path(next(iter(spec.submodule_search_locations)))
