"""What the datasheet tells of the runs in an export: counts, verdicts, and where their energies come from."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qpipe_assets.exports.selection import BATCH, ChosenTable, Selection

if TYPE_CHECKING:
    from qpipe_resources.lakehouse import Lakehouse

_WITH_VERDICTS = ("ml_run_summary", "vqe_results", "ml_iteration_features")
"""Tables that know each run's verdict, the smallest first."""
_RESULTS = "vqe_results"
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Facts:
    """Of the exported runs.

    Attributes:
        runs: by molecule and basis: runs, and how many are valid, invalid, not judged and chemically accurate.
        origins: by engine and reference method: runs, and how many have a certified energy.
        software: versions of each package that computed them.
    """

    runs: Rows
    origins: Rows
    software: dict[str, list[str]]


def find_facts(lakehouse: Lakehouse, selection: Selection) -> Facts:
    """Ask the tables; nothing is known where no exported table has verdicts."""
    tables = {table.name: table for table in selection.tables}
    for name in _WITH_VERDICTS:
        if name in tables and tables[name].rows:
            return _facts(lakehouse, tables[name], selection.left_out)
    return Facts([], [], {})


def _facts(lakehouse: Lakehouse, table: ChosenTable, left_out: Sequence[str]) -> Facts:
    there = f"{table.name} at (version => '{table.snapshot_id}')"
    # Ids of batches are hexadecimal, so they can stand in a query.
    without = ", ".join(f"'{batch}'" for batch in left_out)
    exported = f"from {there} where {BATCH} is null or {BATCH} not in ({without})" if without else f"from {there}"
    count = "count(distinct experiment_id)"
    runs = lakehouse.sql(
        f"""
        select coalesce(molecule, '') as molecule, basis_set, {count} as runs,
            {count} filter (valid) as valid, {count} filter (not valid) as invalid,
            {count} filter (valid is null) as not_judged, {count} filter (chemically_accurate) as accurate
        {exported} group by all order by all
        """,
        (table.name,),
    ).to_pylist()
    of_runs = f"from {_RESULTS} where experiment_id in (select experiment_id {exported})"
    origins = lakehouse.sql(
        f"""
        select coalesce(engine, backend) as engine, coalesce(reference_method, '') as reference, count(*) as runs,
            count(certified_energy) as certified, count(default_shots) as sampled
        {of_runs} group by all order by all
        """,
        {table.name, _RESULTS},
    ).to_pylist()
    software: dict[str, set[str]] = defaultdict(set)
    for row in lakehouse.sql(f"select distinct versions {of_runs}", {table.name, _RESULTS}).to_pylist():
        for package, version in _versions(row["versions"]):
            software[package].add(version)
    return Facts(runs, origins, {package: sorted(found) for package, found in sorted(software.items())})


def _versions(text: str | None) -> list[tuple[str, str]]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        # Of an adopted table: another program's words.
        return []
    return [(str(p), str(v)) for p, v in found.items()] if isinstance(found, dict) else []
