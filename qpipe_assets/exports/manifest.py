"""What lies at the target and says what is there: manifest, bookkeeping of the next increment, pointer to the latest.

    <dataset>/latest.json                               names the version; replaced last
    <dataset>/versions/<version>/manifest.json          every file with bytes and SHA-256
    <dataset>/versions/<version>/README.md              the datasheet
    <dataset>/versions/<version>/increment.json         which source files the data files hold
    <dataset>/versions/<version>/iceberg/<table>/...    Iceberg metadata
    <dataset>/data/<table>/<molecule>-<SHA-256>.parquet shared by versions

All paths are relative to the dataset's folder.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from qpipe_assets.exports.splits import SplitRule

LAYOUT: Literal[1] = 1
LATEST = "latest.json"
VERSIONS = "versions/"
DATA = "data/"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)

    def as_json(self) -> bytes:
        """The text that is written."""
        return self.model_dump_json(indent=1).encode() + b"\n"


class StoredFile(_Model):
    """One file at the target."""

    path: str
    bytes: int
    sha256: str


class DataFileEntry(StoredFile):
    """One file with rows.

    Attributes:
        rows: that it holds, all tables of it together.
        molecule: of all its rows; None where it holds several, or rows that name none.
        split: that its rows belong to, if there are splits.
    """

    rows: int
    molecule: str | None = None
    split: str | None = None


class ColumnEntry(_Model):
    """One column: type as Iceberg writes it."""

    name: str
    type: str
    unit: str
    doc: str
    required: bool


class TableEntry(_Model):
    """One table of a version.

    Attributes:
        source_uuid: identity of the table it comes from.
        snapshot_id: version of it, as text (larger than what JSON readers hold exactly); None where it had no rows.
        tags: names of that snapshot.
        iceberg: path of the Iceberg metadata, where the format has it.
        files: with its rows; None where the files hold several tables.
    """

    name: str
    comment: str
    key: tuple[str, ...]
    source_uuid: str
    snapshot_id: str | None
    tags: tuple[str, ...]
    rows: int
    columns: tuple[ColumnEntry, ...]
    iceberg: str | None
    files: tuple[DataFileEntry, ...]


class Manifest(_Model):
    """One version of a dataset, complete when this file is there.

    Attributes:
        molecules: rows of each table by molecule; "" is rows that name none.
        splits: molecules of each split.
        split_rule: that made them.
        divided: `splits` with the molecules that earlier versions of the same shares and seed had and this one has
            not, so that they come back to their split when older versions are gone; empty where it was not written.
        batches: that all tables hold whole, and nothing else.
        batches_left_out: that only some of the tables had, and a later version takes.
        waiting: molecules that were at work when it was made, so that rows of theirs may be missing.
        base_url: that Iceberg's paths begin with.
        documents: the other files of the version.
    """

    layout: Literal[1] = LAYOUT
    dataset: str
    version: str
    created_at: str
    exported_by: str
    asked_version: str
    format: str
    license: str
    base_url: str
    tables: tuple[TableEntry, ...]
    molecules: dict[str, dict[str, int]]
    splits: dict[str, list[str]]
    split_rule: SplitRule | None
    divided: dict[str, list[str]] = {}
    batches: int
    batches_left_out: tuple[str, ...]
    waiting: tuple[str, ...] = ()
    documents: tuple[StoredFile, ...]

    @property
    def data_files(self) -> list[DataFileEntry]:
        """The files with rows, each once."""
        return list({file.path: file for table in self.tables for file in table.files}.values())

    @property
    def files(self) -> list[StoredFile]:
        """All files but the manifest itself."""
        return [*self.data_files, *self.documents]


class Latest(_Model):
    """Which version is the latest."""

    dataset: str
    version: str
    manifest: str
    sha256: str


class Part(_Model):
    """How many rows of a source file a batch and a molecule have; "" stands for none named."""

    batch: str
    molecule: str
    rows: int


class Unit(_Model):
    """One source file, and the data files that were made of it without the batches that were left out."""

    parts: tuple[Part, ...]
    left_out: tuple[str, ...]
    files: tuple[DataFileEntry, ...]


class TableIncrement(_Model):
    """A table's source files as they were written.

    Attributes:
        schema_digest: of the columns that the data files have.
        units: by name of the source file.
    """

    schema_digest: str
    units: dict[str, Unit]


class Increment(_Model):
    """What the next version need not read and write again."""

    tables: dict[str, TableIncrement] = {}


def folder_of(version: str) -> str:
    """The folder of a version."""
    return f"{VERSIONS}{version}/"


def manifest_path(version: str) -> str:
    """Where the manifest of a version lies."""
    return f"{folder_of(version)}manifest.json"


def increment_path(version: str) -> str:
    """Where the bookkeeping of a version lies."""
    return f"{folder_of(version)}increment.json"
