"""Every option in each of its forms: Python, command line and Dagster's run configuration are one declaration."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import typer
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from qpipe_assets.campaign import SINGLE
from qpipe_cli.main import app
from qpipe_cli.option_flags import FlagError
from qpipe_cli.simulate import OPTIONS, _options
from simulation.options import MAX_SEED, VQEOptions
from simulation.record import ActiveSpace, NoiseRates
from tests.dagster_layer.test_campaign import config as dagster_config

EXAMPLES: dict[str, tuple[Any, dict[str, Any]]] = {
    "basis": ("6-31g", {}),
    "frozen_core": (True, {}),
    "active_space": (ActiveSpace(electrons=2, orbitals=3), {}),
    "mapper": ("parity", {}),
    "ansatz": ("EfficientSU2", {}),
    "ansatz_reps": (3, {}),
    "adapt_threshold": (0.01, {"ansatz": "ADAPT"}),
    "init_strategy": ("random", {}),
    "previous": ("0123456789abcdef" * 4, {"init_strategy": "previous"}),
    "seed": (7, {"init_strategy": "random"}),
    "optimizer": ("COBYLA", {}),
    "max_iterations": (50, {}),
    "threshold": (1e-5, {}),
    "engine": ("aer", {}),
    "shots": (512, {}),
    "noise": ("FakeManilaV2", {}),
    "noise_rates": (NoiseRates(one_qubit=0.001, two_qubit=0.01, readout=0.02), {}),
    "simulation_method": ("density_matrix", {"shots": 512}),
    "optimization_level": (1, {"noise": "FakeManilaV2"}),
    "min_qubits": (7, {"engine": "ibm"}),
    "gpu": (True, {}),
    "cpu_fallback": (True, {"gpu": True}),
    "custatevec": (True, {"gpu": True}),
    "blocking": (True, {"gpu": True}),
    "batched_shots_gpu": (False, {"gpu": True}),
    "shot_branching": (False, {"gpu": True}),
    "max_memory_mb": (1000, {"gpu": True}),
    "certify_max_qubits": (4, {}),
    "replicate": (2, {}),
}
"""A value of every option that is not its default, and what it needs beside it."""


@functools.cache
def _simulate_command() -> Any:
    return typer.main.get_command(app).commands["simulate"]  # type: ignore[attr-defined]


def parsed(*arguments: str) -> dict[str, Any]:
    """What the real command makes of its arguments, without running it."""
    return _simulate_command().make_context("simulate", list(arguments)).params


def options_of(*arguments: str, exact: bool = False) -> VQEOptions:
    return _options({}, OPTIONS.explicit(parsed("-m", "H2", *arguments)), ibm=False, exact=exact, convergence=False)


def flags(values: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            found.append(flag if value else flag.replace("--", "--no-"))
        elif isinstance(value, BaseModel):
            found += [flag, ",".join(str(part) for part in value.model_dump().values())]
        else:
            found += [flag, str(value)]
    return found


def run_config(values: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value.model_dump() if isinstance(value, BaseModel) else value for name, value in values.items()}
    return {name: value if name in SINGLE else [value] for name, value in plain.items()}


def test_there_is_an_example_of_every_option_that_differs_from_its_default() -> None:
    assert set(EXAMPLES) == set(VQEOptions.model_fields)
    for name, (value, _) in EXAMPLES.items():
        assert value != VQEOptions.model_fields[name].default, name


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_option_means_the_same_in_python_on_the_command_line_and_in_dagster(name: str) -> None:
    value, besides = EXAMPLES[name]
    # A seed, so that nothing is drawn that could differ.
    values = {"seed": 11} | besides | {name: value}
    asked = VQEOptions(**values)
    assert getattr(asked, name) == value
    assert options_of(*flags(values)) == asked
    [resolved] = dagster_config(**run_config(values)).options()
    assert resolved == asked.resolved()
    assert getattr(resolved, name) == value


@settings(max_examples=40)
@given(names=st.sets(st.sampled_from(sorted(EXAMPLES)), max_size=4), seed=st.integers(0, MAX_SEED), data=st.data())
def test_options_that_go_together_survive_command_line_and_file(
    names: set[str], seed: int, data: st.DataObject
) -> None:
    values = {"seed": seed} | {name: EXAMPLES[name][0] for name in sorted(names) if name != "seed"}
    if "threshold" in values:
        values["threshold"] = data.draw(st.floats(min_value=5e-324, allow_infinity=False))
    if "noise_rates" in values:
        rates = [data.draw(st.floats(0, most)) for most in (1, 1, 0.5)]
        values["noise_rates"] = NoiseRates(one_qubit=rates[0], two_qubit=rates[1], readout=rates[2])
    try:
        asked = VQEOptions(**values)
    except ValidationError:
        reject()
    assert options_of(*flags(values)) == asked
    resolved = asked.resolved()
    again = VQEOptions.model_validate_json(resolved.model_dump_json())
    assert (again, again.resolved()) == (resolved, resolved)


def test_without_flags_all_options_are_at_their_defaults() -> None:
    assert OPTIONS.explicit(parsed("-m", "H2")) == {}
    assert options_of() == VQEOptions()


def test_options_survive_being_dumped_when_nothing_is_left_open() -> None:
    for name, (value, besides) in EXAMPLES.items():
        resolved = VQEOptions(**besides | {name: value}).resolved()
        again = VQEOptions.model_validate_json(resolved.model_dump_json())
        assert again == resolved
        assert again.resolved() == resolved


@pytest.mark.parametrize(("flag", "name"), [("-b", "basis"), ("--basis-set", "basis"), ("-ar", "ansatz_reps")])
def test_short_names(flag: str, name: str) -> None:
    value, _ = EXAMPLES[name]
    assert getattr(options_of(flag, str(value)), name) == value


def test_none_empties_an_option_that_may_be_empty() -> None:
    assert OPTIONS.explicit(parsed("--shots", "none", "--noise", "none", "--active-space", "none")) == {
        "shots": None,
        "noise": None,
        "active_space": None,
    }


def test_a_value_of_several_parts_may_leave_out_those_with_a_default() -> None:
    assert options_of("--noise-rates", "0.001, 0.01").noise_rates == NoiseRates(one_qubit=0.001, two_qubit=0.01)


@pytest.mark.parametrize("text", ["2", "2,3,4", "2,", "two,three", "2,0", "2.5,3"])
def test_a_value_of_several_parts_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(FlagError) as refused:
        options_of("--active-space", text)
    assert f"--active-space is {text!r}, expected ELECTRONS,ORBITALS" in str(refused.value)


def test_exact_takes_precedence_over_shots() -> None:
    assert options_of("--shots", "512", exact=True).shots is None


@pytest.mark.parametrize(
    "besides", [("--noise", "FakeManilaV2"), ("--noise-rates", "0.1,0.1"), ("--engine", "aer-shots")]
)
def test_exact_contradicts_everything_else_that_samples(besides: tuple[str, str]) -> None:
    with pytest.raises(FlagError, match="--exact"):
        options_of(*besides, exact=True)


def test_ibm_is_short_for_the_engine_of_that_name_and_contradicts_another() -> None:
    asked = _options({}, OPTIONS.explicit(parsed("-m", "H2")), ibm=True, exact=False, convergence=False)
    assert asked.engine == "ibm"
    with pytest.raises(FlagError, match="--ibm and --engine aer"):
        _options({}, OPTIONS.explicit(parsed("-m", "H2", "--engine", "aer")), ibm=True, exact=False, convergence=False)


def test_convergence_is_the_default_threshold_where_none_is_given() -> None:
    for arguments, threshold in (((), 1e-6), (("--threshold", "1e-4"), 1e-4)):
        asked = _options({}, OPTIONS.explicit(parsed("-m", "H2", *arguments)), ibm=False, exact=False, convergence=True)
        assert asked.threshold == threshold
