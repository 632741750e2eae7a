"""Commands that look at the data: tables, sql, why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from qpipe_cli.output import Format, print_rows

FormatOption = Annotated[Format, typer.Option("--format", help="Form of the printed rows.")]
AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", help="Read the tables as they were: a tag (or batch), a snapshot id, or ISO 8601 time."),
]
ParquetOption = Annotated[
    Path | None, typer.Option("--parquet", help="Write the rows into this Parquet file, and print none.")
]


def tables(form: FormatOption = Format.TABLE) -> None:
    """Rows, snapshots, tags and size of every table."""
    from qpipe_assets.tables import schemas
    from qpipe_assets.tables.installation import open_installation

    lakehouse = open_installation().lakehouse
    rows = []
    for name in schemas.names(schemas.ALL):
        table = lakehouse.load(name)
        current = table.current_snapshot()
        summary = current.summary.additional_properties if current and current.summary else {}
        newest = max(
            ((table.snapshot_by_id(r.snapshot_id), tag) for tag, r in table.refs().items() if tag != "main"),
            key=lambda item: item[0].timestamp_ms if item[0] else 0,
            default=(None, None),
        )[1]
        rows.append(
            {
                "table": name,
                "rows": int(summary.get("total-records", 0)),
                "snapshots": len(table.snapshots()),
                "tags": len(table.refs()) - ("main" in table.refs()),
                "files": int(summary.get("total-data-files", 0)),
                "bytes": int(summary.get("total-files-size", 0)),
                "newest_tag": newest,
            }
        )
    print_rows(rows, form, title="quantum_catalog.quantum_features")


def sql(
    query: Annotated[
        str,
        typer.Argument(
            help="SELECT over the Iceberg tables, in DuckDB's SQL. A table may say its own version: "
            "t AT (VERSION => 'tag'), t AT (TIMESTAMP => '2026-11-21')."
        ),
    ],
    as_of: AsOfOption = None,
    form: FormatOption = Format.TABLE,
    parquet: ParquetOption = None,
) -> None:
    """Query the tables with SQL, now or as of a tag, snapshot or time."""
    import duckdb

    from qpipe_assets.reading import open_lakehouse

    if parquet is not None and (parquet.is_dir() or not parquet.parent.is_dir()):
        fail(f"--parquet is {str(parquet)!r}, expected a file in a folder that is there: name another")
    try:
        result = open_lakehouse().sql(query, as_of=as_of)
    except duckdb.Error as error:
        fail(f"the query failed: {error}")
    if parquet is None:
        print_rows(result.to_pylist(), form)
        return
    import pyarrow.parquet as pq

    pq.write_table(result, parquet)
    print(f"{parquet}: {result.num_rows} rows", file=sys.stderr)


def why(
    experiment_id: Annotated[str, typer.Argument(help="The experiment's id, or the first characters of it.")],
    form: FormatOption = Format.TABLE,
) -> None:
    """Where an experiment's rows come from: object, etag, batch, snapshots, run, versions."""
    from qpipe_assets.tables.installation import open_installation

    installation = open_installation()
    matching = installation.ledger.experiment_ids(experiment_id)
    if not matching:
        fail(f"no ingested experiment starts with {experiment_id!r}; `qpipe sql` lists them from vqe_results")
    if len(matching) > 1:
        fail(
            f"{experiment_id!r} is not unique, give more characters of one of: "
            + ", ".join(identity[:16] for identity in matching)
        )
    facts = provenance(installation, matching[0])
    if form is Format.TABLE:
        print_rows([{"what": key, "value": _text(value)} for key, value in facts.items()], form)
    else:
        print_rows([facts], form)


def provenance(installation: Any, experiment_id: str) -> dict[str, Any]:
    """Everything the ledger and the tables know about an experiment's origin."""
    ledger = installation.ledger
    claim = ledger.experiment(experiment_id)
    commits = ledger.batch_commits(claim["batch_id"])
    query = f"""
        select r.engine, r.versions, r.dagster_run_id, r.campaign, p.started_at, p.host, r.valid, r.invalid_reason
        from vqe_results r left join performance_metrics p on p.experiment_id = r.experiment_id
        where r.experiment_id = '{experiment_id}'
    """
    rows = installation.lakehouse.sql(query, ("vqe_results", "performance_metrics")).to_pylist()
    versions = [
        {key: row[key] for key in ("object_key", "etag", "status", "at")}
        for row in ledger.object_versions(experiment_id)
    ]
    return {
        "experiment_id": experiment_id,
        "molecule": claim["molecule"],
        "object_key": claim["object_key"],
        "etag": claim["etag"],
        "batch_id": claim["batch_id"],
        "batch_state": claim["state"],
        "claimed_at": claim["at"],
        "generation": claim["generation"],
        "objects": versions,
        "snapshots": {name: {"snapshot_id": c.snapshot_id, "tag": c.tag} for name, c in commits.items()},
        **(rows[0] if rows else {}),
    }


def _text(value: Any) -> Any:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {item}" for key, item in value.items())
    if isinstance(value, list):
        return "\n".join(", ".join(str(part) for part in item.values()) for item in value)
    return value


def fail(message: str, code: int = 2) -> Any:
    """Print an error to standard error and leave with an exit code that tells failure."""
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(code)
