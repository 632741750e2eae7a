"""Tables follow their declaration: added columns reach them, what contradicts them is refused before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from qpipe_assets.tables import schemas
from qpipe_assets.tables.declaration import Column, Table
from qpipe_assets.tables.decode import decode
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.lakehouse import Lakehouse
from qpipe_resources.schema_evolution import SchemaRefusedError, agree
from tests.crash_worker import Worker
from tests.tables.protocol import assert_at_rest, content, h2, land, record_bytes, settings_in, undisturbed

ADDED = ("energy_delta", "cumulative_min_energy")
DECLARED = schemas.table("vqe_iterations")
Declare = Callable[..., None]


def without(*columns: str) -> Table:
    """The declaration of vqe_iterations before it had these columns."""
    return dataclasses.replace(DECLARED, columns=tuple(c for c in DECLARED.columns if c.name not in columns))


def with_column(column: Column, before: str) -> Table:
    """A declaration of vqe_iterations with one column more."""
    at = DECLARED.column_names.index(before)
    return dataclasses.replace(DECLARED, columns=(*DECLARED.columns[:at], column, *DECLARED.columns[at:]))


def retyped(name: str, type_: str) -> Table:
    changed = tuple(dataclasses.replace(c, type=type_) if c.name == name else c for c in DECLARED.columns)
    return dataclasses.replace(DECLARED, columns=changed)


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Declare vqe_iterations differently from now on."""

    def change(table: Table) -> None:
        for group in ("ALL", "NORMALIZED"):
            current = getattr(schemas, group)
            monkeypatch.setattr(schemas, group, tuple(table if t.name == table.name else t for t in current))

    return change


def metadata(installation: Installation) -> dict[str, str]:
    return {name: installation.lakehouse.load(name).metadata_location for name in schemas.names(schemas.ALL)}


def test_an_added_column_stands_in_its_place_with_its_documentation_and_old_rows_are_null(
    tmp_path: Path, declare: Declare
) -> None:
    declare(DECLARED)
    settings = settings_in(tmp_path)
    older = open_installation(settings)
    land(older, [0])
    older.ingest().run("H2")
    declare(with_column(Column("trust_radius", "double", "How far the step may go", "rad"), before="energy_delta"))
    newer = open_installation(settings)
    table = newer.lakehouse.load("vqe_iterations")
    names = table.schema().column_names
    assert names == schemas.table("vqe_iterations").column_names
    assert table.schema().find_field("trust_radius").doc == "How far the step may go [rad]"
    column = newer.lakehouse.arrow("vqe_iterations").column("trust_radius")
    assert column.null_count == len(column) > 0


def test_a_first_column_can_be_added_too(tmp_path: Path, declare: Declare) -> None:
    open_installation(settings_in(tmp_path))
    declare(with_column(Column("rank", "list<int>", "First of all"), before=DECLARED.column_names[0]))
    table = open_installation(settings_in(tmp_path)).lakehouse.load("vqe_iterations")
    assert [field.name for field in table.schema().fields] == ["rank", *DECLARED.column_names]


def test_changed_documentation_reaches_the_table(tmp_path: Path, declare: Declare) -> None:
    open_installation(settings_in(tmp_path))
    changed = dataclasses.replace(DECLARED.columns[-1], doc="In other words")
    declare(dataclasses.replace(DECLARED, columns=(*DECLARED.columns[:-1], changed)))
    schema = open_installation(settings_in(tmp_path)).lakehouse.load("vqe_iterations").schema()
    assert schema.find_field(changed.name).doc == changed.described


