"""Whose exports lie at a target: an installation knows its own by the identities of their tables, chosen or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from qpipe_assets.exports.manifest import Manifest, TableEntry
from qpipe_assets.tables import schemas

if TYPE_CHECKING:
    from qpipe_resources.lakehouse import Lakehouse


def own_tables(lakehouse: Lakehouse, manifests: Iterable[Manifest]) -> dict[str, str]:
    """Identity (Iceberg's table UUID) of our own table of each name in these manifests, as far as it is declared."""
    named = {table.name for manifest in manifests for table in manifest.tables}
    return {name: str(lakehouse.load(name).metadata.table_uuid) for name in schemas.names(schemas.ALL) if name in named}


def strange_tables(manifest: Manifest, own: Mapping[str, str]) -> list[TableEntry]:
    """The tables of a version that are not our own ones of that name; none of a version that is ours.

    Args:
        manifest: of the version.
        own: identities of our tables by name; a name without one says nothing.
    """
    return [table for table in manifest.tables if own.get(table.name, table.source_uuid) != table.source_uuid]
