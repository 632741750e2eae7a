"""The services of docker-compose.yml as processes of this machine, started in the order that the file asks for."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy.compose import ROOT, Service
from deploy.services.errors import ServiceError
from deploy.services.process import ServerProcess, base_environment
from deploy.smoke.programs import NOT_HERE, PROGRAMS, Program
from deploy.smoke.translation import Translation

START_SECONDS = 240.0
"""For one service, from its start until its health check passes."""
_CHECK_SECONDS = 40.0
_ONCE_SECONDS = 90.0
_STOP_SECONDS = 30.0
_PAUSE_SECONDS = 0.3


class SmokeError(RuntimeError):
    """Something is not as it should be; says what, and where to look."""


@dataclass
class Local:
    """One service as it is here.

    Attributes:
        service: What docker-compose.yml says of it.
        program: What runs in place of its image.
        folder: Where its files and its log lie.
        translation: Of its words into this machine's.
        begun: When it was started, on the monotonic clock; None before.
        seconds: From its start until its check passed, or until it had done its work; None before.
    """

    service: Service
    program: Program
    folder: Path
    translation: Translation
    process: ServerProcess = field(init=False)
    given: set[Path] = field(init=False)
    begun: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        self.process = ServerProcess(self.folder)
        self.given = {path for path in self.folder.rglob("*") if path.is_file()}

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of its process; of the caller's it has none but what every program needs."""
        given = self.translation.environment(self.service.environment)
        return base_environment() | dict(self.program.environment) | given

    def command(self) -> list[str]:
        """Program and arguments as they are run here."""
        if self.program.command is not None:
            return self.program.command(self.service, self.translation.text)
        return self.located([*self.program.entrypoint, *self.translation.command(self.service.command)])

    def check(self) -> bool:
        """Whether its health check passes."""
        assert self.service.check is not None
        command = self.located(self.translation.command(self.service.check))
        try:
            done = subprocess.run(
                command, env=self.environment, cwd=self.folder, capture_output=True, timeout=_CHECK_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def run_once(self) -> None:
        """Run it to its end.

        Raises:
            SmokeError: it failed, or took too long.
        """
        with self.process.log.open("ab") as log:
            done = subprocess.run(
                self.command(),
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=_ONCE_SECONDS,
                check=False,
            )
        if done.returncode:
            raise SmokeError(f"{self.service.name} ended with {done.returncode}:\n{self.process.last_words()}")

    def written(self) -> set[str]:
        """Files that appeared in its own part of the file system, which its container could not have written."""
        if not self.service.is_read_only:
            return set()
        free = [self.folder / "files" / one.target.lstrip("/") for one in self.service.mounts if not one.source]
        now = {
            path for path in self.folder.rglob("*") if path.is_file() and not any(path.is_relative_to(f) for f in free)
        }
        return {str(path.relative_to(self.folder)) for path in now - self.given - set(self.process.files)}

    def located(self, command: Sequence[str]) -> list[str]:
        """The command with the place of its program: by the path of the service's environment, not by the caller's.

        Raises:
            SmokeError: this machine has no such program.
        """
        found = shutil.which(command[0], path=self.environment["PATH"])
        if found is None:
            raise SmokeError(f"{self.service.name}: this machine has no {command[0]}")
        return [found, *command[1:]]


class Machine:
    """All services of the file that can be had here, each at an address of its own.

    Attributes:
        absent: Why a service cannot be had, by its name.
        services: The others by name.
    """

    def __init__(
        self,
        folder: Path,
        services: Mapping[str, Service],
        network: int,
        tell: Callable[[str], None],
        programs: Mapping[str, Callable[[], Program]] = PROGRAMS,
    ) -> None:
        """Prepare the folders; starts nothing.

        Args:
            folder: An empty folder, which every account may enter.
            services: What docker-compose.yml says.
            network: The addresses are 127.<network>.0.x.
            tell: Is given a line for each thing that was done.
            programs: What runs in place of each image.
        """
        self._tell = tell
        self.absent = {name: NOT_HERE[one.repository] for name, one in services.items() if one.repository in NOT_HERE}
        hosts = {name: f"127.{network}.0.{number}" for number, name in enumerate(services, start=2)}
        self.services: dict[str, Local] = {}
        here = {one.repository for name, one in services.items() if name not in self.absent}
        had = {repository: programs[repository]() for repository in sorted(here)}
        for name, service in services.items():
            if name not in self.absent:
                self.services[name] = _prepared(service, had[service.repository], folder, hosts)

    def up(self) -> None:
        """Start every service when those that it depends on are as it asks, and wait until all are well.

        Raises:
            SmokeError: a service ended, or its check does not pass in time; carries the end of its log.
        """
        while waiting := [local for local in self.services.values() if local.seconds is None]:
            for local in waiting:
                if local.begun is None and self._may_start(local):
                    self._start(local)
            under_way = [local for local in waiting if local.begun is not None]
            if not under_way:
                raise SmokeError(f"{', '.join(one.service.name for one in waiting)} wait for each other")
            for local in under_way:
                self._look(local)
            time.sleep(_PAUSE_SECONDS)

    def down(self) -> None:
        """End exactly the processes that were started: each when none is left that depends on it."""
        left = {name: local for name, local in self.services.items() if local.process.pid is not None}
        while left:
            needed = {other for local in left.values() for other in self._all_before(local.service)}
            ending = [left.pop(name) for name in set(left) - needed]
            with ThreadPoolExecutor(len(ending)) as threads:
                list(threads.map(self._stop, ending))

    def _stop(self, local: Local) -> None:
        try:
            local.process.stop(signal.Signals[local.service.stop_signal], _STOP_SECONDS)
        except ServiceError as error:
            self._tell(f"{error}; it is killed")
            local.process.kill()

    def _all_before(self, service: Service) -> set[str]:
        """All that it depends on, also by way of services that have ended."""
        direct = {name for name in service.depends_on if name in self.services}
        return direct.union(*(self._all_before(self.services[name].service) for name in direct))

    def listening(self) -> dict[str, set[str]]:
        """Addresses at which each service's processes listen, by its name."""
        found = {}
        for name, local in self.services.items():
            found[name] = {one for process in local.process.family() for one in _listening(process)}
        return found

    def written(self) -> dict[str, set[str]]:
        """What services with a read-only file system have written beside their volumes and tmpfs, by name."""
        return {name: found for name, local in self.services.items() if (found := local.written())}

    def _may_start(self, local: Local) -> bool:
        after = (self.services.get(name) for name in local.service.depends_on)
        return all(one is None or one.seconds is not None for one in after)

    def _start(self, local: Local) -> None:
        local.begun = time.monotonic()
        if local.program.first is not None:
            local.program.first(local.service, local.translation.text, local.program.account)
        if local.service.is_once:
            local.run_once()
        else:
            local.process.start(local.command(), local.environment, local.program.account)

    def _look(self, local: Local) -> None:
        alive = local.process.pid is not None
        well = local.service.is_once or (alive and local.check())
        seconds = time.monotonic() - (local.begun or 0.0)
        if well:
            local.seconds = seconds
            how = "has done its work" if local.service.is_once else "is healthy"
            self._tell(f"{local.service.name:<20} {how:<18} {seconds:6.1f} s   {local.program.what}")
        elif not alive or seconds > START_SECONDS:
            how = f"is not healthy after {seconds:.0f} s" if alive else "ended while it started"
            raise SmokeError(f"{local.service.name} {how}; its log ends:\n{local.process.last_words(30)}")


def _listening(process: psutil.Process) -> set[str]:
    try:
        ports = process.net_connections("inet")
    except psutil.NoSuchProcess:  # a health check of before, say
        return set()
    # Java and gRPC listen by IPv6's form of the address.
    return {
        f"{port.laddr.ip.removeprefix('::ffff:')}:{port.laddr.port}"
        for port in ports
        if port.status == psutil.CONN_LISTEN
    }


def _prepared(service: Service, program: Program, folder: Path, hosts: Mapping[str, str]) -> Local:
    """A service with its files in place: volumes are shared, mounted files and the image's own translated copies."""
    inside = folder / service.name / "files"
    paths = dict(program.paths)
    for mount in service.mounts:
        is_volume = bool(mount.source) and not mount.is_bound
        place = folder / "volumes" / mount.source if is_volume else inside / mount.target.lstrip("/")
        if not mount.is_bound:
            place.mkdir(parents=True, exist_ok=True)
        paths[mount.target] = str(place)
    for path in program.files:
        paths[str(Path(path).parent)] = str(inside / path.lstrip("/").rpartition("/")[0])
    inside.mkdir(parents=True, exist_ok=True)
    translation = Translation(hosts, hosts[service.name], paths)
    for mount in service.mounts:
        if mount.is_bound:
            _copy(ROOT / mount.source, inside / mount.target.lstrip("/"), translation)
    for path, sources in program.files.items():
        texts = [one.read_text(encoding="utf-8") for one in (sources if isinstance(sources, tuple) else (sources,))]
        _write(inside / path.lstrip("/"), translation.text("".join(texts)))
    return Local(service, program, folder / service.name, translation)


def _copy(source: Path, target: Path, translation: Translation) -> None:
    for file in [source] if source.is_file() else [one for one in source.rglob("*") if one.is_file()]:
        place = target if source.is_file() else target / file.relative_to(source)
        _write(place, translation.text(file.read_text(encoding="utf-8")))


def _write(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
