"""What the tests of the command share: a home of their own, and the command run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from qpipe_cli.main import app

MONITORING = (
    "MONITORING_ENABLED",
    "MONITORING_INTERVAL",
    "PUSHGATEWAY_URL",
    "MONITORING_EXPORT_FORMAT",
    "CONTAINER_TYPE",
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """QPIPE_HOME, which does not exist yet, seen from an empty working folder."""
    for name in ("DAGSTER_HOME", *MONITORING):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QPIPE_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.fixture
def molecule_file(tmp_path: Path) -> Callable[..., str]:
    """Writes one molecule into a file `odd.json` and gives its path."""

    def write(**molecule: Any) -> str:
        path = tmp_path / "odd.json"
        path.write_text(json.dumps([molecule]))
        return str(path)

    return write


def qpipe(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, list(arguments))


def rows(result: Result) -> list[dict[str, Any]]:
    """The rows that a successful command printed with --format json."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)
