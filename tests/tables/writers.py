"""What the tests of concurrent writers share: objects of many molecules, their writers, what must come of it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence

import pyarrow as pa

from qpipe_assets.tables import schemas
from qpipe_assets.tables.decode import decode
from qpipe_assets.tables.flatten import BatchConstants, flatten
from qpipe_assets.tables.installation import Installation
from qpipe_resources.object_store import ObjectStore
from qpipe_resources.serialization import arrow_schema
from qpipe_resources.settings import Settings
from simulation.molecules import partition_key_of
from tests.crash_worker import Worker
from tests.synthetic import plain_record
from tests.tables.protocol import Content, assert_at_rest, content
from tests.tables.test_kills import work_and_kill

_HYDRIDES = "Li Be B C N O F Na Mg Al Si P S Cl K Ca Sc Ti V Cr".split()
DIFFERENT = {partition_key_of([symbol, "H"]): [symbol, "H"] for symbol in _HYDRIDES}
"""Partition key -> symbols of twenty molecules."""
SHARED = "H2"
WRITERS = [*DIFFERENT, *[SHARED] * 4]
"""The molecule of each writer."""
_ALL = DIFFERENT | {SHARED: ["H", "H"]}


def _record(number: int, symbols: list[str]) -> bytes:
    record = plain_record(number, evaluations=3, parameters=2, terms=2)
    record["molecule"]["molecule_data"]["symbols"] = symbols
    return json.dumps(record).encode()


def land_all(store: ObjectStore, numbers: Sequence[int]) -> None:
    """Put records with these numbers for every molecule, each under two names, as a redelivery leaves them."""
    for molecule, symbols in _ALL.items():
        for number in numbers:
            for name in ("first", "again"):
                key = f"experiments/experiment.vqe/molecule={molecule}/year=2026/month=11/day=21/{name}-{number}.json"
                store.put(key, _record(number, symbols))


def write_at_once(settings: Settings) -> None:
    """Let all WRITERS ingest at once, each in a process of its own; fails when one of them does."""
    workers = [Worker(settings, [("ingest", molecule)]) for molecule in WRITERS]
    work_and_kill(workers, [None] * len(workers))


def assert_all_rows_once(installation: Installation, numbers: Sequence[int]) -> None:
    """The tables hold every row of every record once, and nothing is left open."""
    assert content(installation) == _flattened(numbers)
    assert_at_rest(installation, _ALL)


def _flattened(numbers: Sequence[int]) -> Content:
    """What the kernels make of the records, without any protocol around them."""
    found: Content = {}
    for table in schemas.NORMALIZED:
        parts = []
        for molecule, symbols in _ALL.items():
            decoded = [record for number in numbers for record in decode(_record(number, symbols))]
            rows = [record.row | {"experiment_id": record.experiment_id} for record in decoded]
            staged = pa.Table.from_pylist(rows, schema=arrow_schema())
            parts.append(flatten(staged, table.name, BatchConstants("", dt.datetime.now(dt.UTC), molecule)))
        of_the_batch = ["processing_timestamp", "processing_date", "processing_batch_id"]
        together = pa.concat_tables(parts).drop_columns(of_the_batch)
        found[table.name] = together.sort_by([(key, "ascending") for key in table.key]).to_pylist()
    return found
