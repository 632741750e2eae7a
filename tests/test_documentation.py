"""The generated documentation is what its source says."""

from pathlib import Path

from qpipe_assets.tables.documentation import render

ROOT = Path(__file__).resolve().parents[1]


def test_tables_page_is_not_stale():
    assert (ROOT / "docs" / "tables.md").read_text(encoding="utf-8") == render()


def test_environment_example_names_every_setting_and_nothing_else():
    from qpipe_resources.settings import Settings
    from simulation.monitor_settings import VARIABLES

    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    named = {line.lstrip("#").split("=")[0] for line in lines if "=" in line and line.lstrip("#")[:1].isupper()}
    expected = {"DAGSTER_HOME" if name == "dagster_home" else f"QPIPE_{name.upper()}" for name in Settings.model_fields}
    assert named == expected | set(VARIABLES.values())
