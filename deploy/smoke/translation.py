"""From a container's words to this machine's: host names are loopback addresses, paths lie below a folder.

Each service has an address of its own in 127.0.0.0/8, so that it keeps its ports and no two services meet. Nothing else
of a command, a variable or a mounted file is changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

IMAGE_USER = "10001:10001"
"""Who the project's images run as; here it is the caller."""


@dataclass(frozen=True)
class Translation:
    """How the words of one service are understood here.

    Attributes:
        hosts: Address by name of a service.
        own: Address of this one: what it means by localhost, and by all of its interfaces.
        paths: Local path by path in the container; the longest that fits counts.
    """

    hosts: Mapping[str, str]
    own: str
    paths: Mapping[str, str]
    _names: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", _any(self.hosts))

    def text(self, text: str) -> str:
        """The text with addresses and paths of this machine."""
        # As host:port, as /dev/tcp/host/port, or alone after a word that says so.
        text = re.sub(rf"(?<![\w.-])({self._names})(?=[:/]\d)", self._host, text)
        text = re.sub(
            rf"(?i:(?<=host )|(?<=host=)|(?<=host: )|(?<=host\n)|(?<=local_ip=))({self._names})(?![\w.-])",
            self._host,
            text,
        )
        text = re.sub(r"(?<![\w.-])(0\.0\.0\.0|127\.0\.0\.1|localhost)(?![\w.-])", self.own, text)
        text = re.sub(rf"(?<!\d){IMAGE_USER}(?!\d)", f"{os.getuid()}:{os.getgid()}", text)
        return re.sub(rf"(?<![\w.\-/])({_any(self.paths)})(?![\w.-])", lambda found: self.paths[found[1]], text)

    def command(self, words: Iterable[str]) -> list[str]:
        """The words of a command."""
        return self.text("\n".join(words)).split("\n")

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Variables by name."""
        return {name: self.text(f"{name}={value}").partition("=")[2] for name, value in variables.items()}

    def _host(self, found: re.Match[str]) -> str:
        return self.hosts[found[1]]


def _any(texts: Iterable[str]) -> str:
    return "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)) or r"(?!)"
