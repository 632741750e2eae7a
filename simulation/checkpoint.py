"""Going on after a kill: a replay log of a run's evaluations.

Optimisers are deterministic, so the same run started again asks for the same evaluations in the same order. An engine
under `checkpointed` answers from the log while the parameters are the same bytes, and computes and appends after that:
the resumed run ends in the record of one that was never disturbed, timings aside. Where the parameters differ the rest
of the log is dropped, so the log can cost time but never give a wrong number.

The file: a magic line, then frames of length (uint32), CRC32 (uint32) and payload, little-endian. The first payload is
JSON that says whose log it is; each other one is an evaluation. A frame that a kill cut off ends the log.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import struct
import time
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from simulation import provenance
from simulation.engines.base import Engine, Evaluation

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
SYNC_SECONDS = 1.0
"""Longest work that a kill can cost, and how often the disk is waited for; shorter runs never touch it."""

_LOGGER = logging.getLogger(__name__)
_MAGIC = b"qpipe evaluations\n"
_FRAME = struct.Struct("<II")
_NUMBERS = struct.Struct("<BBxxIddd")
"""Kind, whether there is a variance, number of parameters, energy, variance, standard error."""

_ENERGY, _GRADIENT = 0, 1

AnyEngine = TypeVar("AnyEngine", bound=Engine)


class CheckpointError(RuntimeError):
    """The log belongs to another experiment, or to a process that is at work on it."""


@contextmanager
def checkpointed(
    engine: AnyEngine, path: Path, experiment_id: str, *, problem: str = "", sync_seconds: float = SYNC_SECONDS
) -> Iterator[AnyEngine]:
    """The engine with its evaluations logged to a file and answered from it.

    The file stays when the block ends: remove it when the record is safe.

    Args:
        engine: Not used before in this run.
        path: The log, one for each experiment; it and its folder are made when the run takes longer than a sync.
        experiment_id: Whose log it is.
        problem: What else the numbers depend on (a digest of the Hamiltonian); a log of another problem is not used.
        sync_seconds: How often new evaluations are written through to the disk.

    Raises:
        CheckpointError: the file is another experiment's, or another process is using it.
        OSError: the file cannot be read or written.
    """
    log = _Log(path, _owner(engine, experiment_id, problem), sync_seconds)
    try:
        yield cast(AnyEngine, _LoggedEngine(engine, log))
    finally:
        log.close()


def _owner(engine: Engine, experiment_id: str, problem: str) -> dict[str, Any]:
    """What must be equal for logged numbers to be this run's."""
    return {
        "format": FORMAT,
        "experiment_id": experiment_id,
        "problem": problem,
        "engine": engine.name,
        "backend": engine.backend,
        "device": engine.device,
        "versions": json.loads(provenance.versions()),
    }


class _LoggedEngine:
    """An engine that looks into the log first; everything else it has is the engine's, its class included."""

    def __init__(self, engine: Engine, log: _Log) -> None:
        self._engine = engine
        self._log = log

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # what isinstance asks
        return type(self._engine)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def energy(self, parameters: NDArray[np.float64]) -> Evaluation:
        """See `Engine.energy`."""
        return self._evaluation(_ENERGY, parameters)

    def energy_and_gradient(self, parameters: NDArray[np.float64]) -> Evaluation:
        """See `Engine.energy_and_gradient`."""
        return self._evaluation(_GRADIENT, parameters)

    def _evaluation(self, kind: int, parameters: NDArray[np.float64]) -> Evaluation:
        asked = np.ascontiguousarray(parameters, dtype="<f8").tobytes()
        known = self._log.replay(kind, asked)
        if known is not None:
            self._engine.skip(1, kind)
            return known
        compute = self._engine.energy_and_gradient if kind == _GRADIENT else self._engine.energy
        evaluation = compute(parameters)
        self._log.append(_encoded(kind, asked, evaluation))
        return evaluation


@dataclass(frozen=True)
class _Entry:
    """A logged evaluation, and where its frame ends in the file."""

    kind: int
    parameters: bytes
    evaluation: Evaluation
    end: int


