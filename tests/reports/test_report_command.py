"""`qpipe report`: from ids, molecules, files and folders to files, with errors that name what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from qpipe_assets.tables.installation import open_installation
from qpipe_cli.main import app
from qpipe_resources.serialization import to_avro_container
from simulation.record import VQEDecoratedResult
from tests.reports.conftest import made
from tests.synthetic import plain_record

FOLDER = "experiments/experiment.vqe/molecule=H2/year=2026/month=01/day=02"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QPIPE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def landed(home: Path) -> list[VQEDecoratedResult]:
    """Two runs of H2, the first ingested, the second only landed; one landed twice, and an object that is none."""
    installation = open_installation()
    runs = [made(0), made(1, error_mha=0.1)]
    installation.store.put(f"{FOLDER}/{runs[0].experiment_id}.json", runs[0].to_json())
    installation.ingest().run("H2")
    installation.store.put(f"{FOLDER}/{runs[1].experiment_id}.json", runs[1].to_json())
    installation.store.put(f"{FOLDER}/again.json", runs[1].to_json())
    installation.store.put(f"{FOLDER}/damaged.json", b"{")
    return runs


def qpipe(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["report", *arguments])


def written(result: Result) -> list[str]:
    assert result.exit_code == 0, result.stderr
    paths = [Path(line) for line in result.stdout.splitlines()]
    assert all(path.stat().st_size > 10_000 for path in paths)
    return [path.name for path in paths]


def test_a_molecule_is_reported_with_all_its_landed_runs_each_once(landed: list[VQEDecoratedResult]) -> None:
    result = qpipe("H2", "--format", "html")
    assert written(result) == ["H2.html"]
    assert "damaged.json" in result.stderr
    page = Path("reports/H2.html").read_text()
    assert "2 runs, 2 chemically accurate" in page
    assert "+0.1000 mHa to FCI" in page


@pytest.mark.parametrize("number", [0, 1])
def test_an_experiment_is_found_by_its_first_characters_ingested_or_not(
    landed: list[VQEDecoratedResult], number: int
) -> None:
    identity = landed[number].experiment_id or ""
    assert written(qpipe(identity[:8], "--output-dir", "out")) == [
        f"H2-{identity[:16]}.html",
        f"H2-{identity[:16]}.pdf",
    ]


def test_an_experiment_of_another_writer_is_found_once_it_is_ingested(home: Path) -> None:
    installation = open_installation()
    installation.store.put(f"{FOLDER}/0.json", json.dumps(plain_record()).encode())
    installation.ingest().run("H2")
    (identity,) = installation.ledger.experiment_ids("")
    assert written(qpipe(identity[:12], "--format", "pdf")) == [f"H2-{identity[:16]}.pdf"]


def test_files_and_folders_of_records_need_no_installation(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "a.json").write_bytes(made(0).to_json())
    (folder / "b.avro").write_bytes(to_avro_container([made(1), made(2)]))
    (folder / "c.json").write_bytes(made(3, symbols=["He", "H"], charge=1).to_json())
    (folder / "notes.json").write_text("{}")
    assert written(qpipe("records/a.json", "--format", "html")) == ["H2-0001000100010001.html"]
    assert len(written(qpipe("records/b.avro", "--format", "html"))) == 2
    result = qpipe("records", "--format", "html")
    assert written(result) == ["H2.html", "HeH+.html"]
    assert "notes.json" in result.stderr
    assert "3 runs" in Path("reports/H2.html").read_text()
    assert not home.exists()


def test_a_report_is_written_over_its_older_self(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(made().to_json())
    for _ in range(2):
        assert len(written(qpipe("a.json"))) == 2
    assert len(list((tmp_path / "reports").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["Xx9"], "Xx9"),
        (["N2"], "expected one of H2"),
        (["ffff"], "ffff"),
        (["000"], "000"),
        (["no/such.json"], "no/such.json"),
        (["empty.json"], "empty.json"),
        (["nothing"], "nothing"),
        (["H2", "--output-dir", "empty.json"], "empty.json"),
        (["H2", "--format", "docx"], "docx"),
        ([], "TARGETS"),
    ],
)
def test_what_cannot_be_reported_is_named_and_nothing_is_written(
    landed: list[VQEDecoratedResult], tmp_path: Path, arguments: list[str], named: str
) -> None:
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "nothing").mkdir()
    result = qpipe(*arguments)
    assert result.exit_code == 2
    assert named.lower() in result.stderr.lower()
    assert not (tmp_path / "reports").exists()


def test_a_beginning_that_fits_two_experiments_is_refused_with_both(landed: list[VQEDecoratedResult]) -> None:
    installation = open_installation()
    twin = f"{(landed[0].experiment_id or '')[:60]}ffff"
    installation.store.put(f"{FOLDER}/{twin}.json", made(0, experiment_id=twin).to_json())
    result = qpipe(twin[:10])
    assert result.exit_code == 2
    assert "not unique" in result.stderr
