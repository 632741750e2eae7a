"""Python calls spread over Spark's executors, one a task, on every kind of master; Spark repeats those it loses."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from qpipe_resources.object_store import ObjectMissingError, StoreRefusedError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

Result = TypeVar("Result")

_ANSWERS = (ObjectMissingError, StoreRefusedError)
"""Errors that another attempt cannot mend; of all others Spark makes as many as `spark.task.maxFailures` says."""


def spread(session: SparkSession, work: Callable[[int], Result], count: int) -> list[Result]:
    """Call `work` with each number from 0 to `count - 1` on the executors.

    A call may be made more than once, and by two executors at a time: one of them counts.

    Args:
        session: whose executors.
        work: can be pickled, and so can what it returns.
        count: how many calls, each a task.

    Returns:
        The results, in order.

    Raises:
        ObjectMissingError, StoreRefusedError: a call raised it.
        PythonException: a call raised another error in all its attempts.
    """
    if not count:
        return []

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyarrow import RecordBatch

        for batch in batches:
            for number in batch.column("id").to_pylist():
                yield RecordBatch.from_pylist([{"id": number, "answer": pickle.dumps(_answer(work, number))}])

    rows = session.range(0, count, 1, count).mapInArrow(run, "id long, answer binary").collect()
    answers = [pickle.loads(row.answer) for row in sorted(rows, key=lambda row: row.id)]
    for error, _ in answers:
        if error is not None:
            raise error
    return [result for _, result in answers]


def attempt() -> int:
    """How often Spark has begun the running task before; 0 outside of a task."""
    from pyspark import TaskContext

    context = TaskContext.get()
    return context.attemptNumber() if context is not None else 0


def _answer(work: Callable[[int], Result], number: int) -> tuple[Exception | None, Result | None]:
    try:
        return None, work(number)
    except _ANSWERS as error:
        return error, None
