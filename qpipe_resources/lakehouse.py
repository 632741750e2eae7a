"""The lakehouse: Iceberg tables in one SQL catalog, with commits that append and tag at most once.

pyiceberg 0.12 keeps one requirement per type and its automatic retry drops the tag and appends again, so every table
has `commit.retry.num-retries=0` and the retry loop is ours: each attempt starts at loading the table, looks for the
tag, asks the caller whether the write is still wanted, and commits with compare-and-swap on the table's metadata.
So a commit whose answer was lost is tried again too: when it had been done, its tag is there.
"""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Callable, Iterable
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qpipe_resources.catalog_database import (
    SQLITE_TIMEOUT,
    Attempts,
    lock_across_processes,
    open_engine,
    postgresql_url,
)
from qpipe_resources.commits import Commit, rows_added, tag_new_snapshots, tag_times
from qpipe_resources.errors import ServiceError
from qpipe_resources.lakehouse_reads import CATALOG, LakehouseReads
from qpipe_resources.lakehouse_versions import batch_tags

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileSystem
    from pydantic import SecretStr
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.table import Table as IcebergTable
    from sqlalchemy import URL, Engine

    from qpipe_resources.data_files import WriteTarget, Written
    from qpipe_resources.s3_files import S3Files
    from qpipe_resources.table_declaration import TableDeclaration

_Result = TypeVar("_Result")

