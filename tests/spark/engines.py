"""What the tests of the two engines share: a source around an open session, and objects of every kind."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from qpipe_assets.tables.installation import Installation
from qpipe_resources.serialization import to_avro_container
from qpipe_resources.spark.session import SparkDriver
from simulation.record import VQEDecoratedResult
from tests.synthetic import plain_record
from tests.tables.protocol import Content, record_bytes

FOLDER = "experiments/experiment.vqe/"
MOLECULES = ("H2", "HeH+", "LiH")


class OpenSession:
    """A SparkSource whose session is open."""

    def __init__(self, driver: SparkDriver) -> None:
        self._driver = driver

    def require(self) -> None:
        """Nothing is missing."""

    def open(self) -> SparkDriver:
        return self._driver


def on_spark(installation: Installation, driver: SparkDriver) -> Installation:
    """The same installation, computed by Spark."""
    return replace(installation, spark=OpenSession(driver))


@functools.cache
def objects() -> dict[str, bytes]:
    """Sixty objects: qpipe's own runs, foreign records, JSON of several lines, Avro containers, broken, redelivered."""
    made = dict(_real_runs())
    made |= {f"{FOLDER}{number}-1763683200000000000.json": _foreign(number) for number in range(12)}
    made |= {
        f"{FOLDER}year=2026/month=11/day=21/lines-{first}.json": b"\n".join(map(_foreign, range(first, first + 3)))
        for first in (20, 30, 40, 50)
    }
    made |= {
        f"experiments/vqe_decorated_result_v1/partition=0/vqe_decorated_result_v1+0+{first}.avro": _avro(first)
        for first in (60, 70, 80, 90)
    }
    made |= {f"{FOLDER}molecule=H2/broken-{length}.json": _foreign(0)[:length] for length in (0, 1, 100, 1000)}
    # What was delivered above, under names that come last; and within one object twice.
    redelivered = sorted(key for key in made if "broken" not in key)[:32:4]
    made |= {f"{FOLDER}molecule={_molecule(made[key])}/z-{n}.json": made[key] for n, key in enumerate(redelivered)}
    made[f"{FOLDER}molecule=H2/zz-twice.json"] = _foreign(100) + b"\n" + _foreign(100)
    return made


def _real_runs() -> Iterator[tuple[str, bytes]]:
    from simulation.molecules import catalogue
    from simulation.options import VQEOptions
    from simulation.runner import VQERunner

    random_start: dict[str, Any] = {"ansatz": "EfficientSU2", "init_strategy": "random", "max_iterations": 6}
    for molecule, count in zip(MOLECULES, (16, 8, 4), strict=True):
        for number in range(count):
            options = VQEOptions(**random_start, seed=number) if number else VQEOptions()
            (record,) = VQERunner(molecules=[catalogue()[molecule]], options=options).run()
            name = f"{FOLDER}molecule={molecule}/year=2026/month=11/day=21/{record.experiment_id}.json"
            yield name, record.model_dump_json().encode()


def _foreign(number: int) -> bytes:
    """A record of another writer; every fourth one has a single evaluation."""
    return json.dumps(plain_record(number, evaluations=12 if number % 4 else 1)).encode()


def _avro(first: int) -> bytes:
    return to_avro_container(
        VQEDecoratedResult.model_validate_json(record_bytes(number)) for number in range(first, first + 3)
    )


def _molecule(data: bytes) -> str:
    symbols = json.loads(data.splitlines()[0])["molecule"]["molecule_data"]["symbols"]
    return {"H": "H2", "e": "HeH+", "i": "LiH"}[symbols[0][-1]]


def assert_close(got: Content, expected: Content, where: str = "") -> None:
    """The same rows in the same order; numbers to a billionth, everything else exactly."""
    assert got.keys() == expected.keys()
    for name, rows in expected.items():
        assert len(got[name]) == len(rows), (where, name)
        for mine, theirs in zip(got[name], rows, strict=True):
            for column, value in theirs.items():
                if isinstance(value, float):
                    assert math.isclose(mine[column], value, rel_tol=1e-9, abs_tol=1e-12), (where, name, column)
                else:
                    assert mine[column] == value, (where, name, column)
