"""Whether what has landed is in the tables in time: the service levels, as asset checks that a sensor evaluates.

Dagster's freshness policies ask when a table was last written. Where nothing lands nothing is written, so they would
call a quiet laboratory late; the ledger knows what waits, and since when.
"""

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from jobs.pending import PendingWork, pending_work, recently_pending_work
from jobs.requests import present
from qpipe_assets.connection import connect
from qpipe_assets.tables import schemas
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource
from qpipe_resources.notify.delivery import deliver
from qpipe_resources.notify.notification import Listing, Notification
from qpipe_resources.notify.settings import NONE, load_notify_settings

ROWS_IN_TIME = dg.AssetCheckKey(dg.AssetKey(schemas.PROCESSING_METADATA.name), "rows_in_time")
FEATURES_IN_TIME = dg.AssetCheckKey(dg.AssetKey(schemas.ML_NAMES[-1]), "features_in_time")
WITHIN = {ROWS_IN_TIME: dt.timedelta(hours=1, minutes=30), FEATURES_IN_TIME: dt.timedelta(minutes=45)}
"""How long what landed may wait for the nine tables, and a batch from its beginning on for the ML tables."""
MEANING = {
    ROWS_IN_TIME: "Every object has been in the nine tables, or found unusable, within 1 h 30 of its landing.",
    FEATURES_IN_TIME: "Every batch that the nine tables have was in the ML tables within 45 minutes.",
}
_EVERY_SECONDS = 300

Late = Mapping[dg.AssetCheckKey, list[dict[str, str]]]
"""The molecules that wait for too long, by check: each with the moment since when."""


def late(pending: Iterable[PendingWork], now: dt.datetime) -> Late:
    """What waits for longer than it may."""
    found: dict[dg.AssetCheckKey, list[dict[str, str]]] = {key: [] for key in WITHIN}
    for work in pending:
        for key, since in ((ROWS_IN_TIME, work.tables_since), (FEATURES_IN_TIME, work.features_since)):
            if since is not None and now - since > WITHIN[key]:
                found[key].append({"molecule": work.molecule, "since": since.isoformat(timespec="minutes")})
    return found


@dg.multi_asset_check(
    specs=[dg.AssetCheckSpec(key.name, asset=key.asset_key, description=MEANING[key]) for key in WITHIN],
    can_subset=True,
)
def timeliness_checks(
    context: dg.AssetCheckExecutionContext, object_store: ObjectStoreResource, lakehouse: LakehouseResource
) -> Iterator[dg.AssetCheckResult]:
    """Evaluate the checks in a run; the sensor evaluates them without one."""
    found = late(pending_work(connect(object_store, lakehouse)), present())
    for key in sorted(context.selected_asset_check_keys):
        yield dg.AssetCheckResult(asset_key=key.asset_key, check_name=key.name, **_verdict(key, found))


@dg.sensor(
    minimum_interval_seconds=_EVERY_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Evaluates rows_in_time and features_in_time; reports what has changed, and all once a day.",
)
def in_time(
    context: dg.SensorEvaluationContext, object_store: ObjectStoreResource, lakehouse: LakehouseResource
) -> dg.SensorResult | dg.SkipReason:
    """Look at what waits; the cursor holds what was reported last, and may be lost."""
    now = present()
    found = late(recently_pending_work(connect(object_store, lakehouse)), now)
    state = json.dumps(
        {"day": str(now.date()), **{key.name: [row["molecule"] for row in rows] for key, rows in found.items()}}
    )
    if state == context.cursor:
        return dg.SkipReason("reported before")
    _tell(context, _newly(found, context.cursor))
    events = [
        dg.AssetCheckEvaluation(asset_key=key.asset_key, check_name=key.name, **_verdict(key, found)) for key in WITHIN
    ]
    return dg.SensorResult(asset_events=events, cursor=state)


def _newly(found: Late, cursor: str | None) -> Late:
    """What is late and was not when it was reported last."""
    reported = json.loads(cursor) if cursor else {}
    new: dict[dg.AssetCheckKey, list[dict[str, str]]] = {}
    for key, waiting in found.items():
        before = reported.get(key.name)
        # The cursor of an earlier version says only whether there was something.
        known = before if isinstance(before, list) else []
        if rows := [row for row in waiting if row["molecule"] not in known]:
            new[key] = rows
    return new


def _tell(context: dg.SensorEvaluationContext, newly_late: Late) -> None:
    """Tell whoever is told of failures that something has become late: once, not at each look."""
    settings = load_notify_settings()
    if not (newly_late and settings.enabled) or settings.failure == (NONE,):
        return
    lines = [f"Not so: {MEANING[key]}" for key in newly_late]
    lines.append("What to do: see the last runs of these molecules; `qpipe doctor` looks at the services.")
    rows = [{"check": key.name, **row} for key, waiting in newly_late.items() for row in waiting]
    molecules = sorted({row["molecule"] for row in rows})
    told = Notification(
        "late",
        f"qpipe: late in the tables ({', '.join(molecules)})",
        lines,
        [Listing("What waits", rows)],
        link=settings.ui_url,
        facts={"molecules": molecules},
    )
    for channel, error in deliver(told, settings).items():
        if error:
            context.log.error(f"{channel} is lost: {error}")


def _verdict(key: dg.AssetCheckKey, found: Late) -> dict[str, Any]:
    waiting = found[key]
    metadata = {"late": dg.MetadataValue.int(len(waiting))}
    told = metadata | ({"molecules": dg.MetadataValue.json(waiting)} if waiting else {})
    described = "molecules wait for too long: see the sensor new_objects and their last runs" if waiting else None
    return {
        "passed": not waiting,
        "severity": dg.AssetCheckSeverity.WARN,
        "metadata": told,
        "description": described,
    }