class _Log:
    """The file: what is left to replay, what waits to be written, and where that goes."""

    def __init__(self, path: Path, owner: dict[str, Any], sync_seconds: float) -> None:
        self._path = path
        self._owner = owner
        self._sync_seconds = sync_seconds
        self._pending = bytearray()
        self._replay: deque[_Entry] = deque()
        self._end = 0
        self._synced = time.monotonic()
        self._file = _locked(path, create=False)
        if self._file is not None:
            try:
                self._read(self._file.read())
            except BaseException:
                self._file.close()
                raise

    def replay(self, kind: int, parameters: bytes) -> Evaluation | None:
        """The next logged evaluation if it is the one asked for."""
        if not self._replay:
            return None
        entry = self._replay[0]
        if (entry.kind, entry.parameters) != (kind, parameters):
            _LOGGER.warning(
                "%s: the run asks for other parameters than it did when the log was made; "
                "%d evaluations are dropped and computed again",
                self._path,
                len(self._replay),
            )
            self._replay.clear()
            return None
        self._end = entry.end
        return self._replay.popleft().evaluation

    def append(self, payload: bytes) -> None:
        """Log a new evaluation, and write what waits if it has waited long enough."""
        self._pending += _framed(payload)
        if time.monotonic() - self._synced >= self._sync_seconds:
            self._sync()

    def close(self) -> None:
        """Complete a log that is on the disk, and give the lock back."""
        if self._file is not None:
            self._sync()
            self._file.close()

    def _read(self, content: bytes) -> None:
        payloads = _payloads(content)
        header = next(payloads, None)
        if header is None:
            if content:
                _LOGGER.warning("%s is not a readable log of evaluations: it is started anew", self._path)
            return
        found = json.loads(header[0])
        if found.get("experiment_id") != self._owner["experiment_id"]:
            raise CheckpointError(
                f"{self._path} is the log of experiment {found.get('experiment_id')}, expected "
                f"{self._owner['experiment_id']}: give every experiment a file of its own"
            )
        if found != self._owner:
            _LOGGER.warning(
                "%s was made for another Hamiltonian, engine or device, or by other versions: it is started anew",
                self._path,
            )
            return
        self._end = header[1]
        self._replay.extend(_decoded(payload, end) for payload, end in payloads)

    def _sync(self) -> None:
        if self._pending:
            if self._file is None:
                self._file = _locked(self._path, create=True)
            assert self._file is not None
            if self._end == 0:
                self._pending[:0] = _MAGIC + _framed(json.dumps(self._owner).encode())
            self._file.seek(self._end)
            self._file.truncate()
            self._file.write(self._pending)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._end += len(self._pending)
            self._pending.clear()
        self._synced = time.monotonic()


def _locked(path: Path, *, create: bool) -> IO[bytes] | None:
    """The file, open and locked; None when there is none and none is to be made.

    The kernel gives the lock back when its process ends, however it ends.
    """
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
        except FileNotFoundError:
            return None
        file = os.fdopen(descriptor, "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise CheckpointError(
                f"{path} is in use: another process is running this experiment; wait for it, or end it first"
            ) from error
        # The process that had it may have finished and removed it between the two calls.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _framed(payload: bytes) -> bytes:
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _payloads(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Every whole payload, with the position where its frame ends."""
    if not content.startswith(_MAGIC):
        return
    start = len(_MAGIC)
    while start + _FRAME.size <= len(content):
        length, checksum = _FRAME.unpack_from(content, start)
        end = start + _FRAME.size + length
        payload = content[start + _FRAME.size : end]
        if len(payload) != length or zlib.crc32(payload) != checksum:
            return
        yield payload, end
        start = end


def _encoded(kind: int, parameters: bytes, evaluation: Evaluation) -> bytes:
    variance = evaluation.variance
    numbers = _NUMBERS.pack(
        kind,
        variance is not None,
        len(parameters) // 8,
        evaluation.energy,
        0.0 if variance is None else variance,
        evaluation.standard_error,
    )
    gradient = b"" if evaluation.gradient is None else np.ascontiguousarray(evaluation.gradient, dtype="<f8").tobytes()
    return numbers + parameters + gradient


def _decoded(payload: bytes, end: int) -> _Entry:
    kind, has_variance, count, energy, variance, error = _NUMBERS.unpack_from(payload)
    parameters = payload[_NUMBERS.size : _NUMBERS.size + 8 * count]
    gradient = None
    if kind == _GRADIENT:
        gradient = np.frombuffer(payload, dtype="<f8", offset=_NUMBERS.size + 8 * count).astype(np.float64)
    return _Entry(kind, parameters, Evaluation(energy, gradient, variance if has_variance else None, error), end)
