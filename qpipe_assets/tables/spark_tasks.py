"""What the Spark engine's executors do: stage objects, tell what was staged, write data files.

A task holds everything that it needs and no secret; executors take the store's key from their environment.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe_assets.tables.engine import Examined
from qpipe_assets.tables.examination import examine
from qpipe_assets.tables.flatten import BatchConstants, flatten
from qpipe_assets.tables.garbage import rare_collections
from qpipe_assets.tables.staging import Staging, only, part_key, pieces
from qpipe_resources.object_store import ObjectInfo, ObjectStore
from qpipe_resources.spark.spread import attempt

if TYPE_CHECKING:
    import pyarrow as pa

    from qpipe_resources.data_files import WriteTarget, Written

_ATTEMPTS = 100
"""Numbers of parts kept for the attempts at one: none overwrites what another has staged, and may have reported."""


@dataclass(frozen=True)
class StagedPart:
    """What came of some objects, and the staging file of their records; None where there are none."""

    key: str | None
    examined: list[Examined]

    @property
    def experiments(self) -> list[str]:
        """Those that the file holds."""
        return [candidate.experiment_id for item in self.examined for candidate in item.candidates]


@dataclass(frozen=True)
class StageObjects:
    """Read and decode one of the chunks, and stage its records."""

    store: ObjectStore
    molecule: str
    batch_id: str
    chunks: Sequence[Sequence[ObjectInfo]]
    max_object_bytes: int

    @rare_collections()
    def __call__(self, number: int) -> StagedPart:
        """Do so with the chunk of this number."""
        examined: list[Examined] = []
        records = examine(self.store, self.molecule, self.chunks[number], self.max_object_bytes, examined)
        part = number * _ATTEMPTS + min(attempt(), _ATTEMPTS - 1)
        staged = Staging(self.store).put(self.batch_id, records, part)
        return StagedPart(part_key(self.batch_id, part) if staged else None, examined)


@dataclass(frozen=True)
class ReadExperiments:
    """Tell which experiments a staging file holds."""

    store: ObjectStore
    keys: Sequence[str]

    def __call__(self, number: int) -> list[str]:
        """Those of the file of this number."""
        return Staging(self.store).experiments(self.keys[number])


@dataclass(frozen=True)
class WriteStaged:
    """Flatten a staging file's records, and write the rows as data files of the tables."""

    store: ObjectStore
    parts: Sequence[tuple[str, set[str]]]
    """Each staging file with the experiments that it gives."""
    constants: BatchConstants
    targets: Mapping[str, WriteTarget]

    def __call__(self, number: int) -> dict[str, Written]:
        """What was written from the file of this number, by table."""
        key, experiments = self.parts[number]
        staged = only(Staging(self.store).load(key), experiments)
        return {
            name: target.write(flatten(piece, name, self.constants) for piece in pieces(staged))
            for name, target in self.targets.items()
        }


WRITTEN = "written binary"
"""What `writing` makes of the rows, as Spark declares it."""


def writing(target: WriteTarget, schema: pa.Schema) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What writes a partition's rows, brought into `schema`, and yields the pickled Written: for mapInArrow."""

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        held = list(batches)
        if held:
            rows = pa.Table.from_batches(held).select(schema.names).cast(schema)
            yield pa.RecordBatch.from_pylist([{"written": pickle.dumps(target.write([rows]))}])

    return write
