"""PostgreSQL: a cluster of its own for the catalog, the ledger and the registry's schemas."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psutil

from deploy.services.process import base_environment, observe
from deploy.services.programs import install_package, run
from deploy.services.service import Service
from deploy.services.state import LOOPBACK

ROLE = "qpipe"
DATABASE = "qpipe"
REGISTRY_ROLE = "registry"
REGISTRY_DATABASE = "registry"
_PACKAGES = Path("/usr/lib/postgresql")
_ACCOUNT = "postgres"


class Postgres(Service):
    """Runs as the caller, or as Debian's account `postgres` where root calls: the server refuses root."""

    name = "postgres"
    title = "PostgreSQL"
    ports = {"postgres": 5432}  # noqa: RUF012
    # SIGINT is the fast shutdown: it ends sessions, where SIGTERM would wait for each client to leave.
    stop_signal = signal.SIGINT

    @property
    def user(self) -> str | None:
        """The account that Debian's package made, for root."""
        return _ACCOUNT if os.geteuid() == 0 else None

    @property
    def data(self) -> Path:
        """Folder of the cluster."""
        return self.folder / "data"

    def _program(self, name: str) -> Path | None:
        versions = sorted(_PACKAGES.glob(f"[0-9]*/bin/{name}"), key=lambda path: int(path.parts[4]))
        found = shutil.which(name)
        return versions[-1] if versions else Path(found) if found else None

    def install(self) -> None:
        """Install Debian's package where no PostgreSQL is there."""
        if self._program("initdb") is None:
            install_package("postgresql")

    def configure(self) -> None:
        """Make the cluster once: it appears under its name when it is complete."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.data.exists():
            self._forget_the_dead()
            return
        shutil.rmtree(self._part, ignore_errors=True)
        place = self._place()
        self._initialize(place)
        if place == self._part:
            place.rename(self.data)
        else:
            self.data.symlink_to(place)

    def _forget_the_dead(self) -> None:
        """Take away the lock file of a killed server that nobody has buried yet.

        The server asks whether the process of the lock file exists, and a zombie does. It holds nothing: its children,
        which would, all work in the data folder, and none may be left.
        """
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().splitlines()[0])
        except FileNotFoundError:
            return
        identity, alive = observe(pid)
        if identity is not None and not alive and not self._processes_inside():
            lock.unlink()

    def _processes_inside(self) -> list[int]:
        place = str(self.data.resolve())
        # The kernel hides the folder of processes that are not ours; what may write here is ours.
        running = psutil.process_iter(["pid", "cwd"])
        return [process.pid for process in running if process.info["cwd"] == place and observe(process.pid)[1]]

    @property
    def _part(self) -> Path:
        return self.folder / "data.part"

    def _place(self) -> Path:
        """An empty folder for the cluster: in the account's home where it cannot enter the checkout's."""
        if self.user is None:
            self._part.mkdir(mode=0o700)
            return self._part
        account = pwd.getpwnam(self.user)
        enter = ["test", "-x", str(self.folder)]
        if subprocess.run(enter, user=self.user, group=self.user, extra_groups=[], check=False).returncode:
            place = Path(tempfile.mkdtemp(prefix="qpipe-", dir=account.pw_dir))
        else:
            place = self._part
            place.mkdir(mode=0o700)
        os.chown(place, account.pw_uid, account.pw_gid)
        return place

    def _initialize(self, place: Path) -> None:
        with tempfile.NamedTemporaryFile("w", prefix="qpipe-", dir=place.parent) as password:
            password.write(self.state.secret("postgres-superuser"))
            password.flush()
            if self.user is not None:
                account = pwd.getpwnam(self.user)
                os.chown(password.name, account.pw_uid, account.pw_gid)
            command = [
                str(self._program("initdb")), f"--pgdata={place}", "--username=postgres", f"--pwfile={password.name}",
                "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8",
            ]  # fmt: skip
            run(
                command,
                "PostgreSQL's cluster cannot be made",
                folder=Path("/"),
                environment=base_environment(),
                user=self.user,
            )

    def command(self) -> list[str]:
        """No Unix sockets: their paths may be 107 bytes at most, which a deep checkout exceeds."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self.state.ports["postgres"],
            "unix_socket_directories": "",
            "max_connections": 200,
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._program("postgres")), "-D", str(self.data.resolve()), *options]

    def connect(self, database: str = "postgres") -> Any:
        """A connection of the superuser, in autocommit."""
        import psycopg2

        connection = psycopg2.connect(
            host=LOOPBACK,
            port=self.state.ports["postgres"],
            user="postgres",
            password=self.state.secret("postgres-superuser"),
            dbname=database,
            connect_timeout=5,
        )
        connection.autocommit = True
        return connection

    def ready(self) -> bool:
        """Whether it lets the superuser in."""
        import psycopg2

        try:
            self.connect().close()
        except psycopg2.OperationalError:
            return False
        return True

    def prepare(self) -> None:
        """Create the roles and their databases."""
        from psycopg2 import sql

        connection = self.connect()
        try:
            cursor = connection.cursor()
            for role, secret in ((ROLE, "postgres-qpipe"), (REGISTRY_ROLE, "postgres-registry")):
                cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
                if cursor.fetchone() is None:
                    statement = sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}")
                    cursor.execute(statement.format(sql.Identifier(role), sql.Literal(self.state.secret(secret))))
            for database, role in ((DATABASE, ROLE), (REGISTRY_DATABASE, REGISTRY_ROLE)):
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
                if cursor.fetchone() is None:
                    statement = sql.SQL("CREATE DATABASE {} OWNER {}")
                    cursor.execute(statement.format(sql.Identifier(database), sql.Identifier(role)))
        finally:
            connection.close()
