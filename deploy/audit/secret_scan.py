"""Secrets in files of the repository, by detect-secrets: what is not in its baseline is told.

The baseline holds digests of what tests use as passwords. `make audit-baseline` writes it anew: read its difference
before you commit it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile

from deploy.audit.tools import ROOT, Look, Run, Verdict, run

NAME = "secrets in the repository"
BASELINE = ".secrets.baseline"
_ONLY_LINES_HAVE_MOVED = 3


def look_for_secrets(run: Run = run) -> Look:
    """Scan every tracked file against the baseline."""
    files = tracked()
    with tempfile.TemporaryDirectory() as folder:
        # The tool rewrites its baseline where a line has moved, and then fails: it gets a copy.
        copy = shutil.copy(ROOT / BASELINE, folder)
        options = ["--no-verify", "--json", "--baseline", copy]
        answer = run([sys.executable, "-m", "detect_secrets.pre_commit_hook", *options, *files])
    if answer.status in (0, _ONLY_LINES_HAVE_MOVED):
        return Look(NAME, Verdict.CLEAN, (f"{len(files)} files",))
    try:
        found = json.loads(answer.out)["results"]
    except (ValueError, KeyError):
        return Look(NAME, Verdict.BLIND, (answer.last_words,))
    lines = [f"{name}:{one['line_number']}: {one['type']}" for name, ones in found.items() for one in ones]
    remedy = "take it out and change it where it was used; only if it is none: make audit-baseline"
    return Look(NAME, Verdict.FOUND, (*lines, remedy))


def tracked() -> list[str]:
    """Files of the repository, but for checksums of others' modules and the baseline itself."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    left_out = ("go.sum", BASELINE, ".png")
    return [name for name in listed.split("\0") if name and not name.endswith(left_out) and (ROOT / name).is_file()]
