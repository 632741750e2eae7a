"""Locked releases that their authors have withdrawn from the index ("yanked"), as pip itself tells."""

from __future__ import annotations

import re
import sys

from deploy.audit.tools import LOCK, Look, Run, Verdict, run

NAME = "withdrawn releases"
KNOWN_TO_BE_WITHDRAWN = "attrs==21.1.0"
_YANKED = re.compile(r"yanked version: '([^']+)' candidate \(version (\S+) ")
_REASON = re.compile(r"Reason for being yanked: (.*)")


def look_for_withdrawn(run: Run = run) -> Look:
    """Let pip resolve the lock file without installing it."""
    resolve = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--no-input"]
    resolve += ["--disable-pip-version-check", "--quiet"]
    control = run([*resolve, KNOWN_TO_BE_WITHDRAWN])
    if not _YANKED.search(control.error):
        why = f"the index does not tell that {KNOWN_TO_BE_WITHDRAWN} is withdrawn ({control.last_words})"
        return Look(NAME, Verdict.BLIND, (why,))
    answer = run([*resolve, "-r", str(LOCK)])
    withdrawn = [f"{name} {version}" for name, version in _YANKED.findall(answer.error)]
    if withdrawn:
        reasons = [*_REASON.findall(answer.error), *[""] * len(withdrawn)]
        lines = (f"{one}: {reason}" for one, reason in zip(withdrawn, reasons, strict=False))
        return Look(NAME, Verdict.FOUND, tuple(lines))
    if answer.status:
        return Look(NAME, Verdict.BLIND, (f"the index: {answer.last_words}",))
    return Look(NAME, Verdict.CLEAN, (f"none of {LOCK.name}",))
