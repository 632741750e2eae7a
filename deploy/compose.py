"""Reads docker-compose.yml as compose does, as far as this project's file goes: anchors, variables, profiles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[A-Z][A-Z0-9_]*)(?:(?P<how>:-|:\?)(?P<other>[^}]*))?\})")


class ComposeError(ValueError):
    """The file cannot be used: a variable that it needs is missing, or a service is not there."""


@dataclass(frozen=True)
class Mount:
    """What a container sees of the outside.

    Attributes:
        source: Name of a volume, or path relative to the file; empty for a tmpfs.
        target: Path in the container.
    """

    source: str
    target: str

    @property
    def is_bound(self) -> bool:
        """Whether it is a file or folder of the tree."""
        return self.source.startswith(".")


@dataclass(frozen=True)
class Service:
    """One service, its variables filled in.

    Attributes:
        name: Its name, which is its host name too.
        image: Image with its tag.
        command: Program and arguments; empty: the image's own.
        environment: Variables that the container gets.
        mounts: Volumes, files of the tree, and tmpfs.
        depends_on: Condition by service; of those that need not be there too.
        check: Command of the health check, None where there is none.
        stop_signal: How it is asked to end.
        is_read_only: Whether it can write to volumes and tmpfs alone.
    """

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    depends_on: Mapping[str, str]
    check: tuple[str, ...] | None
    stop_signal: str
    is_read_only: bool = True

    @property
    def repository(self) -> str:
        """The image without its tag."""
        return self.image.rpartition(":")[0]

    @property
    def is_once(self) -> bool:
        """Whether it does its work and ends: it has no health to look at."""
        return self.check is None


def variables(text: str | None = None) -> dict[str, str | None]:
    """Every variable that the file asks the environment for, with its default where it has one.

    COMPOSE_PROFILES, which chooses among its profiles, is one of them.
    """
    text = FILE.read_text(encoding="utf-8") if text is None else text
    found: dict[str, str | None] = {"COMPOSE_PROFILES": None}
    for match in _VARIABLE.finditer(text):
        if match["name"]:
            found[match["name"]] = match["other"] if match["how"] == ":-" else None
    for service in yaml.safe_load(text)["services"].values():
        passed = service.get("environment") or {}
        found |= {name: None for name, value in passed.items() if value is None}
    return found


def services(environment: Mapping[str, str], profiles: Iterable[str] = ("cpu",)) -> dict[str, Service]:
    """The services of these profiles, and those of none, by name.

    Args:
        environment: What .env sets.
        profiles: Those that are switched on.

    Raises:
        ComposeError: a variable that the file needs is missing.
    """
    chosen = set(profiles)
    whole: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
    wanted = {name: one for name, one in whole.items() if not one.get("profiles") or chosen & set(one["profiles"])}
    return {name: _service(name, one, environment, set(wanted)) for name, one in wanted.items()}


def _service(name: str, one: Mapping[str, Any], environment: Mapping[str, str], there: set[str]) -> Service:
    def fill(value: object) -> str:
        return interpolate(str(value), environment)

    given: dict[str, str] = {}
    for variable, value in (one.get("environment") or {}).items():
        if value is not None:
            given[variable] = fill(value)
        elif variable in environment:
            given[variable] = environment[variable]
    mounts = [Mount(*fill(text).split(":")[:2]) for text in one.get("volumes", ())]
    mounts += [Mount("", str(text).split(":")[0]) for text in one.get("tmpfs", ())]
    after = {
        other: how["condition"]
        for other, how in (one.get("depends_on") or {}).items()
        if other in there or how.get("required", True)
    }
    if absent := set(after) - there:
        raise ComposeError(f"{name} depends on {', '.join(sorted(absent))}, which no chosen profile has")
    check = one.get("healthcheck", {}).get("test")
    return Service(
        name=name,
        image=fill(one["image"]),
        command=tuple(fill(word) for word in one.get("command", ())),
        environment=given,
        mounts=tuple(mounts),
        depends_on=after,
        check=tuple(fill(word) for word in check[1:]) if check else None,
        stop_signal=one.get("stop_signal", "SIGTERM"),
        is_read_only=bool(one.get("read_only")),
    )


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """The text with its variables filled in.

    Raises:
        ComposeError: one that has no default is missing or empty.
    """

    def value(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        found = environment.get(match["name"])
        if not found and match["how"] == ":?":
            raise ComposeError(f"{match['name']} is not set: {match['other']}")
        return found or (match["other"] if match["how"] == ":-" else None) or ""

    return _VARIABLE.sub(value, text)
