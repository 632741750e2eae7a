"""`qpipe export`: what it prints, verifies and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe_assets.tables.installation import open_installation
from tests.cli.conftest import qpipe, rows
from tests.exports.conftest import bring_in


@pytest.fixture
def filled_home(home: Path) -> Path:
    """A home with rows of two molecules."""
    installation = open_installation()
    for molecule in ("H2", "LiH"):
        bring_in(installation, molecule, range(1))
    return home


def test_it_exports_tells_what_and_verifies(filled_home: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "out")
    (planned,) = rows(qpipe("export", target, "--dry-run", "--report", "json"))
    assert (planned["new"], planned["rows_written"], planned["files_written"]) == (True, 2 + 8, 0)
    assert not (tmp_path / "out").exists()
    arguments = ("--splits", "train=0.5,test=0.5", "--split-molecules", "test=H2", "--report", "json")
    (done,) = rows(qpipe("export", target, *arguments))
    assert done["rows"] == {"ml_iteration_features": 8, "ml_run_summary": 2}
    assert done["splits"] == {"train": 1, "test": 1}
    (again,) = rows(qpipe("export", target, *arguments))
    assert (again["new"], again["files_written"], again["version"]) == (False, 0, done["version"])
    assert "nothing new" in qpipe("export", target, *arguments[:-2]).stdout
    (verified,) = rows(qpipe("export", target, "--verify", "--report", "json"))
    assert (verified["version"], verified["damaged"]) == (done["version"], 0)
    damaged = next((tmp_path / "out" / "quantum_features" / "data" / "ml_run_summary").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    result = qpipe("export", target, "--verify")
    assert result.exit_code == 1
    assert f"data/ml_run_summary/{damaged.name} has another SHA-256" in result.stderr


def test_a_molecule_that_is_being_rebuilt_is_told(filled_home: Path, tmp_path: Path) -> None:
    open_installation().ingest().run("H2", rebuild=True)
    result = qpipe("export", str(tmp_path / "out"), "--report", "json")
    assert rows(result)[0]["waiting"] == ["H2"]
    assert "rows of H2 may be missing: an ingest, a rebuild or a table is not finished" in result.stderr


def test_the_target_and_the_licence_come_from_the_environment(
    filled_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QPIPE_EXPORT_TARGET", str(tmp_path / "out"))
    monkeypatch.setenv("QPIPE_EXPORT_LICENSE", "CC0-1.0")
    (done,) = rows(qpipe("export", "--format", "csv", "--tables", "ml_run_summary", "--report", "json"))
    readme = tmp_path / "out" / "quantum_features" / "versions" / done["version"] / "README.md"
    assert "| licence | CC0-1.0 |" in readme.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no target: name a folder or s3://bucket/prefix, or set QPIPE_EXPORT_TARGET"),
        (["out", "--tables", "ml_runs"], "there is no table ml_runs"),
        (["out", "--splits", "train=0.5"], "sum to 0.5, expected 1"),
        (["out", "--split-molecules", "test=H2"], "without --splits"),
        (["out", "--verify"], "there is no export at file://"),
        (["out"], "there is nothing to export"),
    ],
)
def test_what_cannot_be_is_refused_with_exit_code_2(home: Path, arguments: list[str], words: str) -> None:
    result = qpipe("export", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
