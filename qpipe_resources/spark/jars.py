"""Java, and the jars that Spark needs beside its own: which versions, where they lie, what to do when they are missing.

The AWS SDK is the part of it in Iceberg's bundle (64 MB), which hadoop-aws runs on too: what hadoop-aws asks for has
600 MB. So no artifact brings its dependencies.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from qpipe_resources.spark.errors import SparkUnavailableError
from qpipe_resources.spark.settings import PACKAGES, SparkSettings

ICEBERG = "1.11.0"
ARTIFACTS = (
    f"org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:{ICEBERG}",
    f"org.apache.iceberg:iceberg-aws-bundle:{ICEBERG}",
    "org.apache.hadoop:hadoop-aws:3.4.2",
    "software.amazon.awssdk:s3-transfer-manager:2.44.4",  # the version inside Iceberg's bundle, which lacks it
    "org.xerial:sqlite-jdbc:3.50.3.0",
    "org.postgresql:postgresql:42.7.8",
)
"""Maven coordinates; newer pyspark than 4.1 has no Iceberg runtime."""
JAVA = 17

_REMEDY = "run `make jars`, name a folder that has them in QPIPE_SPARK_JARS, or set QPIPE_SPARK_JARS=packages"


def default_folder() -> Path:
    """Where `make jars` puts them: one folder for all checkouts of this user that want the same ones."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "qpipe" / f"spark-jars-{hashlib.sha256(' '.join(ARTIFACTS).encode()).hexdigest()[:12]}"


def file_name(artifact: str) -> str:
    """The jar's name as Maven gives it."""
    _, name, version = artifact.split(":")
    return f"{name}-{version}.jar"


def jar_files(settings: SparkSettings) -> list[Path]:
    """The jars on this machine; none when Spark fetches them itself.

    Raises:
        SparkUnavailableError: some are missing.
    """
    if settings.jars == PACKAGES:
        return []
    folder = Path(settings.jars).expanduser().absolute() if settings.jars else default_folder()
    files = [folder / file_name(artifact) for artifact in ARTIFACTS]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise SparkUnavailableError(f"Spark lacks {', '.join(missing)} in {folder}; {_REMEDY}")
    return files


def require_pyspark() -> None:
    """Refuse to go on without pyspark.

    Raises:
        SparkUnavailableError: it is not installed.
    """
    if find_spec("pyspark") is None:
        raise SparkUnavailableError("pyspark is not installed; run `make jars`, or pip install 'qpipe[spark]'")


def require_java() -> None:
    """Refuse to go on without a Java that Spark runs on.

    Raises:
        SparkUnavailableError: there is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    remedy = (
        f"install Java {JAVA} or newer (Debian: openjdk-{JAVA}-jre-headless) and have it on the PATH or in JAVA_HOME"
    )
    if program is None:
        raise SparkUnavailableError(f"Spark needs Java, and there is none; {remedy}")
    try:
        answer = subprocess.run([program, "-version"], capture_output=True, text=True, check=True, timeout=60).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise SparkUnavailableError(f"{program} does not run ({type(error).__name__}); {remedy}") from error
    found = re.search(r'version "(?:1\.)?(\d+)', answer)
    if found is None or int(found[1]) < JAVA:
        raise SparkUnavailableError(f"{program} is {answer.splitlines()[0] if answer else 'unknown'}; {remedy}")


def require(settings: SparkSettings) -> list[Path]:
    """Everything that a session of these settings needs on this machine; returns the jars.

    Raises:
        SparkUnavailableError: something is missing; names it and the remedy.
    """
    require_pyspark()
    if settings.is_connect:
        return []
    require_java()
    return jar_files(settings)
