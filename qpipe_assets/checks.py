"""Asset checks: what must hold of the tables after every run. They report; they do not roll back.

Row checks look at the molecules of the run that they belong to (at all of them outside a run for a molecule), table
checks at Iceberg's metadata and the ledger.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg

from qpipe_assets.connection import connect
from qpipe_assets.kafka_sink import dead_letters
from qpipe_assets.partitions import molecule, molecules_of_run
from qpipe_assets.table_metadata import RAW_VQE_OBJECTS
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource
from qpipe_resources.object_store import ObjectMissingError, ObjectStore
from simulation.validity import BELOW_EXACT_STANDARD_ERRORS, BELOW_EXACT_TOLERANCE_HARTREE

KEYS_UNIQUE = "keys_unique"
COMPLETE_TRAJECTORIES = "iterations_for_every_result"
FEATURES_NOT_NULL = "required_features_not_null"
ABOVE_EXACT = "valid_energies_not_below_exact"
INVALID_RUNS = "no_invalid_runs"
TAGGED = "one_tag_a_snapshot"
QUARANTINED = "nothing_quarantined"
NO_DEAD_LETTERS = "no_dead_letters"

REQUIRED_FEATURES = ("molecule_name", "optimizer", "basis_set", "num_qubits")
_ALLOWED_BELOW_EXACT = (
    f"({BELOW_EXACT_TOLERANCE_HARTREE} + {BELOW_EXACT_STANDARD_ERRORS} * coalesce(energy_standard_error, 0))"
)
_EXAMPLES = 5
_KEYED = (*schemas.NORMALIZED, *schemas.ML)


def _row_check(name: str, asset: str, description: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(name, asset=asset, description=description, partitions_def=molecule)


_ROW_CHECKS = [
    *(_row_check(KEYS_UNIQUE, t.name, f"No two rows share {', '.join(t.key)}.") for t in _KEYED),
    _row_check(COMPLETE_TRAJECTORIES, "vqe_iterations", "Every result has iterations."),
    *(_row_check(FEATURES_NOT_NULL, t.name, f"No NULL in {', '.join(REQUIRED_FEATURES)}.") for t in schemas.ML),
    _row_check(ABOVE_EXACT, "vqe_results", "No valid run lies below the exact energy; a sampled one may by chance."),
    _row_check(INVALID_RUNS, "vqe_results", "Runs that are not about the molecule asked; a warning, they are kept."),
]
_TABLE_CHECKS = [
    # One check for all tables, on the one that records their tags: each check costs every run three events.
    dg.AssetCheckSpec(
        TAGGED,
        asset=schemas.PROCESSING_METADATA.name,
        description="Every retained snapshot of every table has exactly one tag.",
    ),
    dg.AssetCheckSpec(QUARANTINED, asset=RAW_VQE_OBJECTS, description="No object's latest version is quarantined."),
    dg.AssetCheckSpec(
        NO_DEAD_LETTERS, asset=RAW_VQE_OBJECTS, description="Every message that came through Kafka was a record."
    ),
]


@dg.multi_asset_check(specs=_ROW_CHECKS, can_subset=True)
def row_checks(
    context: dg.AssetCheckExecutionContext, object_store: ObjectStoreResource, lakehouse: LakehouseResource
) -> Iterator[dg.AssetCheckResult]:
    """Check the rows of the run's molecules: one query for all checks, another for each that finds something."""
    checks = {key: _ROW_RULES[key.name](key.asset_key.path[-1]) for key in sorted(context.selected_asset_check_keys)}
    tables = connect(object_store, lakehouse).lakehouse
    mine = _condition(molecules_of_run(context.run, context.instance))
    counts = ", ".join(f"({rule.count.format(mine=mine)}) as c{i}" for i, rule in enumerate(checks.values()))
    [counted] = tables.sql(f"select {counts}", schemas.names(schemas.ALL)).to_pylist()
    for (key, rule), violations in zip(checks.items(), counted.values(), strict=True):
        examples = []
        if violations:
            examples = tables.sql(rule.examples.format(mine=mine), schemas.names(schemas.ALL)).to_pylist()
        yield _result(key, violations, examples, rule.meaning, warn=key.name == INVALID_RUNS)


@dg.multi_asset_check(specs=_TABLE_CHECKS, can_subset=True)
def table_checks(
    context: dg.AssetCheckExecutionContext, object_store: ObjectStoreResource, lakehouse: LakehouseResource
) -> Iterator[dg.AssetCheckResult]:
    """Check snapshots and the store as a whole."""
    installation = connect(object_store, lakehouse)
    for key in sorted(context.selected_asset_check_keys):
        if key.name == QUARANTINED:
            yield _result(key, *_quarantined(installation), warn=True)
        elif key.name == NO_DEAD_LETTERS:
            yield _result(key, *_dead_letters(installation.store), warn=True)
        else:
            yield _result(key, *_untagged_snapshots(installation))


