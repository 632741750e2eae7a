"""What an engine does for the tables: decode and stage objects, make a batch's rows, compute the ML tables.

The protocol around it (claims, commits, tags, rebuilds) is the same for every engine and knows none of them: ingest.py
and ml_features.py. So a batch that one engine has begun can be finished by another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from qpipe_assets.tables.ledger_tables import Batch, Candidate, TableCommit
from qpipe_resources.object_store import ObjectInfo

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable

    from qpipe_resources.data_files import Written


@dataclass(frozen=True)
class Refusal:
    """Why an object is no record; `copy` tells whether its content is worth keeping in the quarantine."""

    reason: str
    copy: bool = True


@dataclass(frozen=True)
class Examined:
    """What came of one object: the experiments that it offers, or why it offers none.

    `info` has the etag of the content that was read. `postponed` says why it could not be read this time.
    """

    info: ObjectInfo
    candidates: tuple[Candidate, ...] = ()
    refused: Refusal | None = None
    postponed: str | None = None


class BatchRows(Protocol):
    """The rows of one batch, for the tables that they were asked for."""

    def write(self, name: str, table: IcebergTable) -> Written:
        """Write the rows of one of the nine tables as data files of the table as it was loaded."""


class FeatureRows(Protocol):
    """The rows of one batch for one ML table."""

    @property
    def source_rows(self) -> int:
        """Rows of the table that they follow, one for one or fewer."""

    @property
    def rows(self) -> int:
        """How many they are."""

    def write(self, table: IcebergTable) -> Written:
        """Write them as data files of the table as it was loaded."""


class TableEngine(Protocol):
    """One way to compute; see the embedded engine (embedded_engine.py)."""

    batch_bytes: int
    """Bytes of objects that one batch should hold."""

    def stage(self, molecule: str, batch_id: str, objects: Sequence[ObjectInfo]) -> list[Examined]:
        """Read objects, and keep the records of those that can be used in staging files, durably.

        Returns:
            What came of each object, in order, and of each record that was set apart of one.
        """

    def rows(self, batch: Batch, experiments: set[str], names: Sequence[str]) -> BatchRows:
        """The batch's rows, from its staging files alone.

        Args:
            batch: An open batch.
            experiments: Those that it has claimed.
            names: The tables that may be asked for.

        Raises:
            ObjectMissingError, StagingLostError: staging files are gone.
        """

    def features(self, name: str, batch: Batch, commits: Mapping[str, TableCommit]) -> FeatureRows:
        """The batch's rows for an ML table, by the table's SQL over the batch's rows in its sources.

        Args:
            name: The ML table.
            batch: A finished batch.
            commits: What the batch did to the sources.
        """
