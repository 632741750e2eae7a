"""What a campaign asks for: derived from VQEOptions, expanded, and refused before any work when it is impossible."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from qpipe_assets.campaign import SINGLE, CampaignError, VQERunsConfig
from simulation.identity import experiment_id
from simulation.molecules import catalogue
from simulation.options import VQEOptions

OXYGEN: dict[str, Any] = {"symbols": ["O", "O"], "coords": [[0.0, 0.0, 0.0], [0.0, 0.0, 1.2]], "multiplicity": 3}


def config(**values: Any) -> Any:
    """The configuration as Dagster makes it from a run's YAML."""

    @dg.op
    def asked(config: VQERunsConfig) -> Any:
        return config

    @dg.job
    def campaign() -> None:
        asked()

    run_config = {"ops": {"asked": {"config": values}}}
    return campaign.execute_in_process(run_config=run_config, instance=dg.DagsterInstance.ephemeral()).output_for_node(
        "asked"
    )


def test_the_empty_configuration_is_one_run_with_the_default_options() -> None:
    [run], repeated = config().plan("LiH")
    assert run.options == VQEOptions().resolved()
    assert run.experiment_id == experiment_id(catalogue()["LiH"], VQEOptions().resolved())
    assert repeated == 0


def test_every_option_is_there_as_an_axis_or_as_a_common_limit() -> None:
    of_the_asset = {"molecule", "molecule_file", "scan", "force", "report", "campaign", "executor"}
    of_the_asset |= {"tier", "campaign_file", "seeds", "optimizers", "molecules", "skip_infeasible", "run_seconds"}
    fields = set(VQERunsConfig.model_fields) - of_the_asset
    assert fields == set(VQEOptions.model_fields)
    assert set(SINGLE) <= fields


def test_a_campaign_is_the_product_of_its_axes() -> None:
    asked = config(
        basis=["sto3g", "6-31g"],
        ansatz=["EfficientSU2"],
        ansatz_reps=[1, 2],
        init_strategy=["random"],
        seed=[1, 2, 3],
        optimizer=["COBYLA"],
        active_space=[{"electrons": 2, "orbitals": 3}],
        max_iterations=50,
    )
    runs, repeated = asked.plan("LiH")
    assert len({run.experiment_id for run in runs}) == 12
    assert repeated == 0
    assert {(r.options.basis, r.options.ansatz_reps, r.options.seed) for r in runs} == {
        (basis, reps, seed) for basis in ("sto3g", "6-31g") for reps in (1, 2) for seed in (1, 2, 3)
    }
    assert {run.options.max_iterations for run in runs} == {50}


def test_combinations_that_ask_for_the_same_experiment_are_one_run() -> None:
    runs, repeated = config(seed=[1, 2, 3], engine=["aer", "sector"]).plan("H2")
    assert (len(runs), repeated) == (1, 5)


def test_a_value_that_no_option_has_is_refused_by_the_launchpad() -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="sto6g"):
        config(basis=["sto6g"])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_iterations": 5, "threshold": 1e-6}, "exclude each other"),
        ({"ansatz": ["UCCSD", "EfficientSU2"], "engine": ["sector"]}, "not EfficientSU2"),
        ({"ansatz_reps": [1, 0]}, "ansatz_reps=0"),
        ({"seed": [-1], "init_strategy": ["random"]}, "seed=-1"),
    ],
)
def test_an_impossible_combination_refuses_the_whole_campaign(values: dict[str, Any], words: str) -> None:
    with pytest.raises(CampaignError, match=words):
        config(**values).options()


def test_a_molecule_outside_the_catalogue_needs_a_geometry() -> None:
    with pytest.raises(CampaignError, match=r"'O2_m3' has no geometry in the catalogue .*molecule_file"):
        config().geometry("O2_m3")
    assert config(molecule=OXYGEN).geometry("O2_m3").multiplicity == 3


def test_a_geometry_of_another_molecule_is_refused() -> None:
    with pytest.raises(CampaignError, match="is of O2_m3, the partition is LiH"):
        config(molecule=OXYGEN).geometry("LiH")
    with pytest.raises(CampaignError, match="multiplicity 2 is impossible"):
        config(molecule=OXYGEN | {"multiplicity": 2}).geometry("O2_m3")


def test_a_molecule_file_is_searched_for_the_partitions_molecule(tmp_path: Path) -> None:
    path = tmp_path / "molecules.json"
    path.write_text(json.dumps([OXYGEN, {"symbols": ["H", "H"], "coords": [[0, 0, 0], [0, 0, 1.0]]}]))
    stretched = config(molecule_file=str(path)).geometry("H2")
    assert stretched.coords[1, 2] == 1.0
    with pytest.raises(CampaignError, match="holds H2, O2_m3: expected LiH once"):
        config(molecule_file=str(path)).geometry("LiH")
    with pytest.raises(CampaignError, match="No such file"):
        config(molecule_file=str(tmp_path / "absent.json")).geometry("H2")
    with pytest.raises(CampaignError, match="exclude each other"):
        config(molecule_file=str(path), molecule=OXYGEN).geometry("O2_m3")
