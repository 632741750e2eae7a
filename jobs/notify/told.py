"""The notification of a run that has ended: what it says of success, of failure, and what to do then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from jobs.notify.facts import FailedStep, failures_of, written_by
from qpipe_assets.partitions import molecules_of_run
from qpipe_resources.notify.notification import Listing, Notification

MOST_ASSETS = 3
"""Assets that are named of a run that makes several."""

Energies = Callable[[Sequence[str]], list[dict[str, Any]]]
"""Gives the best energies of molecules; may raise."""

_RUNBOOK = 'What else may help: docs/operations.md, "When something is wrong".'


def told_of_success(
    instance: dg.DagsterInstance, run: dg.DagsterRun, link: str, energies: Energies, hide: Callable[[str], str]
) -> Notification:
    """What is told of a run that succeeded: rows by table, new runs, best energies by molecule."""
    written = written_by(instance, run)
    about = ", ".join(written.molecules) or "no molecule in particular"
    new = written.rows.get("vqe_results", 0)
    lines = [f"{_name(run)} succeeded: {about}.", f"New runs in the tables: {new}."]
    listings = [Listing("Rows added by table", [{"table": t, "rows": n} for t, n in written.rows.items()])]
    if written.campaigns:
        listings.append(Listing("VQE runs", written.campaigns))
    best: list[dict[str, Any]] = []
    if written.rows:
        try:
            best = energies(written.molecules)
        except Exception as error:  # whatever ails the tables now, the run has succeeded and that is told
            lines.append(hide(f"The tables could not be asked for the best energies: {type(error).__name__}: {error}"))
        else:
            listings.append(
                Listing("Best energies (Hartree; errors in mHartree: against the exact energy, and of sampling)", best)
            )
    facts = _facts(run, written.molecules) | {"new_runs": new, "rows": written.rows, "best_energies": best}
    return Notification(
        "success",
        f"qpipe: {_name(run)} succeeded ({about})",
        lines,
        listings,
        link=link,
        facts=facts,
    )


def told_of_failure(
    instance: dg.DagsterInstance, run: dg.DagsterRun, link: str, hide: Callable[[str], str]
) -> Notification:
    """What is told of a run that failed: which steps, the first lines of why, and what to do."""
    molecules = molecules_of_run(run, instance) or []
    about = ", ".join(molecules) or "no molecule in particular"
    failed = [
        FailedStep(step.step, hide(step.reason), step.after_retries) for step in failures_of(instance, run.run_id)
    ]
    steps = ", ".join(step.step for step in failed if step.step) or "none: the run itself was given up"
    lines = [f"{_name(run)} failed: {about}.", f"Steps that failed: {steps}.", *advice(failed), _RUNBOOK]
    details = "\n\n".join(f"{step.step or 'run'}:\n{step.reason}" for step in failed)
    errors = [{"step": step.step, "reason": step.reason} for step in failed]
    facts = _facts(run, molecules) | {"errors": errors}
    subject = f"qpipe: {_name(run)} FAILED ({about})"
    return Notification("failure", subject, lines, details=details, link=link, facts=facts)


def advice(failed: Sequence[FailedStep]) -> list[str]:
    """What to do, by where it failed."""
    said = []
    if any(step.step == "vqe_runs" for step in failed):
        said.append(
            "What to do: mend the cause and launch the job again; runs that have landed are not computed again."
        )
    if any(step.after_retries for step in failed):
        said.append(
            "What to do: a service did not come back within all attempts; `qpipe doctor` says which. Nothing is lost: "
            "the sensor asks for the work again by itself, after growing rests."
        )
    elif any(step.step and step.step != "vqe_runs" for step in failed):
        said.append(
            "What to do: this was not tried again, because another attempt would fail the same way. Repair what the "
            "error names; an object that is repaired in place is taken by itself."
        )
    if any(not step.step for step in failed):
        said.append(
            "What to do: the run took too long, did not start, or its process died. See its page; `qpipe doctor` looks "
            "at the services. Nothing is half done: launch it again, or wait for the sensor."
        )
    return said


def _name(run: dg.DagsterRun) -> str:
    """A run's job; what it makes where it is none of ours, as those of the automation and of the UI are."""
    if not run.job_name.startswith("__"):
        return run.job_name
    names = sorted(key.path[-1] for key in run.asset_selection or ())
    more = [f"{len(names) - MOST_ASSETS} more"] if len(names) > MOST_ASSETS else []
    return f"materialization of {', '.join([*names[:MOST_ASSETS], *more]) or 'assets'}"


def _facts(run: dg.DagsterRun, molecules: Sequence[str]) -> dict[str, Any]:
    return {"job": run.job_name, "run_id": run.run_id, "molecules": list(molecules)}
