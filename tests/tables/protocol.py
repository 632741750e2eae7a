"""What the protocol tests share: raw objects, a table's content, and what must hold of every installation at rest."""

from __future__ import annotations

import functools
import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.object_store import ObjectStore
from qpipe_resources.settings import Settings
from tests.synthetic import plain_record

Content = dict[str, list[dict[str, Any]]]
Trial = Callable[[Path, random.Random], None]

_OF_THE_BATCH = ("processing_timestamp", "processing_date", "processing_batch_id")
_SMALL = {"evaluations": 4, "parameters": 2, "terms": 3}


def record_bytes(number: int, molecule: str = "H2") -> bytes:
    """A small record as JSON."""
    return json.dumps(plain_record(number, molecule, **_SMALL)).encode()


def land(store: ObjectStore | Installation, numbers: Iterable[int], molecule: str = "H2", name: str = "run") -> None:
    """Put the records with these numbers where qpipe itself would put them."""
    target = store.store if isinstance(store, Installation) else store
    for number in numbers:
        key = f"experiments/experiment.vqe/molecule={molecule}/year=2026/month=11/day=21/{name}-{number}.json"
        target.put(key, record_bytes(number, molecule))


def content(installation: Installation, tables: Iterable[str] = schemas.NORMALIZED_NAMES) -> Content:
    """All rows of the tables in the order of their keys, without what depends on the batch."""
    found: Content = {}
    for name in tables:
        rows: pa.Table = installation.lakehouse.arrow(name)
        rows = rows.drop_columns([column for column in _OF_THE_BATCH if column in rows.column_names])
        found[name] = rows.sort_by([(key, "ascending") for key in schemas.table(name).key]).to_pylist()
    return found


def h2(*numbers: int) -> frozenset[tuple[str, int]]:
    """These records of H2, as `undisturbed` takes them."""
    return frozenset(("H2", number) for number in numbers)


def snapshots(installation: Installation) -> dict[str, list[int]]:
    """Ids of the snapshots of every table."""
    return {
        table.name: [snapshot.snapshot_id for snapshot in installation.lakehouse.load(table.name).snapshots()]
        for table in schemas.ALL
    }


@functools.cache
def undisturbed(objects: frozenset[tuple[str, int]], *, ml: bool = False) -> Content:
    """What the tables hold after one undisturbed ingest of these records, given as (molecule, number)."""
    with tempfile.TemporaryDirectory() as folder:
        installation = open_installation(settings_in(Path(folder)))
        for molecule, number in sorted(objects):
            land(installation, [number], molecule)
        for molecule in sorted({molecule for molecule, _ in objects}):
            installation.ingest().run(molecule)
            if ml:
                installation.ml_features().run(molecule)
        return content(installation, (*schemas.NORMALIZED_NAMES, *(schemas.ML_NAMES if ml else ())))


def settings_in(folder: Path, **values: Any) -> Settings:
    """Settings of an installation below `folder`."""
    return Settings(home=folder / "home", dagster_home=folder / "dagster", **values)


def assert_at_rest(installation: Installation, molecules: Iterable[str] = ("H2",)) -> None:
    """Nothing is left open, no key occurs twice, every retained snapshot has one tag, the audit tells the truth."""
    for info in installation.store.list_objects("staging/"):
        # A process that died before it claimed what it staged leaves a file, which is swept a day later.
        batch = info.key.removeprefix("staging/").partition(".")[0]
        assert installation.ledger.batch_state(batch) is None, f"{info.key} of a finished batch"
    for molecule in molecules:
        assert installation.ledger.open_batches(molecule) == []
        assert installation.ledger.open_rebuild(molecule) is None
    stored = {name: installation.lakehouse.arrow(name) for name in schemas.names(schemas.ALL)}
    for table in schemas.ALL:
        assert_one_tag_per_snapshot(installation, table.name)
        rows = stored[table.name].select(list(table.key)).to_pylist()
        twice = [key for key, count in Counter(tuple(row.values()) for row in rows).items() if count > 1]
        assert twice == [], f"{table.name} holds keys twice"
    assert_audit_tells_the_truth(stored)


def assert_one_tag_per_snapshot(installation: Installation, name: str) -> None:
    """Every retained snapshot of the table has exactly one tag."""
    table = installation.lakehouse.load(name)
    tagged = Counter(ref.snapshot_id for ref in table.refs().values() if ref.snapshot_ref_type == "tag")
    assert tagged == Counter(snapshot.snapshot_id for snapshot in table.snapshots()), name


def assert_audit_tells_the_truth(stored: Mapping[str, pa.Table]) -> None:
    """Each batch that has rows, and is not withdrawn, has one audit row with the right counts."""
    audit = {row["processing_batch_id"]: row for row in stored["processing_metadata"].to_pylist()}
    for name in schemas.NORMALIZED_NAMES:
        column = stored[name].column("processing_batch_id").to_pylist()
        for batch, rows in Counter(column).items():
            position = audit[batch]["table_names"].index(name)
            assert audit[batch]["record_counts"][position] == rows, (name, batch)


def run_trials(trial: Trial, count: int, first_seed: int, enough: Callable[[], bool] = lambda: True) -> None:
    """Run a randomized trial in `count` fresh folders, two at a time; a failure names its seed.

    The trials' work is done by processes, so two threads keep two cores busy. Chance may leave them without what they
    are to show: they go on until there is `enough` of it, up to three times as many.
    """

    def attempt(seed: int) -> str | None:
        folder = Path(tempfile.mkdtemp(prefix=f"trial-{seed}-"))
        try:
            trial(folder, random.Random(seed))
        except Exception as error:
            return f"seed {seed}: {type(error).__name__}: {error}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return None

    done, last = first_seed, first_seed + 3 * count
    upto, failures = first_seed + count, list[str]()
    with ThreadPoolExecutor(2) as pool:
        while done < upto:
            failures += [line for line in pool.map(attempt, range(done, upto)) if line is not None]
            done, upto = upto, upto if failures or enough() else min(upto + 2, last)
    assert not failures, "\n".join([f"{len(failures)} of {done - first_seed} trials failed", *failures])
