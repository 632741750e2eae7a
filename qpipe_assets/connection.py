"""From the Dagster resources to the installation that table logic works on; its tables are ensured once a process."""

from __future__ import annotations

from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation
from qpipe_resources.deployment import LakehouseResource, ObjectStoreResource
from qpipe_resources.lakehouse import Lakehouse
from qpipe_resources.settings import load_settings

_ensured: dict[str, Lakehouse] = {}


def connect(object_store: ObjectStoreResource, lakehouse: LakehouseResource) -> Installation:
    """The installation behind two resources; tables and ledger exist afterwards."""
    opened = lakehouse.open(schemas.NAMESPACE)
    if opened.catalog_uri not in _ensured:
        from qpipe_assets.tables.ledger_tables import create_ledger

        opened.ensure(schemas.ALL, create_ledger)
        _ensured[opened.catalog_uri] = opened
    return Installation(load_settings(), object_store.open(), _ensured[opened.catalog_uri])
