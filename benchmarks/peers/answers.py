"""Answers of a measured process: lines of JSON on a standard output that nothing else writes to any more."""

import json
import os
import sys


def take_stdout():
    """A function that answers; what others print goes to standard error from here on."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return lambda **content: print(json.dumps(content), file=answers)


def answer_when_asked(answer, work):
    """Say that the process is ready; then, for each line of standard input, work and answer what it returns.

    Args:
        answer: What take_stdout gave.
        work: Called without arguments; returns a dict.
    """
    answer()
    for _ in sys.stdin:
        answer(**work())
