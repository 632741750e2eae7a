"""`qpipe tiers`: the tiers and any campaign file: what they hold, how far they are, and computing them here."""

from __future__ import annotations

import datetime as dt
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qpipe_cli.data import FormatOption
from qpipe_cli.home import prepare_home
from qpipe_cli.output import Format, print_rows, refuse

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from qpipe_assets.campaigns.campaign_file import Campaign
    from qpipe_assets.campaigns.status import CampaignStatus

TierOption = Annotated[int | None, typer.Option("--tier", help="Number of a tier, 1 to 4.")]
FileOption = Annotated[Path | None, typer.Option("-f", "--file", help="Campaign file (YAML) instead.")]
MoleculesOption = Annotated[
    str | None, typer.Option("--molecules", metavar="M,M,...", help="Only these molecules of it.")
]
SeedsOption = Annotated[str | None, typer.Option("--seeds", metavar="1..3", help="Only these seeds of it.")]
OptimizersOption = Annotated[
    str | None, typer.Option("--optimizers", metavar="O,O,...", help="Only these optimizers of it.")
]

app = typer.Typer(help="Campaigns: the four tiers, and any campaign file.", no_args_is_help=True)


@app.command("list")
def list_tiers(file: FileOption = None, form: FormatOption = Format.TABLE) -> None:
    """What the tiers hold, or a campaign file."""
    from qpipe_assets.campaigns.selection import TIERS

    chosen = [_campaign(None, file)] if file else [_campaign(tier, None) for tier in TIERS]
    print_rows([_held(campaign) for campaign in chosen], form)