CHECKS = [row_checks, table_checks]


def _result(
    key: dg.AssetCheckKey, violations: int, examples: list[Any], description: str, *, warn: bool = False
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=violations == 0,
        asset_key=key.asset_key,
        check_name=key.name,
        severity=dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR,
        metadata={"violations": violations} | ({"examples": dg.MetadataValue.json(examples)} if examples else {}),
        description=description if violations else None,
    )


@dataclass(frozen=True)
class _Rule:
    """A row check as SQL: the number of violations, some of them, and what they mean; `{mine}` selects the rows."""

    count: str
    examples: str
    meaning: str


def _keys_unique(name: str) -> _Rule:
    key = ", ".join(schemas.table(name).key)
    # Digests are a fifth of the keys' size. DuckDB's own hash() is no choice: it collides on keys that differ in
    # few characters (32 times among the 1,350 parameters of one LiH run).
    return _Rule(
        f"select count(*) - count(distinct md5_number(concat_ws('|', {key}))) from {name} where {{mine}}",
        f"select {key}, count(*) as rows from {name} where {{mine}} group by all having count(*) > 1 limit {_EXAMPLES}",
        f"rows of {name} whose key another row has",
    )


def _complete_trajectories(name: str) -> _Rule:
    without = f"""
        from vqe_results r where r.{{mine}} and not exists
            (select 1 from {name} i where i.{{mine}} and i.experiment_id = r.experiment_id)"""
    return _Rule(
        f"select count(*) {without}",
        f"select r.molecule, r.experiment_id {without} limit {_EXAMPLES}",
        f"results without any row of {name}",
    )


def _features_not_null(name: str) -> _Rule:
    nulls = f"from {name} where {{mine}} and ({' or '.join(f'{column} is null' for column in REQUIRED_FEATURES)})"
    return _Rule(
        f"select count(*) {nulls}",
        f"select experiment_id, {', '.join(REQUIRED_FEATURES)} {nulls} limit {_EXAMPLES}",
        f"rows of {name} without a required feature",
    )


def _runs_where(condition: str, meaning: str) -> Callable[[str], _Rule]:
    def rule(name: str) -> _Rule:
        found = f"from {name} where {{mine}} and {condition}"
        columns = "molecule, experiment_id, total_energy, fci_energy, invalid_reason"
        return _Rule(f"select count(*) {found}", f"select {columns} {found} limit {_EXAMPLES}", meaning)

    return rule


_ROW_RULES: dict[str, Callable[[str], _Rule]] = {
    KEYS_UNIQUE: _keys_unique,
    COMPLETE_TRAJECTORIES: _complete_trajectories,
    FEATURES_NOT_NULL: _features_not_null,
    ABOVE_EXACT: _runs_where(
        f"valid and total_energy < fci_energy - {_ALLOWED_BELOW_EXACT}",
        "valid runs below the exact energy: the variational principle forbids it",
    ),
    INVALID_RUNS: _runs_where("not valid", "runs whose result is not about the molecule asked"),
}


def _condition(molecules: list[str] | None) -> str:
    if molecules is None:
        return "molecule is not null"
    quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in molecules)
    return f"molecule in ({quoted})"


Verdict = tuple[int, list[Any], str]
"""Number of violations, some of them, and what they mean."""


def _untagged_snapshots(installation: Installation) -> Verdict:
    wrong = []
    for name in schemas.names(schemas.ALL):
        table = installation.lakehouse.load(name)
        tags: dict[int, list[str]] = {snapshot.snapshot_id: [] for snapshot in table.snapshots()}
        for reference, target in table.refs().items():
            if target.snapshot_ref_type == "tag":
                tags[target.snapshot_id].append(reference)
        wrong += [{"table": name, "snapshot_id": str(s), "tags": found} for s, found in tags.items() if len(found) != 1]
    return len(wrong), wrong[:_EXAMPLES], "snapshots with no tag or several"


def _quarantined(installation: Installation) -> Verdict:
    found = installation.discovery.quarantined()
    shown = [{"object": entry["object_key"], "error": entry["error"]} for entry in found[: 10 * _EXAMPLES]]
    return len(found), shown, "objects that cannot be used; replace or remove them"


def _dead_letters(store: ObjectStore) -> Verdict:
    found = dead_letters.listed(store)
    shown = []
    for info in found[:_EXAMPLES]:
        try:
            letter = dead_letters.read(store, info.key)
        except ObjectMissingError:  # it has landed meanwhile
            continue
        except ValueError as error:
            shown.append({"message": info.key, "reason": str(error)})
        else:
            shown.append({"message": letter.name, "reason": letter.reason})
    remedy = (
        "messages that are no record, the newest first; what can be decoded by now: qpipe sink --retry-dead-letters"
    )
    return len(found), shown, remedy
