"""Names of the metrics in an expression of PromQL."""

from __future__ import annotations

import re

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`')
_MATCHERS = re.compile(r"\{[^}]*\}")
_RANGES = re.compile(r"\[[^\]]*\]|\boffset\s+-?\w+")
_LABEL_LISTS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAME = re.compile(r"(?<![\w.:$])[a-zA-Z_:][\w:]*")
_WORDS = frozenset("and or unless bool by without on ignoring group_left group_right offset inf nan".split())


def metric_names(expression: str) -> set[str]:
    """The names of all metrics that the expression selects; it must be valid."""
    text = _STRINGS.sub('""', expression)
    for hidden in (_MATCHERS, _RANGES, _LABEL_LISTS):
        text = hidden.sub(" ", text)
    return {
        found.group()
        for found in _NAME.finditer(text)
        if found.group().lower() not in _WORDS and not text[found.end() :].lstrip().startswith("(")
    }
