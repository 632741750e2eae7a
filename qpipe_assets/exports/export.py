"""One export from start to end: both ends looked at, planned, written, made the latest; one at a time for a target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256

from qpipe_assets.exports.health import check_both_ends
from qpipe_assets.exports.latest import point_to
from qpipe_assets.exports.plan import Plan, make_plan
from qpipe_assets.exports.progress import Progress, silent
from qpipe_assets.exports.request import ExportRequest
from qpipe_assets.exports.retention import Removal, keep_newest
from qpipe_assets.exports.target import ExportTarget
from qpipe_assets.exports.writing import Tally, VersionWriter
from qpipe_assets.tables.installation import Installation
from qpipe_resources.catalog_database import lock_across_processes
from qpipe_resources.export_settings import ExportSettings


@dataclass(frozen=True)
class Outcome:
    """What an export did, or would do.

    Attributes:
        version: its name.
        url: of the dataset.
        rows: of each table.
        batches: that all tables hold.
        batches_left_out: that only some of them have so far.
        waiting: molecules at work, whose rows may be missing or not be all.
        new: whether the version was not there before.
        files_written: data files and documents.
        bytes_written: of them.
        files_kept: data files that were there already.
        rows_written: rows in the data files that were written, or would be.
        splits: number of molecules by split.
        removed: old versions that went, and their files.
    """

    version: str
    url: str
    rows: dict[str, int]
    batches: int
    batches_left_out: int
    waiting: list[str]
    new: bool
    files_written: int
    bytes_written: int
    files_kept: int
    rows_written: int
    splits: dict[str, int]
    removed: Removal


@dataclass(frozen=True)
class Export:
    """Exports of one installation to one target."""

    installation: Installation
    target: ExportTarget
    settings: ExportSettings
    progress: Progress = field(default=silent)

    def run(self, request: ExportRequest, *, dry_run: bool = False, keep: int | None = None) -> Outcome:
        """Export, or tell what would be exported.

        Killed at any moment, the former version is whole and the latest; the next run goes on with what has arrived.

        Args:
            request: what to export.
            dry_run: write nothing at all.
            keep: remove all versions but so many of the newest; none are removed when None.

        Raises:
            ExportEndError: source or target cannot be used; nothing was written.
            UnknownVersionError: a table has no such version.
            ExportRefusedError: there is nothing to export, or something else is at the target.
            SplitsRefusedError: molecules cannot be divided so.
            TargetFailedError: a file cannot be written, or reads otherwise; the former version stays the latest.
        """
        lakehouse, settings = self.installation.lakehouse, self.settings
        secrets = [self.installation.settings, settings]
        check_both_ends(lakehouse, request.tables[0], self.target, secrets, write=not dry_run)
        if dry_run:
            return self._outcome(make_plan(self.installation, self.target, request, settings.checkers))
        with self._alone():
            plan = make_plan(self.installation, self.target, request, settings.checkers)
            if plan.is_complete and plan.before is not None:
                manifest, tally = plan.before.manifest, Tally(there=len(plan.before.manifest.data_files))
            else:
                writer = VersionWriter(plan, self.target, lakehouse, settings.transfers, self.progress)
                manifest, tally = writer.write(), writer.tally
            point_to(self.target, manifest)
            removed = keep_newest(self.target, lakehouse, keep, manifest.version) if keep else None
        return self._outcome(plan, tally, removed)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for another export of this installation to the same target; its files are needed or removed by then."""
        place = sha256(self.target.url.encode()).hexdigest()[:12]
        settings = self.installation.settings
        file = settings.home / f"export-{place}.lock" if settings.env == "local" else None
        with lock_across_processes(self.installation.lakehouse.engine, f"qpipe export {place}", file):
            yield

    def _outcome(self, plan: Plan, tally: Tally | None = None, removed: Removal | None = None) -> Outcome:
        kept = sum(len(unit.files) for unit in plan.kept.values())
        return Outcome(
            version=plan.version,
            url=self.target.url,
            rows={table.name: table.rows for table in plan.selection.tables},
            batches=plan.selection.batches,
            batches_left_out=len(plan.selection.unfinished),
            waiting=list(plan.selection.waiting),
            new=not plan.is_complete,
            files_written=tally.written if tally else 0,
            bytes_written=tally.bytes if tally else 0,
            files_kept=tally.there if tally else kept,
            rows_written=plan.rows_to_write,
            splits={split: len(members) for split, members in plan.splits.items()},
            removed=removed or Removal((), 0),
        )
