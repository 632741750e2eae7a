"""The running services, for tests and tools: where they are, and kill, stop and start for each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from deploy.services.certificates import Certificates
from deploy.services.errors import ServiceError
from deploy.services.garage import REGION, Garage
from deploy.services.kafka import Kafka, KafkaUser
from deploy.services.postgres import DATABASE, ROLE, Postgres
from deploy.services.programs import cache, tell
from deploy.services.registry import Registry
from deploy.services.service import Service
from deploy.services.state import State, default_folder, is_free, locked, write_private

NAMES = ("postgres", "garage", "kafka", "registry")
"""In the order of starting: the registry needs PostgreSQL."""


class Stack:
    """The four services below one folder.

    Attributes:
        folder: where their data, logs and configuration lie, a folder each.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or default_folder()).absolute()
        self.state = State.load(self.folder)
        self._postgres, self._garage = Postgres(self.state), Garage(self.state)
        self._kafka, self._registry = Kafka(self.state), Registry(self.state)
        self.services: Mapping[str, Service] = MappingProxyType(
            dict(zip(NAMES, (self._postgres, self._garage, self._kafka, self._registry), strict=True))
        )

    @classmethod
    def running(cls, folder: Path | None = None) -> Stack:
        """The services that `make services` started.

        Raises:
            ServiceError: one of them does not run; says how to start it.
        """
        stack = cls(folder)
        down = [name for name in NAMES if stack.pid(name) is None]
        if down:
            raise ServiceError(f"not running: {', '.join(down)}; start the services: make services")
        return stack

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which qpipe, the AWS clients and libpq find the services."""
        key, secret = self._garage.access_key
        return {
            "QPIPE_ENV": "services",
            "KAFKA_SERVERS": self.listeners["PLAINTEXT"],
            "SCHEMA_REGISTRY_URL": self._registry.url,
            "QPIPE_S3_ENDPOINT": self._garage.endpoint,
            "QPIPE_S3_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "QPIPE_CATALOG_URI": f"postgresql+psycopg2://{ROLE}@{self.state.address('postgres')}/{DATABASE}",
            "PGPASSWORD": self.state.secret("postgres-qpipe"),
        }

    @property
    def listeners(self) -> dict[str, str]:
        """Address of Kafka's listener for each security protocol."""
        return self._kafka.listeners

    @property
    def tls(self) -> Certificates:
        """Certificates for Kafka's listeners SSL and SASL_SSL."""
        return self._kafka.tls

    @property
    def kafka_users(self) -> dict[str, KafkaUser]:
        """User of each SASL mechanism."""
        return self._kafka.users

    def pid(self, name: str) -> int | None:
        """Number of the service's process, None when it does not run."""
        return self._service(name).process.pid

    def kill(self, name: str) -> None:
        """SIGKILL the service and its child processes, and wait until they are gone."""
        with locked(self.folder):
            self._service(name).process.kill()

    def stop(self, name: str) -> None:
        """Stop the service in its own orderly way."""
        with locked(self.folder):
            self._service(name).stop()

    def start(self, name: str) -> None:
        """Start the service at the address it had, and wait until it answers.

        Raises:
            ServiceError: it cannot start; carries the end of its log.
        """
        service = self._service(name)
        # Waiting needs no lock: meanwhile another service may be killed or started.
        with locked(self.folder):
            service.launch()
        service.wait()

    @classmethod
    def up(cls, folder: Path | None = None) -> Stack:
        """Install what is missing and start what does not run.

        Raises:
            ServiceError: a program cannot be installed or started; says why and what to do.
        """
        folder = folder or default_folder()
        # Another checkout's stack might build the same program, or take a port between our choice and our start.
        with locked(cache()), locked(folder):
            stack = cls(folder)
            for service in stack.services.values():
                service.install()
            for service in stack.services.values():
                if service.process.pid is None:
                    stack._choose_ports(service)
            stack._start_all()
            lines = [f"export {variable}='{value}'\n" for variable, value in stack.environment.items()]
            write_private(folder / "env", "".join(lines))
        tell(f"settings: {folder / 'env'}")
        return stack

    def _start_all(self) -> None:
        """Start all at once, PostgreSQL first, and prepare each as soon as it answers."""
        begin = time.monotonic()
        started = set()
        for name, service in self.services.items():
            if service.launch():
                started.add(name)
            if name == "postgres":
                service.wait()
                service.prepare()
        for name, service in self.services.items():
            service.wait()
            service.prepare()
            how = f"started in {time.monotonic() - begin:.1f} s" if name in started else "runs already"
            tell(f"{service.title:<28} {how}: {', '.join(self.state.address(port) for port in service.ports)}")

    def _choose_ports(self, service: Service) -> None:
        moved = [port for port in service.ports if port in self.state.ports and not is_free(self.state.ports[port])]
        self.state.choose_ports(service.ports)
        for port in moved:
            tell(f"{service.title}: another program has the port of {port}; it moves to {self.state.ports[port]}")

    def down(self) -> None:
        """Stop exactly the processes that were started here, the last one first."""
        with locked(self.folder):
            for name in reversed(NAMES):
                service = self.services[name]
                if (pid := service.process.pid) is not None:
                    service.stop()
                    tell(f"{service.title}: stopped (process {pid})")
                else:
                    tell(f"{service.title}: did not run")

    def _service(self, name: str) -> Service:
        if name not in self.services:
            raise ServiceError(f"no service is called {name!r}; choose among {', '.join(NAMES)}")
        return self.services[name]