@app.command()
def status(
    tier: TierOption = None,
    file: FileOption = None,
    molecules: MoleculesOption = None,
    seeds: SeedsOption = None,
    optimizers: OptimizersOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """How many runs are in each state (done, running, failed, timed_out, pending, infeasible), and the time left.

    Of one tier, or of all. Done is what has landed; the rest is asked of Dagster's runs. The time left is measured on
    the last 20 runs.
    """
    from qpipe_assets.campaigns.selection import TIERS

    chosen = [
        _campaign(one, file, molecules=molecules, seeds=seeds, optimizers=optimizers)
        for one in ([tier] if tier or file else TIERS)
    ]
    rows = []
    with _instance() as instance:
        for campaign in chosen:
            found = _status(campaign, instance)
            if len(chosen) == 1:
                rows += [_row(found, molecule) for molecule in campaign.molecules]
                _say_reasons(found)
            rows.append(_row(found))
    print_rows([_readable(row) for row in rows] if form is Format.TABLE else rows, form)


@app.command()
def run(
    tier: TierOption = None,
    file: FileOption = None,
    molecules: MoleculesOption = None,
    seeds: SeedsOption = None,
    optimizers: OptimizersOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the runs in their order, compute none.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Compute again what has already landed.")] = False,
    run_seconds: Annotated[
        float | None, typer.Option("--run-seconds", help="End a run that takes longer; it is listed as timed_out.")
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Compute a tier or a campaign file here, molecule by molecule, through the job vqe_batch_generation.

    What has landed is not computed again, so the same command goes on where it was stopped. Exit code 1 when runs fail.
    """
    campaign = _campaign(tier, file, molecules=molecules, seeds=seeds, optimizers=optimizers)
    if run_seconds is not None and not 0 < run_seconds < math.inf:
        refuse(f"--run-seconds is {run_seconds:g}, expected a number of seconds above 0")
    if dry_run:
        with _instance() as instance:
            found = _status(campaign, instance)
        _print_plan(found, form)
        return
    with _instance() as instance:
        asked = {"tier": tier, "seeds": seeds, "optimizers": optimizers, "run_seconds": run_seconds}
        failed = _execute(campaign, instance, _config(file, asked, force=force))
        found = _status(campaign, instance)
    rows = [_row(found, molecule) for molecule in campaign.molecules] + [_row(found)]
    print_rows([_readable(row) for row in rows] if form is Format.TABLE else rows, form)
    _say_reasons(found)
    if failed:
        print(f"error: runs on {', '.join(failed)} failed; the messages are above", file=sys.stderr)
        raise typer.Exit(1)


def _campaign(tier: int | None, file: Path | None, **parts: str | None) -> Campaign:
    from qpipe_assets.campaign import CampaignError
    from qpipe_assets.campaigns.selection import select_campaign

    try:
        return select_campaign(tier, file, **parts)
    except CampaignError as error:
        refuse(str(error))


def _config(file: Path | None, asked: dict[str, Any], *, force: bool) -> dict[str, Any]:
    """The configuration of vqe_runs that asks for the same."""
    given = asked | {"campaign_file": str(file.absolute()) if file else None}
    return {name: value for name, value in given.items() if value is not None} | {"force": force}


def _instance() -> DagsterInstance:
    settings = prepare_home()
    os.environ["QPIPE_HOME"], os.environ["DAGSTER_HOME"] = str(settings.home), str(settings.dagster_home)
    from dagster import DagsterInstance

    return DagsterInstance.get()


def _status(campaign: Campaign, instance: DagsterInstance) -> CampaignStatus:
    from qpipe_assets.campaigns.status import campaign_status
    from qpipe_assets.tables.installation import open_installation

    return campaign_status(campaign, open_installation(), instance)


def _execute(campaign: Campaign, instance: DagsterInstance, config: dict[str, Any]) -> list[str]:
    """Run the job for each molecule; returns those on which something failed."""
    from jobs.batch_generation import vqe_batch_generation
    from jobs.definitions import build_defs
    from jobs.jobs import molecule_processing
    from jobs.run_limits import MAX_RUNTIME_TAG
    from qpipe_assets.partitions import add_molecules
    from qpipe_assets.retries import NO_RETRIES_TAG

    defs = build_defs()
    compute = defs.resolve_job_def(vqe_batch_generation.name)
    process = defs.resolve_job_def(molecule_processing.name)
    # The start and the end of each run, without Dagster's own events.
    loggers = {"loggers": {"console": {"config": {"log_level": "INFO"}}}}
    # A daemon on the same DAGSTER_HOME cannot end this process: it would only take its run for a failed one.
    tags = {NO_RETRIES_TAG: "true", MAX_RUNTIME_TAG: "0"}
    add_molecules(instance, campaign.molecules)
    failed = []
    for number, molecule in enumerate(campaign.molecules, start=1):
        print(f"[{number}/{len(campaign.molecules)}] {campaign.name}, {molecule} ...", file=sys.stderr, flush=True)
        here: dict[str, Any] = {
            "instance": instance,
            "partition_key": molecule,
            "tags": tags,
            "raise_on_error": False,
        }
        campaign_config = {"ops": {"vqe_runs": {"config": config}}}
        if not compute.execute_in_process(run_config=campaign_config | loggers, **here).success:
            failed.append(molecule)
            # A run that failed ends the job before the tables; what has landed belongs into them.
            process.execute_in_process(run_config=loggers, **here)
    return failed


def _held(campaign: Campaign) -> dict[str, Any]:
    return {
        "campaign": campaign.name,
        "runs": sum(len(runs) for _, runs in campaign.plan()),
        "molecules": ", ".join(campaign.molecules),
        "basis": ", ".join(campaign.basis),
        "ansatz": ", ".join(campaign.ansatz),
        "optimizers": ", ".join(campaign.optimizers),
        "init_strategies": ", ".join(campaign.init_strategies),
        "seeds": len(campaign.seeds),
        "description": campaign.description,
    }


def _row(found: CampaignStatus, molecule: str | None = None) -> dict[str, Any]:
    counts = found.counts(molecule)
    return {
        "campaign": found.campaign,
        "molecule": molecule or "all",
        **{str(state): count for state, count in counts.items()},
        "total": sum(counts.values()),
        "mean_seconds": found.mean_seconds,
        "eta_seconds": found.eta_seconds(molecule),
    }


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    mean, eta = row.pop("mean_seconds"), row.pop("eta_seconds")
    left = None if eta is None else str(dt.timedelta(seconds=round(eta)))
    return row | {"mean of the last 20 (s)": None if mean is None else round(mean, 1), "time left": left}


def _say_reasons(found: CampaignStatus) -> None:
    """Why runs failed or cannot fit, each reason once for a molecule."""
    reasons: dict[tuple[str, str, str], int] = {}
    for one in found.runs:
        if one.reason is not None:
            key = (one.molecule, str(one.state), one.reason)
            reasons[key] = reasons.get(key, 0) + 1
    for (molecule, state, reason), count in reasons.items():
        print(f"{molecule}: {count} {state}: {reason}", file=sys.stderr)


def _print_plan(found: CampaignStatus, form: Format) -> None:
    rows = [
        {
            "number": number,
            "molecule": one.molecule,
            "basis": one.run.options.basis,
            "ansatz": one.run.options.ansatz,
            "optimizer": one.run.options.optimizer,
            "init_strategy": one.run.options.init_strategy,
            "seed": one.run.options.seed,
            "state": str(one.state),
            "experiment_id": one.run.experiment_id[:12] if form is Format.TABLE else one.run.experiment_id,
        }
        for number, one in enumerate(found.runs, start=1)
    ]
    print_rows(rows, form)
    _say_reasons(found)
