"""--dump and --load: a run that was asked once can be asked again, elsewhere, and no secret travels with it."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from qpipe_cli.run_config import OutputChoices, RunConfig, RunConfigError, dump, load
from simulation.identity import experiment_id
from simulation.molecules import Molecule, catalogue
from simulation.monitor_settings import MonitorSettings, load_monitor_settings
from simulation.options import VQEOptions
from tests.cli.conftest import qpipe, rows

SAMPLE = ("--ansatz", "EfficientSU2", "--ansatz-reps", "1", "--init-strategy", "random", "--max-iterations", "3")
SECRETS = {
    "IBM_RUNTIME_TOKEN": "ibm-token-7431",
    "QISKIT_IBM_TOKEN": "qiskit-token-2984",
    "AWS_ACCESS_KEY_ID": "AKIA5508",
    "AWS_SECRET_ACCESS_KEY": "aws-secret-1177",
    "KAFKA_SASL_PLAIN_PASSWORD": "kafka-password-3301",
    "KAFKA_SSL_PASSWORD": "ssl-password-4410",
    "SCHEMA_REGISTRY_BASIC_AUTH": "ann:registry-password-2076",
    "PGPASSWORD": "postgres-password-9093",
    "MLFLOW_TRACKING_PASSWORD": "mlflow-password-6620",
    "QPIPE_CATALOG_URI": "postgresql+psycopg2://ann:catalog-password-9937@db/catalog",
    "PUSHGATEWAY_URL": "http://ann:gateway-password-8842@gateway:9091",
}


def config(**values: Any) -> RunConfig:
    given: dict[str, Any] = {
        "molecules": [catalogue()["H2"].to_record()],
        "options": VQEOptions(),
        "output": OutputChoices(),
        "monitoring": MonitorSettings(),
    }
    return RunConfig(**given | values)


def dumped(folder: Path = Path("run_configs")) -> Path:
    (path,) = folder.iterdir()
    return path


def edited(path: Path, **changes: Any) -> str:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return str(path)


def experiment(result: Result) -> str:
    (row,) = rows(result)
    return row["experiment_id"]


def test_a_configuration_survives_its_file(home: Path) -> None:
    asked = config(
        molecules=[catalogue()[name].to_record() for name in ("H2", "HeH+")],
        options=VQEOptions(ansatz="EfficientSU2", active_space=None, noise_rates=None, seed=3).resolved(),
        output=OutputChoices(output_dir=Path("results"), report=True, force=True, log_level="ERROR"),
        monitoring=load_monitor_settings({"enabled": True, "interval": 2.5, "pushgateway": "http://gateway:9091"}),
    )
    assert load(dump(asked, "pair")) == asked


def test_the_file_is_named_by_molecule_basis_optimizer_place_and_day(home: Path) -> None:
    today = f"{dt.datetime.now():%Y%m%d}"
    assert dump(config(), "H2") == Path("run_configs", f"H2-sto3g-L-BFGS-B-local-{today}.json")
    far = VQEOptions(basis="6-31g", optimizer="SPSA", engine="ibm")
    assert dump(config(options=far), "thesis") == Path("run_configs", f"thesis-6-31g-SPSA-api-{today}.json")


def test_a_file_of_another_content_is_never_replaced(home: Path) -> None:
    first = dump(config(), "H2")
    assert dump(config(), "H2") == first
    second = dump(config(options=VQEOptions(replicate=1)), "H2")
    assert second.name == first.name.replace(".json", "-2.json")
    assert load(first).options.replicate == 0
    assert load(second).options.replicate == 1


def test_a_dumped_run_is_the_same_experiment_when_loaded_though_its_seed_was_drawn(home: Path) -> None:
    asked = experiment(qpipe("simulate", "-m", "H2", *SAMPLE, "--dump", "--format", "json"))
    assert json.loads(dumped().read_text())["options"]["seed"] is not None
    again = qpipe("simulate", "--load", str(dumped()))
    assert "already computed" in again.stderr
    assert experiment(again) == asked


def test_a_molecule_file_is_not_needed_to_load_what_was_asked_with_it(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "stretched.json"
    file.write_text(json.dumps([{"symbols": ["H", "H"], "coords": [[0, 0, 0], [0, 0, 0.9]]}]))
    out = str(tmp_path / "out")
    asked = experiment(qpipe("simulate", "-f", str(file), "--dump", "--format", "json", "--output-dir", out))
    file.unlink()
    assert dumped().name.startswith("stretched-sto3g-")
    assert experiment(qpipe("simulate", "--load", str(dumped()))) == asked


def test_flags_replace_single_values_of_the_loaded_file(home: Path) -> None:
    path = str(dump(config(options=VQEOptions(max_iterations=2)), "H2"))
    result = qpipe("simulate", "--load", path, "-m", "HeH+", "--max-iterations", "none", "--format", "json")
    (row,) = rows(result)
    expected = experiment_id(catalogue()["HeH+"], VQEOptions().resolved())
    assert (row["molecule"], row["experiment_id"]) == ("HeH+", expected)


def test_one_of_the_loaded_molecules_can_be_chosen(home: Path) -> None:
    both = [catalogue()[name].to_record() for name in ("H2", "HeH+")]
    path = str(dump(config(molecules=both), "both"))
    (row,) = rows(qpipe("simulate", "--load", path, "--molecule-index", "1", "--format", "json"))
    assert row["molecule"] == "HeH+"
    assert "index is 2" in qpipe("simulate", "--load", path, "--molecule-index", "2").stderr


def test_no_secret_enters_the_file_nor_what_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    given = "http://bob:given-password-5521@gateway:9092/push"
    for monitoring in ((), ("--performance-pushgateway", given)):
        arguments = ("--enable-performance-monitoring", *monitoring, "--performance-export-format", "json")
        result = qpipe("simulate", "-m", "H2", *arguments, "--dump", "--log-level", "DEBUG")
        assert result.exit_code == 0, result.stderr
        assert "PUSHGATEWAY_URL" in result.stderr, "the user is told what the file lacks"
        for path in Path("run_configs").iterdir():
            for text in (path.read_text(), result.stdout, result.stderr):
                for secret in [*SECRETS.values(), given, "ann:", "bob:", "password-", "token-", "secret-"]:
                    assert secret not in text
    urls = {load(path).monitoring.pushgateway.get_secret_value() for path in Path("run_configs").iterdir()}
    assert urls == {"http://gateway:9091", "http://gateway:9092/push"}


def test_a_refused_gateway_shows_no_password(home: Path) -> None:
    path = dump(config(), "H2")
    bad = {"enabled": True, "pushgateway": "ftp://ann:pa55word@gateway"}
    for arguments in (
        ("--load", edited(path, monitoring=bad)),
        ("-m", "H2", "--enable-performance-monitoring", "--performance-pushgateway", bad["pushgateway"]),
    ):
        result = qpipe("simulate", *arguments)
        assert result.exit_code == 2
        assert "ftp://gateway" in result.stderr
        assert "pa55word" not in result.stderr + result.stdout


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"version": 2}, "version is 2, expected 1"),
        ({"version": None}, "version is None"),
        ({"colour": "red"}, "colour"),
        ({"options": {"basis": "sto3g", "anzatz": "UCCSD"}}, "anzatz"),
        ({"options": {"active_space": {"electrons": 2, "orbitals": 2, "spin": 1}}}, "options.active_space.spin"),
        ({"options": {"basis": "sto9g"}}, "sto9g"),
        ({"options": {"ansatz_reps": 0}}, "options.ansatz_reps=0"),
        ({"molecules": []}, "molecules"),
        ({"molecules": [{"symbols": ["H"], "coords": [[0, 0, 0]], "spin": 1}]}, "molecules[0].spin"),
        ({"molecules": [{"symbols": ["H"], "coords": [[0, 0, 0]]}]}, "multiplicity 1 is impossible"),
        ({"output": {"verbosity": 3}}, "verbosity"),
        ({"monitoring": {"interval": -1}}, "interval=-1"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_before_any_work_naming_what(
    home: Path, changes: dict[str, Any], named: str
) -> None:
    path = edited(dump(config(), "H2"), **changes)
    result = qpipe("simulate", "--load", path)
    assert result.exit_code == 2
    assert named in result.stderr
    assert not home.exists()


@pytest.mark.parametrize(("text", "named"), [("{", "is not JSON"), ("[]", "expected an object")])
def test_a_file_that_is_no_configuration_is_refused(home: Path, tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(RunConfigError, match=named):
        load(path)
    assert qpipe("simulate", "--load", str(path)).exit_code == 2
    assert qpipe("simulate", "--load", str(tmp_path / "absent.json")).exit_code == 2


def test_dump_and_load_exclude_each_other(home: Path) -> None:
    path = str(dump(config(), "H2"))
    result = qpipe("simulate", "--dump", "--load", path)
    assert result.exit_code == 2
    assert path in result.stderr


def test_geometry_keeps_every_bit_through_the_file(home: Path) -> None:
    odd = Molecule(("H", "H"), [[0.0, 0.0, 0.1 + 0.2], [1 / 3, 0.0, 1.0]])
    (again,) = load(dump(config(molecules=[odd.to_record()]), "odd")).molecules
    assert again == odd.to_record()