TABLE_PROPERTIES = {
    "commit.retry.num-retries": "0",
    "commit.manifest-merge.enabled": "true",
    # Every commit writes the list of all manifests anew, so a hundred small ones, the default, are too many.
    "commit.manifest.min-count-to-merge": "16",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


_AGREED = "qpipe.declarations"
"""Property of the namespace: fingerprint of the declarations that its tables agree with."""


class LostMetadataError(ServiceError):
    """The catalog names a table's metadata file that is not there: the warehouse was emptied, moved or never shared."""


class Lakehouse(LakehouseReads):
    """Iceberg tables of one namespace in one SQL catalog, with the ledger's database beside them."""

    def __init__(
        self,
        database: URL,
        warehouse: str,
        namespace: str,
        *,
        files: S3Files | None = None,
        lock_file: Path | None = None,
    ) -> None:
        """Prepare; connects at first use.

        Args:
            database: of catalog and ledger.
            warehouse: URI below which the tables lie.
            namespace: that the tables are in.
            files: who serves the warehouse's files; this machine when None.
            lock_file: guards the first start where the database is a file.
        """
        self._database = database
        self.warehouse = warehouse
        self.namespace = namespace
        self._files = files
        self._lock_file = lock_file

    @classmethod
    def in_folder(cls, database: Path, warehouse: Path, namespace: str) -> Lakehouse:
        """A lakehouse on this machine: SQLite and a folder, nothing else."""
        import sqlalchemy as sa

        url = sa.URL.create("sqlite", database=str(database), query={"timeout": str(SQLITE_TIMEOUT)})
        return cls(url, f"file://{warehouse}", namespace, lock_file=database.with_suffix(".lock"))

    @classmethod
    def in_s3(cls, catalog_uri: SecretStr, endpoint: str, region: str, bucket: str, namespace: str) -> Lakehouse:
        """A lakehouse of several machines: PostgreSQL, and `warehouse/` in a bucket of Garage or any other S3.

        Raises:
            CatalogRefusedError: the URI of the database cannot be understood.
        """
        from qpipe_resources.s3_files import S3Files

        url = postgresql_url(catalog_uri.get_secret_value())
        return cls(url, f"s3://{bucket}/warehouse", namespace, files=S3Files(endpoint, region))

    @property
    def identity(self) -> str:
        """Which lakehouse this is: the same text for the same one; holds no secret."""
        return f"{self.namespace} in {self._database.render_as_string(hide_password=True)} and {self.warehouse}"

    @cached_property
    def catalog(self) -> SqlCatalog:
        """The Iceberg catalog; its own two tables are created when they are missing."""
        from qpipe_resources.iceberg_catalog import RememberingCatalog

        uri = self._database.render_as_string(hide_password=False)
        files = self._files.properties if self._files else {}
        return RememberingCatalog(CATALOG, uri=uri, warehouse=self.warehouse, pool_pre_ping="true", **files)

    @cached_property
    def data_files(self) -> FileSystem:
        """See LakehouseReads."""
        from pyarrow.fs import LocalFileSystem

        return self._files.arrow if self._files else LocalFileSystem()

    @cached_property
    def engine(self) -> Engine:
        """Connections to the catalog's database, for the ledger."""
        return open_engine(self._database)

    def ensure(
        self,
        tables: Iterable[TableDeclaration],
        has_ledger: Callable[[Engine], bool],
        create_ledger: Callable[[Engine], None],
    ) -> None:
        """Create catalog, namespace, tables and ledger where missing, and columns that were declared since.

        Safe for processes that start together. The namespace remembers the declarations that its tables agree with,
        so that no table is loaded where nothing has changed.

        Args:
            tables: that there have to be.
            has_ledger: whether the ledger is there and complete.
            create_ledger: creates what is missing of it.

        Raises:
            SchemaRefusedError: a declaration contradicts its table; nothing was changed.
            CatalogUnavailableError: the database does not answer.
            CatalogRefusedError: the database refuses.
        """
        declared = list(tables)
        self._repeated("the first look at the catalog", lambda: self._ensure(declared, has_ledger, create_ledger))

    def _ensure(
        self,
        tables: list[TableDeclaration],
        has_ledger: Callable[[Engine], bool],
        create_ledger: Callable[[Engine], None],
    ) -> None:
        from qpipe_resources.schema_evolution import agree

        # The ledger comes last: with it there is a catalog, which may be made by one process only.
        if self._lock_file is None and has_ledger(self.engine) and not self._missing(tables) and self._agreed(tables):
            return
        with lock_across_processes(self.engine, "qpipe first start", self._lock_file):
            missing = self._missing(tables)
            if missing:
                self._create(missing)
            if not self._agreed(tables):
                agree(self, [table for table in tables if table not in missing])
                self.catalog.update_namespace_properties(self.namespace, updates={_AGREED: _fingerprint(tables)})
            create_ledger(self.engine)

    def _agreed(self, tables: list[TableDeclaration]) -> bool:
        return self.catalog.load_namespace_properties(self.namespace).get(_AGREED) == _fingerprint(tables)

    def _missing(self, tables: list[TableDeclaration]) -> list[TableDeclaration]:
        present = {name for _, name in self._list_tables()}
        return [table for table in tables if table.name not in present]

    def _repeated(self, what: str, action: Callable[[], _Result]) -> _Result:
        """Do what may be done again until the database answers, or it has not for too long."""
        from sqlalchemy.exc import DBAPIError

        attempts = Attempts(what)
        while True:
            try:
                return action()
            except DBAPIError as error:
                attempts.failed(error)

    def _list_tables(self) -> list[tuple[str, str]]:
        from pyiceberg.exceptions import NoSuchNamespaceError

        try:
            return [(str(i[0]), str(i[-1])) for i in self.catalog.list_tables(self.namespace)]
        except NoSuchNamespaceError:
            return []

    def _create(self, missing: list[TableDeclaration]) -> None:
        from pyiceberg.exceptions import NamespaceAlreadyExistsError, TableAlreadyExistsError

        try:
            self.catalog.create_namespace(self.namespace)
        except NamespaceAlreadyExistsError:
            pass
        for declared in missing:
            try:
                self.catalog.create_table(
                    f"{self.namespace}.{declared.name}",
                    schema=declared.iceberg_schema(),
                    partition_spec=declared.partition_spec(),
                    properties={**TABLE_PROPERTIES, "comment": declared.comment},
                )
            except TableAlreadyExistsError:
                pass

    def load(self, name: str) -> IcebergTable:
        """The table's current state.

        Raises:
            LostMetadataError: its files are gone.
            CatalogUnavailableError: the database does not answer.
        """
        missing = ""
        while True:
            try:
                return self._repeated(f"table {name}", lambda: self.catalog.load_table(f"{self.namespace}.{name}"))
            except FileNotFoundError as error:
                # Later commits remove old metadata files; then the catalog names another one by now.
                if str(error) == missing:
                    raise LostMetadataError(
                        f"table {name}: the catalog names metadata that is not in {self.warehouse} ({error}); "
                        "mend QPIPE_S3_FEATURES_BUCKET or QPIPE_HOME, or restore the warehouse"
                    ) from error
                missing = str(error)

    def append(
        self,
        name: str,
        data: pa.Table | Callable[[IcebergTable], Written],
        batch_id: str,
        still_wanted: Callable[[], bool] = lambda: True,
    ) -> Commit | None:
        """Append rows and tag the snapshot in one atomic commit, at most once for each batch.

        Args:
            name: the table.
            data: rows in the table's Arrow schema, or what writes their files for the table as it was loaded. They are
                written once, whoever else commits meanwhile.
            batch_id: names the tag: `v_<batch>` on the table's first snapshot, `v_incr_<batch>` after.
            still_wanted: asked after the table was loaded and before it is written; a rebuild that withdraws the
                batch first changes the answer and then moves the table, so a stale write loses either way.

        Returns:
            The commit, or None when it is no longer wanted.

        Raises:
            LakehouseBusyError: other writers kept winning.
        """
        from qpipe_resources.data_files import write_data_files

        made: list[Written] = []

        def write(table: IcebergTable) -> Commit:
            from qpipe_resources.iceberg_transaction import CachedTransaction

            if not made or not made[0].fits(table.metadata):
                made[:] = [data(table) if callable(data) else write_data_files(table, [data])]
            written = made[0]
            if not written.rows:
                return Commit(name, None, None, False, tag_times(table))
            tag = batch_tags(batch_id)[table.current_snapshot() is not None]
            with CachedTransaction(table) as transaction:
                update = transaction.update_snapshot(snapshot_properties={"qpipe.batch-id": batch_id})
                with update.merge_append() as snapshot:
                    for file in written.files:
                        snapshot.append_data_file(file)
                snapshot_id = tag_new_snapshots(transaction, table, tag)
            return Commit(name, tag, snapshot_id, True, tag_times(table), written.rows)

        return self.commit_once(name, batch_tags(batch_id), still_wanted, write)

    def write_target(self, table: IcebergTable) -> WriteTarget:
        """The table, as it was loaded, for processes that write data files of it without the catalog."""
        from qpipe_resources.data_files import WriteTarget

        files = self._files.properties if self._files else {}
        return WriteTarget(table.metadata.model_dump_json(), files)

    def delete_molecule(
        self, name: str, molecule: str, rebuild_id: str, still_wanted: Callable[[], bool]
    ) -> Commit | None:
        """Delete the molecule's rows, at most once for each rebuild; always moves the table, so stale writers lose."""
        tag = f"v_rebuild_{rebuild_id}"

        def write(table: IcebergTable) -> Commit:
            properties = {"qpipe.rebuild-id": rebuild_id}
            empty = table.schema().as_arrow().empty_table()
            with table.transaction() as transaction, warnings.catch_warnings():
                # A molecule without rows is nothing to warn about.
                warnings.filterwarnings("ignore", message="Delete operation did not match any records")
                if table.current_snapshot() is not None:
                    # A partition key was validated: it holds nothing that an expression could mistake.
                    transaction.delete(f"molecule == '{molecule}'", snapshot_properties=properties)
                transaction.append(empty, snapshot_properties=properties)
                snapshot_id = tag_new_snapshots(transaction, table, tag)
            return Commit(name, tag, snapshot_id, True, tag_times(table))

        return self.commit_once(name, (tag,), still_wanted, write)

    def expire(self, name: str, choose: Callable[[dict[str, dt.datetime]], list[str]]) -> list[str]:
        """Remove the tags that `choose` picks among tag -> time, and the snapshots that are left without a tag.

        Returns:
            The removed tags.
        """
        from qpipe_resources import snapshot_expiry

        removed: list[str] = []

        def write(table: IcebergTable) -> None:
            removed[:] = snapshot_expiry.chosen(table, choose)
            if removed:
                snapshot_expiry.remove(table, removed)

        self.commit_once(name, (), lambda: True, write)
        return removed

    def commit_once(
        self,
        name: str,
        tags: tuple[str, ...],
        still_wanted: Callable[[], bool],
        write: Callable[[IcebergTable], Commit | None],
    ) -> Commit | None:
        """Do `write` on the loaded table until it commits, or one of `tags` tells that it has, or it is not wanted.

        Args:
            name: the table.
            tags: of which `write` sets one, in its commit.
            still_wanted: asked after the table was loaded and before it is written.
            write: one attempt; it must commit with compare-and-swap, and may be called again after it has committed
                where it sets no tag.

        Raises:
            LakehouseBusyError: other writers kept winning.
        """
        from pyiceberg.exceptions import CommitFailedException
        from sqlalchemy.exc import DBAPIError

        attempts = Attempts(f"table {name}")
        while True:
            table = self.load(name)
            references = table.refs()
            for tag in tags:
                if tag in references:
                    found = references[tag].snapshot_id
                    return Commit(name, tag, found, False, tag_times(table), rows_added(table, found))
            if not still_wanted():
                return None
            try:
                return write(table)
            except CommitFailedException:
                attempts.lost()
            except FileNotFoundError as error:
                # The commit looks the table up once more, and finds metadata that others have just replaced.
                if ".metadata.json" not in str(error):
                    raise
                attempts.lost()
            except DBAPIError as error:
                attempts.failed(error)


def _fingerprint(tables: list[TableDeclaration]) -> str:
    return sha256("".join(table.fingerprint for table in tables).encode()).hexdigest()
