"""Staging: the decoded records of a batch, kept from before its claim until it is done; in one part or several.

staging/<batch>.arrow        what one process decoded
staging/<batch>.<n>.arrow    what one of many decoded; where two parts hold one experiment, the earlier part counts
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from qpipe_assets.tables.decode import Decoded
from qpipe_assets.tables.ledger import Ledger
from qpipe_assets.tables.ledger_tables import DONE, SUPERSEDED, Batch
from qpipe_resources.object_store import ObjectStore
from qpipe_resources.serialization import arrow_schema

FOLDER = "staging/"
_ENDING = ".arrow"
_PART_DIGITS = 6
_ORPHAN_AGE = dt.timedelta(days=1)
"""What no batch claimed is left alone this long: its owner may be about to claim it."""
_PIECE_BYTES = 2 * 1024 * 1024
"""Arrow bytes of records that are flattened together: of iteration_parameters they become thirty times as many."""
_ROWS_AT_ONCE = 8
"""Records held as Python's objects, which for a long run take a megabyte each."""


class StagingLostError(RuntimeError):
    """The staging files of an open batch are gone; only a rebuild of the molecule can help."""


class Staging:
    """The staging files of one store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put(self, batch_id: str, records: Iterable[Decoded], part: int | None = None) -> bool:
        """Keep records durably; of one experiment the first counts.

        Args:
            batch_id: The batch that is about to be claimed.
            records: Read one at a time, and held as Arrow.
            part: Position among the parts of the batch; None where there is one.

        Returns:
            Whether there were any; otherwise nothing is kept.
        """
        data = _to_ipc(_batches(_rows(records)))
        if data is not None:
            self._store.put(part_key(batch_id, part), data)
        return data is not None

    def parts(self, batch_id: str) -> list[str]:
        """Keys of the batch's files, in order."""
        mine = f"{FOLDER}{batch_id}."
        found = self._store.list_objects(FOLDER, recursive=False, after=mine)
        return [info.key for info in _while_starting(found, mine)]

    def load(self, key: str) -> pa.Table:
        """One part's records, in the record's Arrow schema.

        Raises:
            ObjectMissingError: it is gone.
        """
        staged = pa.ipc.open_file(pa.BufferReader(self._store.get(key).data)).read_all()
        if staged.schema != arrow_schema():
            # Staged by another version of qpipe: fields that it did not know are null.
            staged = pa.Table.from_pylist(staged.to_pylist(), schema=arrow_schema())
        return staged

    def experiments(self, key: str) -> list[str]:
        """The experiments of one part. Raises as `load`."""
        return experiments_of(self.load(key))

    def delete(self, batch_id: str) -> None:
        """Remove the batch's files."""
        for key in self.parts(batch_id):
            self._store.delete(key)

    def sweep(self, ledger: Ledger) -> None:
        """Delete what belongs to finished and withdrawn batches, and what no batch ever claimed once it is old."""
        states: dict[str, str | None] = {}
        for info in self._store.list_objects(FOLDER):
            batch_id = info.key.removeprefix(FOLDER).partition(".")[0]
            if batch_id not in states:
                states[batch_id] = ledger.batch_state(batch_id)
            orphaned = states[batch_id] is None and dt.datetime.now(dt.UTC) - info.modified > _ORPHAN_AGE
            if states[batch_id] in (DONE, SUPERSEDED) or orphaned:
                self._store.delete(info.key)


def part_key(batch_id: str, part: int | None) -> str:
    """Key of a part; keys in order are parts in order."""
    return f"{FOLDER}{batch_id}{_ENDING}" if part is None else f"{FOLDER}{batch_id}.{part:0{_PART_DIGITS}d}{_ENDING}"


def owned(held: Mapping[str, Sequence[str]], experiments: set[str], batch: Batch) -> dict[str, set[str]]:
    """Which part gives which of the batch's experiments, each once.

    Args:
        held: Each part's key with its experiments, parts in order.
        experiments: The batch's, as the ledger has them.
        batch: Whose they are.

    Raises:
        StagingLostError: an experiment is in no part.
    """
    missing = set(experiments)
    owners: dict[str, set[str]] = {}
    for key, ids in held.items():
        owners[key] = missing.intersection(ids)
        missing -= owners[key]
    if missing:
        raise StagingLostError(
            f"batch {batch.batch_id} of {batch.molecule} is open, but {len(missing)} of its {len(experiments)} "
            f"experiments are in none of its {len(held)} staging files ({FOLDER}{batch.batch_id}.*): rebuild "
            f"{batch.molecule} from its raw objects"
        )
    return owners


def experiments_of(staged: pa.Table) -> list[str]:
    """The experiment of each record."""
    return list(staged.column("experiment_id").to_pylist())


def only(staged: pa.Table, experiments: set[str]) -> pa.Table:
    """The records of these experiments."""
    return staged.filter(pa.array([identity in experiments for identity in experiments_of(staged)]))


def pieces(staged: pa.Table) -> Iterator[pa.Table]:
    """The records as they were staged together, so that their rows in the largest table fit into memory."""
    return (pa.Table.from_batches([batch]) for batch in staged.to_batches())


def _while_starting(found: Iterable[Any], prefix: str) -> Iterator[Any]:
    for info in found:
        if not info.key.startswith(prefix):
            return
        yield info


def _rows(records: Iterable[Decoded]) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for record in records:
        if record.experiment_id not in seen:
            seen.add(record.experiment_id)
            yield record.row | {"experiment_id": record.experiment_id}


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Rows as record batches, each of some megabytes."""
    held: list[pa.RecordBatch] = []
    while few := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        held.append(pa.RecordBatch.from_pylist(few, schema=arrow_schema()))
        if sum(batch.nbytes for batch in held) >= _PIECE_BYTES:
            yield pa.concat_batches(held)
            held = []
    if held:
        yield pa.concat_batches(held)


def _to_ipc(batches: Iterator[pa.RecordBatch]) -> bytes | None:
    first = next(batches, None)
    if first is None:
        return None
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, first.schema) as writer:
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()
