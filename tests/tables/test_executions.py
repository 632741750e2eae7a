"""Executions: what makes two records tell of the same one, and what the ledger does with those that were adopted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from qpipe_assets.tables.decode import decode
from qpipe_assets.tables.execution import execution_of
from qpipe_assets.tables.installation import Installation
from qpipe_assets.tables.ledger_tables import Adopted, Candidate
from simulation.record import VQEDecoratedResult
from tests.synthetic import plain_record
from tests.tables.protocol import content, h2, land, record_bytes, undisturbed
from tests.tables.records import changed, records


def execution(record: dict[str, Any]) -> str:
    return execution_of(decode(json.dumps(record).encode())[0].row)


@given(records)
def test_an_execution_does_not_depend_on_what_tables_do_not_keep(record: VQEDecoratedResult) -> None:
    plain = record.model_dump()
    other = plain | {"experiment_id": "0" * 64, "wall_time": 1.0, "host": "elsewhere", "molecule_id": 7}
    other["molecule"]["molecule_data"] = plain["molecule"]["molecule_data"] | {"name": None, "masses": None}
    assert execution_of(other) == execution_of(plain)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("vqe_time", 1.5000000000000002),
        ("hamiltonian_time", 0.0),
        ("vqe_result.minimization_time", 0.75),
        ("vqe_result.minimum", -1.5),
        ("basis_set", "6-31g"),
        ("molecule.molecule_data.coords.1.2", 0.7415),
        ("molecule.molecule_data.charge", 2),
        ("molecule.molecule_data.units", "bohr"),
    ],
)
def test_executions_differ_where_a_measurement_or_the_question_does(path: str, value: Any) -> None:
    assert execution(changed(plain_record(), path, value)) != execution(plain_record())


def test_a_negative_zero_is_a_zero() -> None:
    assert execution(changed(plain_record(), "molecule.molecule_data.coords.0.0", -0.0)) == execution(plain_record())


def test_an_object_with_an_adopted_execution_is_a_duplicate(installation: Installation) -> None:
    known = execution(json.loads(record_bytes(0)))
    installation.ledger.adopt("somewhere", [Adopted(known, "theirs", "H2")])
    land(installation, [0, 1])
    report = installation.ingest().run("H2")
    assert report.duplicates == 1
    assert content(installation) == undisturbed(h2(1))


def test_the_experiment_under_which_an_execution_was_adopted_can_be_claimed(installation: Installation) -> None:
    known = [Adopted("execution", "ours", "H2")]
    installation.ledger.adopt("somewhere", [Adopted("execution", "theirs", "H2")])
    installation.ledger.adopt("somewhere", known)
    assert installation.ledger.adopted(["execution", "other"]) == {"execution": "theirs"}
    installation.ledger.adopt("somewhere", known, anew=True)
    candidates = [Candidate("ours", "k1", "t", "d", "execution"), Candidate("another", "k2", "t", "d", "execution")]
    claim = installation.ledger.claim("H2", "batch", candidates)
    assert (claim.experiments, claim.duplicates) == (1, 1)
    assert installation.ledger.batch_experiments("batch") == {"ours"}


def test_what_fails_beside_it_undoes_an_adoption(installation: Installation) -> None:
    def refuse(_: object) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        installation.ledger.adopt("somewhere", [Adopted("execution", "theirs", "H2")], refuse)
    assert installation.ledger.adopted(["execution"]) == {}
