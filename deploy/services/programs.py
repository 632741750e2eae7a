"""Where the services' programs come from: Debian's packages, Maven Central and crates.io, by their own clients."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.services.errors import ServiceError
from deploy.services.versions import JAVA


def cache() -> Path:
    """Folder outside the tree that keeps programs for all checkouts of this user."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qpipe"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def tell(text: str) -> None:
    """Say on the terminal what happens now."""
    print(text, flush=True)


def run(
    command: Sequence[str],
    why: str,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
    user: str | None = None,
) -> None:
    """Run a program to its end; no shell looks at the command.

    Raises:
        ServiceError: it failed; carries `why` and the end of what it printed.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    if done.returncode:
        raise ServiceError(f"{why}: {command[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}")


def need(program: str, package: str) -> str:
    """Path of a program; its Debian package is installed where it is missing and we may.

    Raises:
        ServiceError: it is missing and cannot be installed.
    """
    if found := shutil.which(program):
        return found
    install_package(package)
    if found := shutil.which(program):
        return found
    raise ServiceError(f"{program} is not on the PATH although {package} is installed")


def install_package(package: str) -> None:
    """Install a Debian package.

    Raises:
        ServiceError: not on Debian, or not root.
    """
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise ServiceError(f"{package} is missing; install it: sudo apt-get install {package}")
    tell(f"installing Debian's {package}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-qq"], "the package lists cannot be fetched", environment=environment)
    run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package],
        f"{package} cannot be installed",
        environment=environment,
    )


def java() -> str:
    """Path of a Java runtime that is new enough.

    Raises:
        ServiceError: the one on the PATH is too old.
    """
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home) / "bin" / "java") if home else need("java", f"openjdk-{JAVA}-jre-headless")
    answer = subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stderr
    version = answer.split('"')[1]
    if int(version.split(".")[0]) < JAVA:
        raise ServiceError(f"{program} is Java {version}; Kafka needs {JAVA} or newer: name one by JAVA_HOME")
    return program


def maven(goal: str, arguments: Sequence[str], folder: Path) -> None:
    """Run one goal of Maven in `folder`; a file whose checksum is wrong stops it.

    Raises:
        ServiceError: Maven failed.
    """
    run(
        [need("mvn", "maven"), "-q", "-B", "--strict-checksums", goal, *arguments],
        "the artifacts cannot be fetched from Maven Central",
        folder=folder,
    )


@contextmanager
def filled_at_once(target: Path) -> Iterator[Path]:
    """An empty folder that becomes `target` when the block ends well, so that `target` is never half filled."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield part
        part.chmod(0o755)
        try:
            part.rename(target)
        except OSError:
            # Another process was faster; what it made is the same.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
