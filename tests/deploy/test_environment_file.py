"""`make env`: secrets are made once, for their owner alone, and nothing that stands in .env is lost."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from deploy.environment import CHOICES, EXAMPLE, MADE, variables, write

TEXT = EXAMPLE.read_text()


def test_a_new_file_is_the_example_with_every_secret_made(tmp_path: Path) -> None:
    target = tmp_path / ".env"
    assert write(target, TEXT) == list(MADE)
    found = variables(target.read_text())
    assert all(len(found[name]) >= 26 for name in MADE)
    assert len({found[name] for name in MADE}) == len(MADE)
    assert re.fullmatch("GK[0-9a-f]{24}", found["GARAGE_KEY_ID"]), "Garage takes no other form"
    assert {line.lstrip("#").partition("=")[0] for line in TEXT.splitlines()} <= {
        line.lstrip("#").partition("=")[0] for line in target.read_text().splitlines()
    }


def test_a_new_file_sets_nothing_that_programs_beside_compose_read(tmp_path: Path) -> None:
    """Every `dagster` command takes .env of its folder before the environment."""
    target = tmp_path / ".env"
    write(target, TEXT)
    assert set(variables(target.read_text())) == {*MADE, *CHOICES}
    read_by_programs = re.compile(r"QPIPE_|KAFKA_|MONITORING_|AWS_|PG|SCHEMA_REGISTRY_|DAGSTER_HOME|SPARK_LOCAL")
    assert [name for name in variables(target.read_text()) if read_by_programs.match(name)] == []


def test_its_owner_alone_may_read_it(tmp_path: Path) -> None:
    target = tmp_path / ".env"
    target.write_text("")
    target.chmod(0o644)
    write(target, TEXT)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / ".env"
    write(target, TEXT)
    before = target.read_text()
    assert write(target, TEXT) == []
    assert target.read_text() == before


def test_what_stands_there_stays_and_what_is_missing_is_added(tmp_path: Path) -> None:
    target = tmp_path / ".env"
    target.write_text("# mine\nCATALOG_POSTGRES_PASSWORD='kept'\nQPIPE_WORKERS=3\nGRAFANA_ADMIN_PASSWORD=")
    made = write(target, TEXT)
    assert set(made) == set(MADE) - {"CATALOG_POSTGRES_PASSWORD"}
    assert target.read_text().startswith(
        "# mine\nCATALOG_POSTGRES_PASSWORD='kept'\nQPIPE_WORKERS=3\nGRAFANA_ADMIN_PASSWORD="
    )
    found = variables(target.read_text())
    assert (found["CATALOG_POSTGRES_PASSWORD"], found["QPIPE_WORKERS"]) == ("kept", "3")
    assert target.read_text().count("GRAFANA_ADMIN_PASSWORD") == 1
    assert all(found[name] for name in MADE)
