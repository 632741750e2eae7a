"""What a check is, and how all of them are run: side by side, each within the same bounded time."""

from __future__ import annotations

import enum
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

ANSWER_SECONDS = 5.0
"""How long a check's own client waits for one answer."""
DEADLINE_SECONDS = 15.0
"""How long all checks together may take; they run at the same time."""
_OWN_ERROR = re.compile(r"(?P<seen>.*\)|[^;]*)[:;] (?P<remedy>.+)", re.DOTALL)


class Status(enum.StrEnum):
    """Verdict of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """What a check saw, and what the operator is to do about it; `remedy` is empty where all is well.

    `cause` names the failed check because of which this one was not made.
    """

    status: Status
    seen: str
    remedy: str = ""
    cause: str = ""


def fine(seen: str) -> Finding:
    """All is well."""
    return Finding(Status.OK, seen)


def warning(seen: str, remedy: str) -> Finding:
    """Work goes on, but somebody should look."""
    return Finding(Status.WARNING, seen, remedy)


def failed(seen: str, remedy: str) -> Finding:
    """Work that needs this cannot go on."""
    return Finding(Status.FAILED, seen, remedy)


@dataclass(frozen=True)
class Check:
    """One question to one service.

    `look` answers it, or raises: then the check has failed with the exception's text and `remedy`.
    `after` names the check without whose success the question makes no sense.
    """

    name: str
    look: Callable[[], Finding]
    remedy: str
    after: str | None = None


def run_checks(
    checks: Sequence[Check], *, deadline: float = DEADLINE_SECONDS, redact: Callable[[str], str] = str
) -> list[tuple[str, Finding]]:
    """Findings by check, in the order of `checks`.

    Args:
        checks: Those that another one comes `after` stand before it.
        deadline: Seconds after which a check without an answer has failed.
        redact: Takes secrets out of what is told.
    """
    end = time.monotonic() + deadline
    answers: dict[str, Future[Finding]] = {}
    for check in checks:
        answer: Future[Finding] = Future()
        before = answers[check.after] if check.after else None
        # A thread that hangs in a client must not keep the process from ending, so no executor.
        threading.Thread(target=_answer, args=(check, before, answer), name=check.name, daemon=True).start()
        answers[check.name] = answer
    found = []
    for check in checks:
        finding = _await(answers[check.name], check, end, deadline)
        found.append((check.name, Finding(finding.status, redact(finding.seen), redact(finding.remedy))))
    return found


def _await(answer: Future[Finding], check: Check, end: float, deadline: float) -> Finding:
    try:
        return answer.result(timeout=max(end - time.monotonic(), 0.0))
    except TimeoutError:
        return failed(f"no answer within {deadline:g} s", check.remedy)


def _answer(check: Check, before: Future[Finding] | None, answer: Future[Finding]) -> None:
    earlier = before.result() if before is not None else None
    cause = "" if earlier is None else earlier.cause or (check.after if earlier.status is Status.FAILED else "")
    if cause:
        seen, remedy = f"not looked at, because {cause} failed", f"put {cause} right first"
        answer.set_result(Finding(Status.WARNING, seen, remedy, cause))
        return
    try:
        answer.set_result(check.look())
    except Exception as error:  # whatever a client raises is what the operator wants to read
        answer.set_result(_as_finding(error, check.remedy))


def _as_finding(error: Exception, remedy: str) -> Finding:
    """Our own errors end with what to do, after `(why): ` or `; `; for others it is the check's remedy."""
    own = _OWN_ERROR.fullmatch(str(error)) if type(error).__module__.startswith("qpipe_") else None
    return failed(own["seen"], own["remedy"]) if own else failed(reason(error), remedy)


def reason(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def counted(number: int, noun: str) -> str:
    """A number of things in words."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
