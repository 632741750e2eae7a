"""The dashboard of quality: errors against the exact energy."""

from __future__ import annotations

from deploy.monitoring.dashboards.selections import OF_RUN, RUN, RUN_VARIABLES, by, run
from deploy.monitoring.panels import Dashboard, Panel, Query, Row

_CURVE = 'molecule=~"$molecule",basis_set=~"$basis_set",optimizer=~"$optimizer"'
_EXACT = f'{{{RUN},reference!="HF"}}'
QUALITY = Dashboard(
    "qpipe-quality",
    "Quality against FCI",
    "Errors of the total energy against FCI or CASCI; those against Hartree-Fock are counted, never averaged.",
    RUN_VARIABLES,
    (
        Row(
            "Against the exact energy",
            (
                Panel(
                    "Chemically accurate (1.6 mHa)",
                    by("qpipe:chemically_accurate:ratio", "molecule", "optimizer", how="avg", where=f"{{{_CURVE}}}"),
                    "percentunit",
                    "bargauge",
                    12,
                ),
                Panel(
                    "Best error of a molecule (mHa)",
                    by("qpipe:run_error_mha:abs", "molecule", how="min", where=f"{{{RUN}}}"),
                    kind="bargauge",
                    width=12,
                    limit=1.6,
                ),
                Panel(
                    "Median error by optimizer (mHa)",
                    [Query(f"quantile by (optimizer) (0.5, qpipe:run_error_mha:abs{{{RUN}}})", "{{optimizer}}")],
                    limit=1.6,
                ),
                Panel(
                    "Median error by start (mHa)",
                    [
                        Query(
                            f"quantile by (init_strategy) (0.5, qpipe:run_error_mha:abs{{{RUN}}})", "{{init_strategy}}"
                        )
                    ],
                    limit=1.6,
                ),
                Panel(
                    "Error of each run, signed (mHa)",
                    [Query(f"qp_vqe_energy_error_millihartree{_EXACT}", OF_RUN)],
                    about="Below zero beyond rounding is no result about the molecule.",
                ),
                Panel(
                    "Below the exact energy by over 1e-6 Ha",
                    [Query(f"count(qp_vqe_energy_error_hartree{_EXACT} < -1e-6) or vector(0)")],
                    kind="stat",
                    limit=1,
                ),
                Panel("Accuracy score", run("accuracy_score"), about="100 is exact; 50 is the alert's limit."),
                Panel(
                    "Without an exact reference",
                    [Query(f'count(qp_vqe_minimum_energy{{{RUN},reference="HF"}}) or vector(0)')],
                    kind="stat",
                ),
                Panel(
                    "Worst runs (mHa)",
                    [Query(f"topk(20, qpipe:run_error_mha:abs{{{RUN}}})")],
                    kind="table",
                    width=24,
                ),
            ),
        ),
    ),
)
