"""From the Dagster resources to the installation that table logic works on; its tables are ensured once a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource, TableEngineResource
from qpipe_resources.settings import load_settings

if TYPE_CHECKING:
    from qpipe_resources.lakehouse import Lakehouse

_ensured: dict[str, Lakehouse] = {}


def connect(
    object_store: ObjectStoreResource, lakehouse: LakehouseResource, table_engine: TableEngineResource | None = None
) -> Installation:
    """The installation behind the resources; tables and ledger exist afterwards."""
    opened = lakehouse.open(schemas.NAMESPACE)
    if opened.identity not in _ensured:
        from qpipe_assets.tables.ledger_tables import create_ledger, has_ledger

        opened.ensure(schemas.ALL, has_ledger, create_ledger)
        _ensured[opened.identity] = opened
    spark = table_engine.spark() if table_engine else None
    return Installation(load_settings(), object_store.open(), _ensured[opened.identity], spark)
