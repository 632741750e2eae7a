"""`python -m deploy.audit`: what `make audit` calls. Exit status 1 where something was found.

A database that does not answer is no fault of the code, so it fails nothing, but is told in so many words; `--strict`
makes it exit status 2.
"""

from __future__ import annotations

import argparse
import sys

from deploy.audit.secret_scan import look_for_secrets
from deploy.audit.tools import Look, Verdict
from deploy.audit.vulnerabilities import look_for_vulnerabilities
from deploy.audit.withdrawn import look_for_withdrawn

LOOKS = (look_for_secrets, look_for_vulnerabilities, look_for_withdrawn)


def main(arguments: list[str] | None = None) -> int:
    """Look for all; returns the exit status."""
    parser = argparse.ArgumentParser(prog="deploy.audit", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail where something could not be audited")
    strict = parser.parse_args(arguments).strict
    looks = []
    for look_for in LOOKS:
        look = look_for()
        _tell(look)
        looks.append(look)
    return status_of(looks, strict=strict)


def status_of(looks: list[Look], *, strict: bool) -> int:
    """1 where something was found, 2 where a strict audit could not look, else 0."""
    verdicts = {look.verdict for look in looks}
    if Verdict.FOUND in verdicts:
        return 1
    return 2 if strict and Verdict.BLIND in verdicts else 0


def _tell(look: Look) -> None:
    print(f"{look.name}: {look.verdict}", flush=True)
    for line in look.lines:
        print(f"  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
