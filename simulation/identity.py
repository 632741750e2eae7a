"""The identity of an experiment: SHA-256 of what was asked, or of the whole scientific content of a record.

Two runs share an identity exactly when the same thing was asked: timings, host and the choice among exact
engines never enter. A record of another writer carries no identity; it gets one from all that is scientific in it,
independent of whether it travelled as JSON or as Avro.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.molecules import Molecule
    from simulation.options import VQEOptions
    from simulation.record import VQEDecoratedResult

_NOT_SCIENTIFIC: dict[str, Any] = {
    "molecule_id": True,  # the position in a file, not a property of the molecule
    "molecule": {"molecule_data": {"name": True}},
    "hamiltonian_time": True,
    "mapping_time": True,
    "vqe_time": True,
    "total_time": True,
    "wall_time": True,
    "performance_start": True,
    "performance_end": True,
    "schema_version": True,
    "experiment_id": True,
    "versions": True,
    "started_at": True,
    "host": True,
    "dagster_run_id": True,
    "campaign": True,
    "vqe_result": {"minimization_time": True},
}

_LATER_OPTIONS = {
    "adapt_threshold",
    "previous",
    "shots",
    "noise",
    "noise_rates",
    "simulation_method",
    "optimization_level",
}


def experiment_id(molecule: Molecule, options: VQEOptions) -> str:
    """Identity of the run that `options` (resolved) asks for on `molecule`: 64 hexadecimal digits."""
    asked: dict[str, Any] = {
        "symbols": list(molecule.symbols),
        "coords_angstrom": [[_canonical(x) for x in row] for row in molecule.coords_angstrom.tolist()],
        "charge": molecule.charge,
        "multiplicity": molecule.multiplicity,
        "basis": options.basis,
        "frozen_core": options.frozen_core,
        "active_space": options.active_space.model_dump() if options.active_space else None,
        "mapper": options.mapper,
        "ansatz": options.ansatz,
        "ansatz_reps": options.reps,
        "init_strategy": options.init_strategy,
        "seed": options.seed,
        "optimizer": options.optimizer,
        "max_iterations": options.max_iterations,
        "threshold": options.threshold,
        "estimation": "device" if options.engine == "ibm" else "sampled" if options.sampled else "exact",
        "replicate": options.replicate,
    }
    return _digest(asked | _asked_besides(options))


def _asked_besides(options: VQEOptions) -> dict[str, Any]:
    """Options that came later: only where they say something, so that no older run changes its identity."""
    values = options.model_dump(mode="json", include=_LATER_OPTIONS)
    defaults = {name: type(options).model_fields[name].default for name in _LATER_OPTIONS}
    return {name: value for name, value in values.items() if value != defaults[name]}


def content_id(record: VQEDecoratedResult) -> str:
    """Identity of a record by its scientific content; null fields are left out so that new fields change nothing."""
    content = record.model_dump(mode="python", exclude=_NOT_SCIENTIFIC, exclude_none=True)
    return hashlib.sha256(_content_text(content)).hexdigest()


def _content_text(value: Any) -> bytes:
    """What `_text` gives, several times faster where a record is long: in its lists of numbers."""
    if isinstance(value, dict):
        return b"{%b}" % b",".join(_text(key) + b":" + _content_text(value[key]) for key in sorted(value))
    if isinstance(value, list) and not (value and isinstance(value[0], str)):
        return _list_text(value)
    return _text(value)


def _list_text(value: list[Any]) -> bytes:
    """The same of a list without free text: numbers, names of fields and Pauli labels."""
    import orjson

    text = orjson.dumps(value, default=float, option=orjson.OPT_SORT_KEYS)
    # orjson finds the same shortest digits as Python, but writes exponents, and 1e-05 to 1e-04, in another form.
    text = _EXPONENT.sub(lambda found: b"e%+03d" % int(found[1]), text)
    text = _SMALL.sub(lambda found: repr(float(found[0])).encode(), text)
    return _NEGATIVE_ZERO.sub(b"0.0", text)


# Each begins with fixed characters, which are searched for many times faster than anything else.
_EXPONENT = re.compile(rb"e([+-]?[0-9]+)")
_SMALL = re.compile(rb"0\.0000(?<![0-9]0\.0000)[0-9]+")
_NEGATIVE_ZERO = re.compile(rb"-0\.0(?![0-9])")


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(_text(value)).hexdigest()


def _text(value: Any) -> bytes:
    # The standard library's float text (shortest that round-trips) is fixed by the language; -0.0 equals 0.0.
    return json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value + 0.0 if isinstance(value, float) else value
