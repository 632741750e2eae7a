"""What an export has to write: the snapshot, the version's name by what it holds, and what is at the target already."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from qpipe_assets.exports.latest import Version, latest_version, manifest_named, names, version_named
from qpipe_assets.exports.manifest import DATA, LAYOUT, Increment, Manifest, Unit, folder_of
from qpipe_assets.exports.origin import own_tables, strange_tables
from qpipe_assets.exports.request import ExportRefusedError, ExportRequest, Format
from qpipe_assets.exports.selection import ChosenTable, Selection, Source, select
from qpipe_assets.exports.splits import SplitRule, SplitsRefusedError, divide, with_absent
from qpipe_assets.exports.target import ExportTarget
from qpipe_assets.tables.installation import Installation

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

    from qpipe_resources.lakehouse import Lakehouse

_DIGITS = 12


@dataclass(frozen=True)
class Plan:
    """An export before anything is written.

    Attributes:
        request: what was asked.
        selection: the snapshot.
        splits: molecules of each split.
        divided: the same with those that only earlier versions of these splits had.
        version: name of the version.
        created: when it was made, or is.
        base_url: that Iceberg's paths begin with.
        before: the version at the target that files are kept of.
        kept: sources by table and name whose files are there.
        facts: what Iceberg knows of these files, by path.
        is_complete: whether all of the version is there.
        present: bytes of the files at the target.
    """

    request: ExportRequest
    selection: Selection
    splits: dict[str, list[str]]
    divided: dict[str, list[str]]
    version: str
    created: dt.datetime
    base_url: str
    before: Version | None
    kept: dict[tuple[str, str], Unit]
    facts: dict[str, DataFile]
    is_complete: bool
    present: dict[str, int]

    @property
    def is_parquet(self) -> bool:
        """Whether the data files are Parquet, which versions share."""
        return self.request.format is Format.PARQUET

    @property
    def to_write(self) -> list[tuple[ChosenTable, Source]]:
        """Sources whose rows have to be written."""
        if self.is_complete:
            return []
        return [
            (table, source)
            for table in self.selection.tables
            for source in table.sources
            if source.rows and (table.name, source.name) not in self.kept
        ]

    @property
    def rows_to_write(self) -> int:
        """Rows of them."""
        return sum(source.rows for _, source in self.to_write)


def make_plan(installation: Installation, target: ExportTarget, request: ExportRequest, readers: int) -> Plan:
    """Look at both ends; writes nothing.

    Raises:
        UnknownVersionError: a table has no such version.
        ExportRefusedError: there is nothing to export, or what is at the target is not an export of these tables.
        SplitsRefusedError: molecules cannot be divided so.
    """
    latest = latest_version(target)
    known = latest.increment if latest else Increment()
    selection = select(installation.lakehouse, installation.ledger, request.tables, request.version, known, readers)
    if latest:
        _check_origin(target, latest.manifest, installation.lakehouse)
    splits, divided = _splits(request, selection, target)
    base_url = f"{request.base_url}/{target.dataset}" if request.base_url else target.url
    digest = _digest(request, selection, divided, base_url)
    begun = next((name for name in names(target) if name.endswith(f"-{digest}")), None)
    same = version_named(target, begun) if begun else None
    before = same or latest
    created = dt.datetime.fromisoformat(same.manifest.created_at) if same else dt.datetime.now(dt.UTC)
    version = begun or f"{created:%Y%m%dT%H%M%SZ}-{digest}"
    present = target.sizes(DATA) | target.sizes(folder_of(version))
    facts = _facts(target, before) if request.format is Format.PARQUET else {}
    return Plan(
        request,
        selection,
        splits,
        divided,
        version,
        created.replace(microsecond=0),
        base_url,
        before,
        _kept(before, selection, {path: size for path, size in present.items() if path in facts}),
        facts,
        same is not None and all(present.get(file.path) == file.bytes for file in same.manifest.files),
        present,
    )


def _check_origin(target: ExportTarget, latest: Manifest, lakehouse: Lakehouse) -> None:
    """An export that fell into another installation's dataset would make its own data the latest there."""
    own = own_tables(lakehouse, [latest])
    for table in strange_tables(latest, own):
        raise ExportRefusedError(
            f"{target.url} holds exports of another table {table.name} ({table.source_uuid}, here {own[table.name]}): "
            "choose another dataset or target, or empty that one"
        )


