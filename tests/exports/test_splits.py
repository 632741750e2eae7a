"""Splits by molecule: shares, names, seeds, and that nobody moves when others come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe_assets.exports.splits import SplitRule, SplitsRefusedError, divide, parse_rule, with_absent

EIGHT = ["BeH2", "H2", "H2O", "HeH+", "LiH", "CO2", "N2", "NH3"]
RULE = parse_rule("train=0.8,validation=0.1,test=0.1")
_MOLECULES = st.sets(st.sampled_from([f"M{number}" for number in range(40)]), min_size=3)


def split_of(divided: dict[str, list[str]]) -> dict[str, str]:
    return {molecule: split for split, members in divided.items() for molecule in members}


@given(_MOLECULES, st.integers(0, 5))
def test_every_molecule_is_in_one_split_and_shares_are_met_within_one_molecule(molecules: set[str], seed: int) -> None:
    divided = divide(SplitRule(shares=RULE.shares, seed=seed), molecules)
    assert sorted(m for members in divided.values() for m in members) == sorted(molecules)
    for split, share in RULE.shares.items():
        assert abs(len(divided[split]) - share * len(molecules)) <= 2
        assert divided[split]


@given(_MOLECULES, _MOLECULES)
def test_a_molecule_stays_where_it_was_when_others_come(before: set[str], added: set[str]) -> None:
    earlier = split_of(divide(RULE, before))
    later = split_of(divide(RULE, before | added, earlier))
    assert {m: later[m] for m in before} == earlier


@given(_MOLECULES, _MOLECULES, _MOLECULES)
def test_a_molecule_stays_where_it_was_when_it_was_away(first: set[str], second: set[str], third: set[str]) -> None:
    remembered: dict[str, str] = {}
    for molecules in (first, second, third):
        try:
            divided = split_of(with_absent(divide(RULE, molecules, remembered), remembered))
        except SplitsRefusedError:  # all molecules of a split are away; nobody takes their place
            continue
        assert divided.keys() == remembered.keys() | molecules
        assert {molecule: divided[molecule] for molecule in remembered} == remembered
        remembered = divided


def test_the_seed_alone_decides() -> None:
    assert divide(RULE, EIGHT) == divide(RULE, reversed(EIGHT))
    others = {str(divide(SplitRule(shares=RULE.shares, seed=seed), EIGHT)) for seed in range(10)}
    assert len(others) > 1


def test_molecules_that_are_named_go_where_they_are_named() -> None:
    rule = parse_rule("train=0.8,test=0.2", ["test=H2,LiH", "train=N2"])
    divided = divide(rule, EIGHT, {"H2": "train"})
    assert {"H2", "LiH"} <= set(divided["test"])
    assert "N2" in divided["train"]


@pytest.mark.parametrize(
    ("shares", "named", "words"),
    [
        ("train=0.8,test=0.1", [], "sum to 0.9, expected 1"),
        ("train=0.8,train=0.2", [], "name 'train' twice"),
        ("train", [], "'train' is no split"),
        ("train=a,test=b", [], "'train=a' is no split"),
        ("../up=1", [], "'../up=1' is no split"),
        ("train=1", ["test=H2"], "expected SPLIT=MOLECULE"),
        ("train=0.5,test=0.5", ["test=H2", "train=H2"], "'H2' is named for test and for train"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_the_reason(shares: str, named: list[str], words: str) -> None:
    with pytest.raises(SplitsRefusedError, match=words.replace("'", ".").replace("+", r"\+")):
        parse_rule(shares, named)


def test_a_named_molecule_without_rows_and_a_split_without_molecules_are_refused() -> None:
    with pytest.raises(SplitsRefusedError, match="no rows of XeF2; molecules with rows: BeH2"):
        divide(parse_rule("train=1", ["train=XeF2"]), EIGHT)
    with pytest.raises(SplitsRefusedError, match=r"no molecule is left for test.*name molecules for each"):
        divide(RULE, ["H2", "LiH"])


def test_a_split_whose_molecules_are_all_away_is_refused_by_their_names() -> None:
    halves = parse_rule("train=0.5,test=0.5")
    with pytest.raises(SplitsRefusedError, match=r"left for test: .*; N2 belonged there .* export again when"):
        divide(halves, ["H2", "LiH"], {"H2": "train", "LiH": "train", "N2": "test"})
