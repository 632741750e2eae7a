"""Reading from Python and notebooks: any table at any version as Arrow, pandas or Polars, and any run as its record.

from qpipe_assets.reading import open_lakehouse

lakehouse = open_lakehouse()
lakehouse.table("vqe_results").to_pandas()
lakehouse.table("vqe_results", as_of="v_incr_...").to_polars()
lakehouse.sql("select count(*) from vqe_results at (version => 'v_incr_...')")
lakehouse.diff("vqe_results", "v_incr_...", "now").change()
lakehouse.record("3f2a")
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.lakehouse_versions import Version

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from qpipe_resources.lakehouse_diff import TableDiff
    from simulation.record import VQEDecoratedResult

_PROVENANCE = ("processing_timestamp", "processing_date", "processing_batch_id", "processing_name")
"""Columns that tell which batch wrote a row, and nothing of the run."""


class UnknownExperimentError(LookupError):
    """No ingested experiment has this identity, or more than one starts with it."""


@dataclass(frozen=True)
class TableView:
    """One table at one version; read when it is converted."""

    name: str
    as_of: Version
    _installation: Installation

    def to_arrow(self) -> pa.Table:
        """All rows as Arrow."""
        return self._installation.lakehouse.arrow(self.name, self.as_of)

    def to_pandas(self) -> pd.DataFrame:
        """All rows as pandas (extra `notebook`)."""
        return self.to_arrow().to_pandas()

    def to_polars(self) -> pl.DataFrame:
        """All rows as Polars (extra `notebook`)."""
        import polars as pl

        frame = pl.from_arrow(self.to_arrow())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_dataset(self) -> Any:
        """The data files as a lazy Arrow dataset, for data that does not fit in memory."""
        return self._installation.lakehouse.dataset(self.name, self.as_of)


@dataclass(frozen=True)
class LakehouseReader:
    """What a reader needs of an installation."""

    installation: Installation

    @property
    def tables(self) -> list[str]:
        """Names of all tables."""
        return schemas.names(schemas.ALL)

    def table(self, name: str, as_of: Version = None) -> TableView:
        """A table now, or as of a tag (or batch id), a snapshot id, or a moment.

        Raises:
            KeyError: there is no such table.
        """
        return TableView(schemas.table(name).name, as_of, self.installation)

    def sql(self, query: str, as_of: Version = None) -> pa.Table:
        """Run a DuckDB query over the tables it names; one may have a version of its own.

        `t at (version => 'tag')`, `t at (timestamp => '2026-11-21')`; `as_of` is for the others. Count, minimum and
        maximum of a table or a partition come from Iceberg's manifests where these know them exactly.
        """
        # The record's numbers are finite; the ML tables' need not be: the slope of a run of one step is none.
        return self.installation.lakehouse.sql(query, self.tables, as_of, finite=schemas.NORMALIZED_NAMES)

    def diff(self, name: str, before: Version, after: Version = None) -> TableDiff:
        """What changed in a table between two versions, paired by the table's key.

        Raises:
            KeyError: there is no such table.
            UnknownVersionError: the table has no such version.
        """
        declared = schemas.table(name)
        provenance = [column for column in _PROVENANCE if column not in declared.key]
        return self.installation.lakehouse.diff(name, before, after, declared.key, provenance)

    def record(self, experiment_id: str) -> VQEDecoratedResult:
        """The record of an ingested run, from its raw object.

        Raises:
            UnknownExperimentError: no run or several runs match the identity or its first characters.
        """
        from qpipe_assets.tables.decode import records_of

        ledger = self.installation.ledger
        matching = ledger.experiment_ids(experiment_id)
        if len(matching) != 1:
            raise UnknownExperimentError(f"{len(matching)} ingested experiments start with {experiment_id!r}")
        claim = ledger.experiment(matching[0])
        assert claim is not None
        records = records_of(self.installation.store.get(claim["object_key"]).data)
        if matching[0] not in records:
            raise UnknownExperimentError(
                f"object {claim['object_key']} was overwritten since {matching[0]} was ingested from it; "
                "its rows are in the tables"
            )
        return records[matching[0]]


def open_lakehouse(home: str | Path | None = None) -> LakehouseReader:
    """Open the installation in the folder `home`, else the one the environment names (QPIPE_ENV, QPIPE_HOME)."""
    from qpipe_resources.settings import Settings, load_settings

    settings = load_settings()
    if home is not None:
        # Validated anew: not every path can be a home.
        settings = Settings(**settings.model_dump() | {"home": Path(home).expanduser().absolute(), "env": "local"})
    return LakehouseReader(open_installation(settings))
