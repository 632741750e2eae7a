"""What is at the target already: the latest version, and versions by what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from qpipe_assets.exports.manifest import LATEST, VERSIONS, Increment, Latest, Manifest, increment_path, manifest_path
from qpipe_assets.exports.request import ExportRefusedError
from qpipe_assets.exports.target import ExportTarget

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Version:
    """A version that is complete at the target, with what the next one need not do again."""

    manifest: Manifest
    increment: Increment


def latest_version(target: ExportTarget) -> Version | None:
    """The version that latest.json names, None where nothing was exported yet.

    Raises:
        ExportRefusedError: latest.json is not ours, or its manifest is not what it names.
    """
    text = target.find(LATEST)
    if text is None:
        return None
    remedy = f"mend or remove {target.url}/{LATEST} (then everything is written anew), or choose another dataset"
    latest = _parsed(Latest, text, f"{target.url}/{LATEST}", remedy)
    manifest = target.find(latest.manifest)
    if manifest is None or sha256(manifest).hexdigest() != latest.sha256:
        what = "is missing" if manifest is None else "was changed since"
        raise ExportRefusedError(f"{target.url}/{latest.manifest}, which {LATEST} names, {what}: {remedy}")
    return _version(target, _parsed(Manifest, manifest, f"{target.url}/{latest.manifest}", remedy))


def version_named(target: ExportTarget, version: str) -> Version | None:
    """A version by its name, None where it is not complete."""
    manifest = manifest_named(target, version)
    return _version(target, manifest) if manifest else None


def manifest_named(target: ExportTarget, version: str) -> Manifest | None:
    """What a version says of itself, None where it is not complete."""
    text = target.find(manifest_path(version))
    where = f"{target.url}/{manifest_path(version)}"
    return None if text is None else _parsed(Manifest, text, where, f"remove {where}")


def names(target: ExportTarget) -> list[str]:
    """Versions that were begun, complete or not."""
    return target.folders(VERSIONS)


def point_to(target: ExportTarget, manifest: Manifest) -> None:
    """Make a complete version the latest: one file, replaced at once."""
    path = manifest_path(manifest.version)
    digest = sha256(target.read(path)).hexdigest()
    latest = Latest(dataset=manifest.dataset, version=manifest.version, manifest=path, sha256=digest)
    if target.find(LATEST) != latest.as_json():
        target.write(LATEST, latest.as_json())


def _version(target: ExportTarget, manifest: Manifest) -> Version:
    path = increment_path(manifest.version)
    increment = target.find(path)
    # Without it a version is whole; the next one is only dearer.
    where = f"{target.url}/{path}"
    return Version(manifest, _parsed(Increment, increment, where, "remove it") if increment else Increment())


def _parsed(model: type[_Model], text: bytes, where: str, remedy: str) -> _Model:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise ExportRefusedError(
            f"{where} is no {model.__name__.lower()} of an export ({first['msg']}): {remedy}"
        ) from None
