"""The catalog reads a table's metadata once for each of its versions, and never takes a lost one for there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
from pyiceberg.serializers import FromInputFile

from qpipe_assets.tables.installation import Installation, open_installation
from tests.tables.protocol import content, h2, land, undisturbed


@contextmanager
def reads() -> Iterator[mock.Mock]:
    """Counts the metadata files that are read."""
    with mock.patch.object(FromInputFile, "table_metadata", side_effect=FromInputFile.table_metadata) as read:
        yield read


def test_what_this_process_has_read_or_written_is_not_read_again(installation: Installation) -> None:
    land(installation, [0])
    installation.ingest().run("H2")
    with reads() as read:
        land(installation, [1])
        installation.ingest().run("H2")
        assert read.call_count == 0
    assert content(installation) == undisturbed(h2(0, 1))


def test_what_another_process_has_committed_is_seen_at_once(installation: Installation) -> None:
    other = open_installation(installation.settings)
    for number, mine in enumerate([installation, other, other, installation]):
        land(mine, [number])
        mine.ingest().run("H2")
        for one in (installation, other):
            assert one.lakehouse.load("vqe_results").scan().count() == number + 1
    assert content(installation) == undisturbed(h2(*range(4)))


def test_remembered_metadata_whose_file_is_gone_is_an_error(installation: Installation) -> None:
    table = installation.lakehouse.load("molecules")
    shutil.rmtree(installation.settings.warehouse)
    with pytest.raises(FileNotFoundError):
        installation.lakehouse.catalog.load_table(table.name())