def _splits(
    request: ExportRequest, selection: Selection, target: ExportTarget
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The molecules of each split, those that are here and all that were ever divided so."""
    rule = request.splits
    if rule is None:
        return {}, {}
    if "" in selection.molecules:
        raise SplitsRefusedError(
            "some rows name no molecule (an adopted warehouse has such), so they belong to no split: export without "
            "splits, or adopt the warehouse with --rewrite"
        )
    before = _divided_before(target, rule)
    splits = divide(rule, selection.molecules, before)
    return splits, with_absent(splits, before)


def _divided_before(target: ExportTarget, rule: SplitRule) -> dict[str, str]:
    """Molecule -> split in all versions of the same shares and seed; what an older one says stays."""
    found: dict[str, str] = {}
    for name in sorted(names(target)):
        manifest = manifest_named(target, name)
        earlier = manifest.split_rule if manifest else None
        if manifest and earlier and (earlier.shares, earlier.seed) == (rule.shares, rule.seed):
            divided = manifest.divided or manifest.splits
            there = {molecule: split for split, members in divided.items() for molecule in members}
            # One that was put somewhere by name, and is not any more, is divided anew.
            found = {m: split for m, split in there.items() if m not in earlier.molecules} | found
    return found


def _digest(request: ExportRequest, selection: Selection, divided: dict[str, list[str]], base_url: str) -> str:
    """Of what a version holds: the same for the same rows, in whatever files they lie."""
    content = {
        "layout": LAYOUT,
        "format": request.format,
        "license": request.license,
        "base_url": base_url,
        "splits": divided,
        "tables": [[table.name, table.schema_digest, table.rows, table.batches] for table in selection.tables],
    }
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def _facts(target: ExportTarget, before: Version | None) -> dict[str, DataFile]:
    """What Iceberg knows of the data files of a version, by path; of a table whose metadata is damaged, nothing."""
    from qpipe_assets.exports.iceberg_metadata import data_files_of

    if before is None:
        return {}
    base = f"{before.manifest.base_url}/"
    found: dict[str, DataFile] = {}
    for entry in before.manifest.tables:
        if entry.iceberg is None:
            continue
        folder = f"{folder_of(before.manifest.version)}iceberg/{entry.name}/"
        documents = [file for file in before.manifest.documents if file.path.startswith(folder)]
        contents = {file: target.find(file.path) or b"" for file in documents}
        if all(sha256(content).hexdigest() == file.sha256 for file, content in contents.items()):
            at = {base + file.path: content for file, content in contents.items()}
            found |= {f.file_path.removeprefix(base): f for f in data_files_of(f"{base}{entry.iceberg}", at)}
    return found


def _kept(before: Version | None, selection: Selection, present: dict[str, int]) -> dict[tuple[str, str], Unit]:
    """The sources whose files are at the target as they would be written again."""
    kept: dict[tuple[str, str], Unit] = {}
    for table in selection.tables:
        earlier = before.increment.tables.get(table.name) if before else None
        if earlier is None or earlier.schema_digest != table.schema_digest:
            continue
        for source in table.sources:
            unit = earlier.units.get(source.name)
            if (
                unit is not None
                and (unit.parts, unit.left_out) == (source.parts, source.left_out)
                and sum(file.rows for file in unit.files) == source.rows
                and all(present.get(file.path) == file.bytes for file in unit.files)
            ):
                kept[table.name, source.name] = unit
    return kept