def test_no_table_is_loaded_or_written_where_nothing_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = open_installation(settings_in(tmp_path))
    before = metadata(installation)
    with monkeypatch.context() as patched:
        patched.setattr(Lakehouse, "load", lambda *_: pytest.fail("a table was loaded"))
        open_installation(settings_in(tmp_path))
    assert metadata(installation) == before


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            without("energy_delta"),
            r"vqe_iterations\.energy_delta: found as double, expected no such column; declare it again",
        ),
        (
            dataclasses.replace(
                DECLARED,
                columns=tuple(
                    dataclasses.replace(c, name="delta_energy") if c.name == "energy_delta" else c
                    for c in DECLARED.columns
                ),
            ),
            r"vqe_iterations\.energy_delta: found as double, .*\(is it now delta_energy\? a column is not renamed\)",
        ),
        (
            retyped("energy_delta", "string"),
            r"vqe_iterations\.energy_delta: found as double, expected string; declare it as double, and .* a new col",
        ),
        (
            with_column(Column("rank", "int", "New", required=True), before="energy_delta"),
            r"vqe_iterations\.rank: the table lacks it, and it is declared as required; declare it optional",
        ),
        (
            dataclasses.replace(DECLARED, partition=("processing_date",)),
            r"vqe_iterations: found partitioned by processing_date, basis_set, backend, expected processing_date;",
        ),
    ],
    ids=["dropped", "renamed", "retyped", "required", "partition"],
)
def test_a_contradiction_is_refused_with_what_to_do_and_nothing_is_changed(
    tmp_path: Path, declare: Declare, table: Table, message: str
) -> None:
    settings = settings_in(tmp_path)
    installation = open_installation(settings)
    before = metadata(installation)
    declare(table)
    for _ in range(2):
        with pytest.raises(SchemaRefusedError, match=message):
            open_installation(settings)
    assert metadata(installation) == before


def test_all_tables_are_checked_before_one_is_changed(tmp_path: Path, declare: Declare) -> None:
    installation = open_installation(settings_in(tmp_path))
    before = metadata(installation)
    declare(retyped("energy_delta", "string"))
    first = schemas.table("molecules")
    declare(dataclasses.replace(first, columns=(*first.columns, Column("rank", "int", "New"))))
    with pytest.raises(SchemaRefusedError):
        open_installation(settings_in(tmp_path))
    assert metadata(installation) == before


def test_an_older_qpipe_at_work_goes_on_and_its_rows_are_null_there(tmp_path: Path, declare: Declare) -> None:
    settings = settings_in(tmp_path)
    declare(without(*ADDED))
    older = open_installation(settings)
    land(older, [0])
    older.ingest().run("H2")
    declare(DECLARED)
    newer = open_installation(settings)
    declare(without(*ADDED))
    land(older, [1])
    older.ingest().run("H2")
    with pytest.raises(SchemaRefusedError, match="or use the newer qpipe that declares it"):
        open_installation(settings)
    declare(DECLARED)
    land(newer, [2])
    newer.ingest().run("H2")
    found, expected = content(newer)["vqe_iterations"], undisturbed(h2(0, 1, 2))["vqe_iterations"]
    last = decode(record_bytes(2))[0].experiment_id
    assert any(row["cumulative_min_energy"] is not None for row in found if row["experiment_id"] == last)
    assert found == [row if row["experiment_id"] == last else row | dict.fromkeys(ADDED) for row in expected]
    assert_at_rest(newer)


def test_four_processes_that_open_at_once_add_a_column_once(tmp_path: Path, declare: Declare) -> None:
    settings = settings_in(tmp_path)
    declare(without(*ADDED))
    installation = open_installation(settings)
    workers = [Worker(settings, [("open", "")]) for _ in range(4)]
    for worker in workers:
        worker.go()
    for worker in workers:
        worker.finish()
    table = installation.lakehouse.load("vqe_iterations")
    assert table.schema().column_names == DECLARED.column_names
    assert len(table.schemas()) == 2


def test_a_column_is_added_while_others_commit(tmp_path: Path, declare: Declare) -> None:
    settings = settings_in(tmp_path)
    declare(without(*ADDED))
    installation = open_installation(settings)
    land(installation, range(3))
    declare(DECLARED)
    workers = [Worker(settings, [("ingest", "H2")]) for _ in range(3)]
    for worker in workers:
        worker.go()
    for worker in workers:
        worker.finish()
    assert content(open_installation(settings)) == undisturbed(h2(*range(3)))


def test_a_table_that_requires_less_than_is_declared_is_taken_as_it_is(tmp_path: Path) -> None:
    """Spark's tables require nothing."""
    installation = open_installation(settings_in(tmp_path))
    table = installation.lakehouse.load("molecules")
    with table.update_schema() as update:
        update.make_column_optional("molecule")
    location = installation.lakehouse.load("molecules").metadata_location
    agree(installation.lakehouse, schemas.ALL)
    assert installation.lakehouse.load("molecules").metadata_location == location
