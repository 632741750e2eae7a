"""Known vulnerabilities of the locked packages, by pip-audit.

pip-audit says "no known vulnerabilities found" also where its database has answered nothing. So it is first asked about
a release that is known to be bad: where that one is not found, nothing else would be, and the audit says so.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.audit.tools import LOCK, Answer, Look, Run, Verdict, run

NAME = "known vulnerabilities"
KNOWN_TO_BE_BAD = "urllib3==1.24"
"""CVE-2019-11324 and others."""
SERVICES = ("pypi", "osv")
"""Databases that pip-audit knows, in the order in which they are tried."""


def look_for_vulnerabilities(run: Run = run, lock: Path = LOCK) -> Look:
    """Ask the first database that answers about every locked package."""
    blind = []
    for service in SERVICES:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as control:
            control.write(KNOWN_TO_BE_BAD + "\n")
            control.flush()
            answer = _ask(run, service, Path(control.name))
        if _vulnerable(answer):
            return _verdict(service, _ask(run, service, lock))
        blind.append(f"{service}: {_why_blind(answer)}")
    return Look(NAME, Verdict.BLIND, (f"no database finds {KNOWN_TO_BE_BAD}, which is known to be bad", *blind))


def _ask(run: Run, service: str, requirements: Path) -> Answer:
    options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    return run([sys.executable, "-m", "pip_audit", "-r", str(requirements), "-s", service, *options])


def _verdict(service: str, answer: Answer) -> Look:
    dependencies = _dependencies(answer)
    if not dependencies:
        return Look(NAME, Verdict.BLIND, (f"{service}: {answer.last_words}",))
    skipped = [one for one in dependencies if "skip_reason" in one]
    lines = [f"{len(dependencies) - len(skipped)} of {len(dependencies)} packages looked up by {service}"]
    lines += [f"not looked up: {one['name']}: {one['skip_reason']}" for one in skipped]
    bad = _vulnerable(answer)
    lines += bad
    if bad:
        return Look(NAME, Verdict.FOUND, tuple(lines))
    return Look(NAME, Verdict.BLIND if len(skipped) == len(dependencies) else Verdict.CLEAN, tuple(lines))


def _vulnerable(answer: Answer) -> list[str]:
    return [
        f"{one['name']} {one['version']}: {bad['id']}, mended in {', '.join(bad['fix_versions']) or 'no release'}"
        for one in _dependencies(answer)
        for bad in one.get("vulns", ())
    ]


def _why_blind(answer: Answer) -> str:
    reasons = [one["skip_reason"] for one in _dependencies(answer) if "skip_reason" in one]
    return reasons[0] if reasons else answer.last_words


def _dependencies(answer: Answer) -> Sequence[dict[str, Any]]:
    try:
        return json.loads(answer.out)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return []
