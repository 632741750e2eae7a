"""What an export is asked to hold; refused here, before any work, where it cannot be."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from qpipe_assets.exports.splits import SplitRule
from qpipe_assets.tables import schemas

_BASE = re.compile(r"[a-z][a-z0-9+.-]*://[^?#%]*[^?#%/]")


class ExportRefusedError(ValueError):
    """An export that cannot be made as asked; names the value, what is expected and what to do."""


class Format(enum.StrEnum):
    """Form of the data files."""

    PARQUET = "parquet"
    CSV = "csv"
    HDF5 = "hdf5"


@dataclass(frozen=True)
class ExportRequest:
    """What to export.

    Attributes:
        tables: names of the tables.
        format: of the data files; only Parquet has Iceberg metadata.
        version: tag, batch or moment of the tables; what is current when None.
        splits: how molecules are divided, if they are.
        license: licence of the data.
        base_url: where the target will be read, for the absolute paths of Iceberg; where it is written when empty.
    """

    tables: tuple[str, ...] = schemas.ML_NAMES
    format: Format = Format.PARQUET
    version: str | None = None
    splits: SplitRule | None = None
    license: str = ""
    base_url: str = ""

    def __post_init__(self) -> None:
        known = schemas.names(schemas.ALL)
        if unknown := [name for name in self.tables if name not in known]:
            raise ExportRefusedError(f"there is no table {', '.join(unknown)}; expected some of {', '.join(known)}")
        if not self.tables or len(set(self.tables)) < len(self.tables):
            raise ExportRefusedError(f"tables {list(self.tables)!r}: expected at least one, each named once")
        if self.base_url and not _BASE.fullmatch(self.base_url):
            raise ExportRefusedError(
                f"base URL {self.base_url!r}: expected scheme://place without ?, #, % and without a slash at the end, "
                "as in s3://bucket/prefix or file:///data/exports"
            )
        if self.base_url and self.format is not Format.PARQUET:
            raise ExportRefusedError(
                f"a base URL is for Iceberg's paths, which format {self.format} has not: leave it out"
            )
        if self.version is not None and self.version.isdigit() and len(self.tables) > 1:
            raise ExportRefusedError(
                f"version {self.version} is a snapshot id, which one table has: name a tag, a batch or a moment, or "
                "export one table"
            )
