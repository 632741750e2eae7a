"""Which snapshot of a table a version means: a tag or batch, a snapshot id, a moment, or now."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.snapshots import Snapshot

Version = str | int | dt.datetime | None
"""A tag (or batch id), a snapshot id, a moment (a datetime, or ISO 8601; UTC where it says no zone); None is now."""

NOW = "now"


class UnknownVersionError(LookupError):
    """The table has no such tag, snapshot or moment, or not any more."""


def batch_tags(batch_id: str) -> tuple[str, str]:
    """The two names a batch's tag can have: on a table's first snapshot, and on any later one."""
    return f"v_{batch_id}", f"v_incr_{batch_id}"


def find_snapshot(table: IcebergTable, name: str, version: Version) -> Snapshot | None:
    """The snapshot that `version` means.

    Args:
        table: the table.
        name: what the reader calls it.
        version: see Version; the word `now` is the current snapshot too.

    Returns:
        The snapshot, or None when the table had no rows then.

    Raises:
        UnknownVersionError: no such tag or snapshot, or it has expired; names those that are retained.
    """
    if version is None or version == NOW:
        return table.current_snapshot()
    text = str(version)
    references = table.refs()
    for tag in (text, *batch_tags(text.removeprefix("v_incr_").removeprefix("v_"))):
        if tag in references:
            return table.snapshot_by_id(references[tag].snapshot_id)
    if text.isdigit() and (found := table.snapshot_by_id(int(text))) is not None:
        return found
    moment = _parse_moment(version)
    if moment is None:
        tags = ", ".join(sorted(t for t in references if t != "main")) or "none"
        raise UnknownVersionError(
            f"table {name} has no tag, snapshot or moment {text!r}; a moment is ISO 8601; retained tags: {tags}"
        )
    return _current_at(table, name, moment)


def _current_at(table: IcebergTable, name: str, moment: dt.datetime) -> Snapshot | None:
    milliseconds = int(moment.timestamp() * 1000)
    before: Snapshot | None = None
    for entry in sorted(table.history(), key=lambda entry: entry.timestamp_ms):
        snapshot = table.snapshot_by_id(entry.snapshot_id)
        if entry.timestamp_ms > milliseconds:
            if _expired_between(table, before, snapshot):
                raise _expired(table, name, moment, before, snapshot)
            break
        before = snapshot
    return before


def _expired_between(table: IcebergTable, before: Snapshot | None, after: Snapshot | None) -> bool:
    # An expiry removes snapshots from the history too, and nothing tells when they were current. But each snapshot
    # has the next sequence number (0 in Iceberg's format 1, which has none), so a missing one shows.
    last = 0 if before is None else before.sequence_number or 0
    following = 0 if after is None else after.sequence_number or 0
    present = {snapshot.sequence_number for snapshot in table.snapshots()}
    return any(number not in present for number in range(last + 1, following))


def _expired(
    table: IcebergTable, name: str, moment: dt.datetime, before: Snapshot | None, after: Snapshot | None
) -> UnknownVersionError:
    tags: dict[int, str] = {}
    for tag, reference in table.refs().items():
        if reference.snapshot_ref_type == "tag":
            tags.setdefault(reference.snapshot_id, tag)
    around = " and ".join(
        f"{tags.get(snapshot.snapshot_id, snapshot.snapshot_id)} ({_moment(snapshot.timestamp_ms):%Y-%m-%dT%H:%M:%SZ})"
        for snapshot in (before, after)
        if snapshot is not None
    )
    return UnknownVersionError(
        f"table {name}: versions near {moment.isoformat()} have expired, so its rows of that moment are not known; "
        f"name a retained version: {around}"
    )


def _moment(milliseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)


def _parse_moment(value: str | int | dt.datetime) -> dt.datetime | None:
    if not isinstance(value, dt.datetime):
        try:
            value = dt.datetime.fromisoformat(str(value))
        except ValueError:
            return None
    return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
