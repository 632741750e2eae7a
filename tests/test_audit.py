"""What the audit concludes from what its tools print: a database that answers nothing is never a clean one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.audit.__main__ import status_of
from deploy.audit.secret_scan import look_for_secrets
from deploy.audit.tools import LOCK, Answer, Look, Run, Verdict
from deploy.audit.vulnerabilities import KNOWN_TO_BE_BAD, look_for_vulnerabilities
from deploy.audit.withdrawn import KNOWN_TO_BE_WITHDRAWN, look_for_withdrawn

FLAW = {"id": "PYSEC-1", "fix_versions": ["2.0"], "aliases": [], "description": ""}
YANKED = """WARNING: The candidate selected is a yanked version: 'attrs' candidate (version 21.1.0 at x)
Reason for being yanked: Not importable.
"""


def package(name: str, *flaws: dict[str, object], **more: object) -> dict[str, object]:
    return {"name": name, "version": "1.0", "vulns": list(flaws)} | more


def skipped(name: str) -> dict[str, object]:
    return {"name": name, "skip_reason": "Dependency not found"}


def audits(control: list[dict[str, object]], all_of_them: list[dict[str, object]], service: str = "pypi") -> Run:
    """pip-audit with a database that gives these answers; the others cannot be reached."""

    def run(command: Sequence[str]) -> Answer:
        if command[command.index("-s") + 1] != service:
            return Answer(1, "", "ConnectionError: nobody there")
        asked = Path(command[command.index("-r") + 1])
        found = all_of_them if asked == LOCK else control
        assert asked == LOCK or asked.read_text().strip() == KNOWN_TO_BE_BAD
        return Answer(int(any(one.get("vulns") for one in found)), json.dumps({"dependencies": found}), "")

    return run


def test_a_database_that_does_not_know_a_bad_release_is_blind() -> None:
    look = look_for_vulnerabilities(audits([skipped("urllib3")], [package("a")]))
    assert look.verdict is Verdict.BLIND
    assert "pypi: Dependency not found" in look.lines[1]
    assert "osv: ConnectionError: nobody there" in look.lines[2]


def test_no_answer_at_all_is_blind() -> None:
    assert look_for_vulnerabilities(lambda command: Answer(1, "Traceback", "boom")).verdict is Verdict.BLIND


@pytest.mark.parametrize("service", ["pypi", "osv"])
def test_locked_packages_without_flaws_are_clean(service: str) -> None:
    look = look_for_vulnerabilities(audits([package("urllib3", FLAW)], [package("a"), skipped("b")], service))
    assert look.verdict is Verdict.CLEAN
    assert look.lines == (
        f"1 of 2 packages looked up by {service}",
        "not looked up: b: Dependency not found",
    )


def test_a_vulnerable_package_is_found_with_what_mends_it() -> None:
    look = look_for_vulnerabilities(audits([package("urllib3", FLAW)], [package("a", FLAW)]))
    assert look.verdict is Verdict.FOUND
    assert look.lines[-1] == "a 1.0: PYSEC-1, mended in 2.0"


def test_a_database_that_loses_its_voice_is_blind() -> None:
    look = look_for_vulnerabilities(audits([package("urllib3", FLAW)], [skipped("a")]))
    assert look.verdict is Verdict.BLIND


def test_a_withdrawn_release_is_found_and_an_index_that_tells_none_is_blind() -> None:
    def index(control: str, lock: str) -> Run:
        return lambda command: Answer(0, "", control if KNOWN_TO_BE_WITHDRAWN in command else lock)

    assert look_for_withdrawn(index(YANKED, "")).verdict is Verdict.CLEAN
    found = look_for_withdrawn(index(YANKED, YANKED))
    assert (found.verdict, found.lines) == (Verdict.FOUND, ("attrs 21.1.0: Not importable.",))
    assert look_for_withdrawn(index("", "")).verdict is Verdict.BLIND


def test_a_secret_is_found_by_file_and_line_and_not_shown() -> None:
    report = {"results": {"a.py": [{"line_number": 7, "type": "AWS Access Key", "hashed_secret": "f00"}]}}
    look = look_for_secrets(lambda command: Answer(1, json.dumps(report), ""))
    assert look.verdict is Verdict.FOUND
    assert look.lines[0] == "a.py:7: AWS Access Key"
    assert look_for_secrets(lambda command: Answer(0, "", "")).verdict is Verdict.CLEAN
    moved = Answer(3, "The baseline file was updated.", "")
    assert look_for_secrets(lambda command: moved).verdict is Verdict.CLEAN
    assert look_for_secrets(lambda command: Answer(1, "", "no module")).verdict is Verdict.BLIND


def test_only_what_was_found_fails_unless_the_audit_is_strict() -> None:
    blind, clean, found = (Look("x", verdict, ()) for verdict in (Verdict.BLIND, Verdict.CLEAN, Verdict.FOUND))
    assert status_of([clean, blind], strict=False) == 0
    assert status_of([clean, blind], strict=True) == 2
    assert status_of([clean], strict=True) == 0
    assert status_of([blind, found], strict=False) == 1
