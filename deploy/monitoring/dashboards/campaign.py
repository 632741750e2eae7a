"""The dashboard of a campaign: how far the tiers and their lanes are."""

from __future__ import annotations

from deploy.monitoring.panels import Dashboard, Panel, Query, Row, Variable

_TIER = 'tier=~"$tier"'
_LANE = 'tier=~"$tier",lane=~"$lane"'
_OF_LANE = "tier {{tier}} {{lane}}"

CAMPAIGN = Dashboard(
    "qpipe-campaign",
    "Campaign",
    "How far the tiers are.",
    (Variable("tier", "qp_batch_total"), Variable("lane", "qp_batch_done")),
    (
        Row(
            "Progress",
            (
                Panel(
                    "Of the runs that can be done",
                    [Query(f"qpipe:batch_progress:ratio{{{_TIER}}}", "tier {{tier}}")],
                    "percentunit",
                    "gauge",
                    6,
                ),
                Panel("Runs", [Query(f"qp_batch_total{{{_TIER}}}", "tier {{tier}}")], kind="stat", width=6),
                Panel("Open", [Query(f"qpipe:batch_open:sum{{{_TIER}}}", "tier {{tier}}")], kind="stat", width=6),
                Panel(
                    "Failed, of those that ended",
                    [Query(f"qpipe:batch_failure:ratio{{{_TIER}}}", "tier {{tier}}")],
                    "percentunit",
                    "stat",
                    6,
                    limit=0.10,
                ),
                Panel("Done", [Query(f"qp_batch_done{{{_LANE}}}", _OF_LANE)]),
                Panel("Done in an hour", [Query(f"qpipe:batch_done:per_hour{{{_LANE}}}", _OF_LANE)]),
                Panel(
                    "Time left",
                    [
                        Query(
                            f"3600 * qpipe:batch_open:sum{{{_TIER}}} / on (tier) "
                            f"(sum by (tier) (qpipe:batch_done:per_hour{{{_TIER}}}) > 0)",
                            "tier {{tier}}",
                        )
                    ],
                    "s",
                    about="At the last hour's pace. `qpipe tiers status` tells it from the times of single runs.",
                ),
            ),
        ),
        Row(
            "Lanes",
            (
                Panel("Computing", [Query(f"qp_batch_in_progress{{{_LANE}}}", _OF_LANE)]),
                Panel("Waiting", [Query(f"qp_batch_pending{{{_LANE}}}", _OF_LANE)]),
                Panel("Failed", [Query(f"qp_batch_failed{{{_LANE}}}", _OF_LANE)], limit=1),
                Panel("Cannot fit", [Query(f"qp_batch_infeasible{{{_LANE}}}", _OF_LANE)]),
                Panel(
                    "Since the last run ended",
                    [Query(f"time() - qp_batch_last_completion_ts{{{_LANE}}}", _OF_LANE)],
                    "s",
                    limit=3600,
                ),
                Panel(
                    "Alerts", [Query('ALERTS{alertname=~"Batch.*",alertstate="firing"}', "{{alertname}}")], kind="table"
                ),
            ),
        ),
    ),
)
