"""How the audit runs its tools, and what it may conclude: having seen nothing is told from having seen no fault."""

from __future__ import annotations

import enum
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
_SECONDS = 900.0


class Verdict(enum.StrEnum):
    """What a look has found."""

    CLEAN = "clean"
    FOUND = "found"
    BLIND = "NOT AUDITED"


@dataclass(frozen=True)
class Look:
    """One thing that was looked for: the verdict, and lines that say why."""

    name: str
    verdict: Verdict
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What a program printed, and its exit status."""

    status: int
    out: str
    error: str

    @property
    def last_words(self) -> str:
        """The end of what it printed, in one line."""
        lines = (self.error.strip() or self.out.strip()).splitlines()
        return lines[-1].strip()[:300] if lines else f"exit status {self.status}"


Run = Callable[[Sequence[str]], Answer]


def run(command: Sequence[str]) -> Answer:
    """Run a program to its end; no shell looks at the command."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer(124, "", f"{command[0]} was ended after {_SECONDS:.0f} s")
    return Answer(done.returncode, done.stdout, done.stderr)
