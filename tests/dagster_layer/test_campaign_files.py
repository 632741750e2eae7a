"""Campaign files: the tiers are the published matrix in its order, and what is wrong in a file is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from qpipe_assets.campaign import CampaignError
from qpipe_assets.campaigns.campaign_file import load_campaign
from qpipe_assets.campaigns.selection import TIERS, select_campaign
from simulation.identity import experiment_id
from simulation.molecules import catalogue
from simulation.options import VQEOptions

ALL = ["H2", "HeH+", "LiH", "BeH2", "H2O", "NH3", "CO2", "N2"]
EIGHT = ["L-BFGS-B", "COBYLA", "SLSQP", "Nelder-Mead", "Powell", "BFGS", "CG", "TNC"]
THREE = ["L-BFGS-B", "COBYLA", "Nelder-Mead"]
# Basis, circuits, optimizers phase after phase, last seed, molecules, runs: the matrix as it was published.
PUBLISHED: dict[int, tuple[str, list[str], list[str], int, list[str], int]] = {
    1: ("sto3g", ["EfficientSU2"], EIGHT, 25, ALL, 3200),
    2: ("6-31g", ["EfficientSU2"], EIGHT, 15, ALL[:5], 1200),
    3: ("sto3g", ["RealAmplitudes", "ExcitationPreserving"], THREE, 15, ALL, 1440),
    4: ("cc-pvdz", ["EfficientSU2"], THREE, 10, ALL[:3], 180),
}
SMALL: dict[str, Any] = {
    "name": "small",
    "molecules": ["H2", "LiH"],
    "ansatz": "EfficientSU2",
    "optimizers": ["COBYLA"],
    "init_strategies": ["random"],
    "seeds": "1..3",
    "limits": {"max_iterations": 20},
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "campaign.yaml"
    content = {name: value for name, value in (SMALL | changes).items() if value is not None}
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("tier", PUBLISHED)
def test_a_tier_is_the_published_matrix_in_its_order(tier: int) -> None:
    basis, circuits, optimizers, last_seed, molecules, count = PUBLISHED[tier]
    expected = []
    for molecule in molecules:
        for ansatz in circuits:
            for optimizer in optimizers:
                for start in ("random", "hf"):
                    for seed in range(1, last_seed + 1):
                        expected.append((molecule, basis, ansatz, optimizer, start, seed, 1e-6))
    found = [
        (molecule, o.basis, o.ansatz, o.optimizer, o.init_strategy, o.seed, o.threshold)
        for molecule, runs in select_campaign(tier).plan()
        for o in (run.options for run in runs)
    ]
    assert len(found) == count
    assert found == expected


def test_all_tiers_together_are_6020_different_experiments() -> None:
    planned = [run for tier in TIERS for _, runs in select_campaign(tier).plan() for run in runs]
    assert len(planned) == len({run.experiment_id for run in planned}) == 6020


def test_the_runs_of_a_tier_are_exact_and_are_the_experiments_of_qpipe_simulate() -> None:
    run = select_campaign(1).runs("H2")[0]
    options = VQEOptions(
        ansatz="EfficientSU2", optimizer="L-BFGS-B", init_strategy="random", seed=1, threshold=1e-6
    ).resolved()
    assert run.experiment_id == experiment_id(catalogue()["H2"], options)
    assert not run.options.sampled and run.options.max_iterations is None


def test_the_time_limit_of_its_runs_is_no_part_of_their_identity(tmp_path: Path) -> None:
    unlimited = load_campaign(written(tmp_path))
    limited = load_campaign(written(tmp_path, limits={"max_iterations": 20, "run_seconds": 60}))
    assert limited.run_config.run_seconds == 60
    assert list(limited.plan()) == list(unlimited.plan())
    with pytest.raises(CampaignError, match=r"campaign\.yaml.*run_seconds"):
        load_campaign(written(tmp_path, limits={"run_seconds": 0}))


def test_a_campaign_file_is_the_product_of_what_it_says(tmp_path: Path) -> None:
    campaign = select_campaign(
        campaign_file=written(tmp_path, seeds=[7, "1..2"], basis=["sto3g", "6-31g"], options={"mapper": "parity"})
    )
    runs = [(m, r.options) for m, planned in campaign.plan() for r in planned]
    assert [(m, o.basis, o.seed) for m, o in runs] == [
        (m, b, s) for m in ("H2", "LiH") for b in ("sto3g", "6-31g") for s in (7, 1, 2)
    ]
    assert {(o.mapper, o.max_iterations) for _, o in runs} == {("parity", 20)}


def test_geometries_may_come_from_a_molecule_file_beside_the_campaign_file(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps([{"symbols": ["H", "H"], "coords": [[0, 0, 0], [0, 0, 1.0]]}]))
    campaign = load_campaign(written(tmp_path, molecules=["H2"], molecule_file="mine.json"))
    assert campaign.runs("H2")[0].molecule.coords[1, 2] == 1.0


def test_a_part_of_a_campaign_keeps_its_order() -> None:
    part = select_campaign(1, molecules="LiH,H2", seeds="3,1..2", optimizers="COBYLA,L-BFGS-B")
    assert (part.molecules, part.seeds, part.optimizers) == (["H2", "LiH"], [1, 2, 3], ["L-BFGS-B", "COBYLA"])
    assert {r.experiment_id for r in part.runs("H2")} < {r.experiment_id for r in select_campaign(1).runs("H2")}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"molecules": ["H2", "XeF2"]}, "molecules has XeF2, expected names in the catalogue: H2, "),
        ({"molecules": [False]}, r"molecules\.0=False: Input should be a valid string"),
        ({"molecules": None}, "molecules.*Field required"),
        ({"basis": "sto6g"}, r"basis\.0='sto6g'"),
        ({"optimizers": [["COBYLA"], ["COBYLB"]]}, "COBYLB"),
        ({"optimizers": ["COBYLA", "COBYLA"]}, "more than once"),
        ({"seeds": "9..1"}, r"9\.\.1 is not of 1 to"),
        ({"seeds": "one"}, "'one' is no seed"),
        ({"limits": {"threshold": 1e-6, "max_iterations": 5}}, "exclude each other"),
        ({"limits": {"treshold": 1e-6}}, "treshold.*not permitted"),
        ({"options": {"optimiser": "CG"}}, r"options has \['optimiser'\], expected some of"),
        ({"options": {"engine": "sector"}}, "not EfficientSU2"),
        ({"options": {"mapper": "jordan"}}, "jordan"),
        ({"molecule_file": "absent.json"}, "No such file"),
        ({"name": "a/b"}, "name='a/b'"),
    ],
)
def test_a_wrong_campaign_file_is_refused_with_the_file_the_value_and_the_expectation(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(CampaignError, match=words) as error:
        load_campaign(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(("text", "words"), [("- 1\n", "holds a list"), ("{", "is not YAML"), ("", "a NoneType")])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(CampaignError, match=words):
        load_campaign(tmp_path / "odd.yaml")
    with pytest.raises(CampaignError, match="cannot be read"):
        load_campaign(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"tier": 5}, "tier is 5, expected one of 1, 2, 3, 4"),
        ({"tier": 1, "campaign_file": "mine.yaml"}, "exclude each other"),
        ({"tier": 2, "molecules": "N2"}, "molecules N2: not in campaign tier-2, expected some of H2, HeH+"),
        ({"tier": 1, "seeds": "25..26"}, "seeds 26: not in campaign tier-1"),
        ({"tier": 4, "optimizers": "CG"}, "optimizers CG: not in campaign tier-4, expected some of L-BFGS-B"),
        ({"tier": 1, "molecules": ","}, "molecules is empty"),
    ],
)
def test_a_choice_that_is_not_there_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(CampaignError, match=words.replace("+", r"\+")):
        select_campaign(**asked)
