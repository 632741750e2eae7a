"""A Spark session of ours on the project's catalog: opened once a process, and gone with everything when it is closed.

pyspark keeps its JVM until Python ends and hands the next session the settings of the first, so the JVM is ended here.
When this process is killed the JVM sees its standard input close, and ends by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from qpipe_resources.lakehouse_reads import CATALOG
from qpipe_resources.spark import jars, options
from qpipe_resources.spark.catalog import CatalogOptions, catalog_options, object_store_options
from qpipe_resources.spark.errors import SparkRefusedError, SparkUnavailableError
from qpipe_resources.spark.settings import SparkSettings
from qpipe_resources.spark.shipping import PACKAGES, write_packages

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from qpipe_resources.settings import Settings

_END = 15.0
"""Seconds that a JVM has to end before it is killed."""
_ZIP = "qpipe_packages.zip"
_only_one = threading.Lock()
_Session: TypeAlias = "tuple[SparkSession, subprocess.Popen[bytes] | None]"


class SparkDriver:
    """An open session and what stands behind it: a JVM of ours, or the connection to a Spark Connect server.

    Attributes:
        session: with `quantum_catalog` as the current catalog.
        jvm_pid: process id of the JVM; None with Spark Connect.
    """

    def __init__(self, session: SparkSession, jvm: subprocess.Popen[bytes] | None, secrets: Mapping[str, str]) -> None:
        self.session = session
        self._secrets = secrets
        self._jvm = jvm
        self._open = True
        self.jvm_pid = jvm.pid if jvm else None

    @contextmanager
    def unlocked(self) -> Iterator[None]:
        """Let sessions that are cloned from this one open the catalog meanwhile, as Iceberg's procedures need it."""
        try:
            for name, value in self._secrets.items():
                self.session.conf.set(name, value)
            yield
        finally:
            for name in self._secrets:
                self.session.conf.unset(name)

    def ship(self, packages: Sequence[str] = PACKAGES) -> None:
        """Send the packages to all executors, present and future; there they win over installed ones."""
        if self._jvm is None:
            with tempfile.TemporaryDirectory() as folder:
                self.session.addArtifacts(str(write_packages(Path(folder) / _ZIP, packages)), pyfile=True)
            return
        from pyspark import SparkFiles

        # Below Spark's own temporary folder, which goes with the JVM however that ends.
        shipped = Path(SparkFiles.getRootDirectory()) / "shipped"
        shipped.mkdir(exist_ok=True)
        self.session.sparkContext.addPyFile(str(write_packages(shipped / _ZIP, packages)))

    def close(self) -> None:
        """Stop the session, release its executors and end the JVM; may be called twice."""
        if not self._open:
            return
        self._open = False
        try:
            if self._jvm is None:
                self.session.stop()
            else:
                _stop(self.session)
                _end_jvm()
        finally:
            _only_one.release()

    def __enter__(self) -> SparkDriver:
        """The driver itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def open_spark(
    settings: Settings, spark: SparkSettings, namespace: str, more: Mapping[str, str] | None = None
) -> SparkDriver:
    """Open the session of this process, with the project's packages on its executors.

    Args:
        settings: whose catalog and object store Spark sees; the catalog must have been opened by qpipe before.
        spark: where and with how much it computes.
        namespace: that plain table names are looked up in.
        more: options of Spark that win over ours; no secrets.

    Raises:
        SparkUnavailableError: pyspark, Java, the jars or the master is missing; names the remedy.
        SparkRefusedError: a session is open in this process, or an option is for a secret.
        CatalogRefusedError: the URI of the database cannot be understood.
    """
    added = options.checked(more or {})
    catalog = catalog_options(settings)
    files = jars.require(spark)
    if not _only_one.acquire(blocking=False):
        raise SparkRefusedError("a Spark session is open in this process; close it first, its settings would be taken")
    try:
        plain = options.session_options(spark) | added
        # Spark's event log redacts in the properties of a job only names that the driver was started with.
        hidden = dict.fromkeys(catalog.secrets, "hidden")
        session, jvm = _connect(spark, plain) if spark.is_connect else _start(settings, spark, files, plain | hidden)
    except BaseException:
        _only_one.release()
        raise
    driver = SparkDriver(session, jvm, catalog.secrets)
    try:
        _open_catalog(driver, catalog, namespace)
        driver.ship()
    except BaseException:
        driver.close()
        raise
    return driver


def _connect(spark: SparkSettings, plain: Mapping[str, str]) -> _Session:
    from pyspark.sql import SparkSession

    try:
        # `create`, unlike `getOrCreate`, takes nobody else's session.
        session = SparkSession.builder.remote(spark.master).create()
        fixed = [name for name in plain if not session.conf.isModifiable(name)]
    except ImportError as error:
        raise SparkUnavailableError(f"Spark Connect: {error}; pip install 'pyspark[connect]'") from None
    except Exception as error:
        raise SparkUnavailableError(
            f"the Spark Connect server does not answer ({_first_line(error)}); start it, or mend QPIPE_SPARK_MASTER"
        ) from None
    if fixed:
        session.stop()
        raise SparkRefusedError(f"a Spark Connect session cannot set {', '.join(fixed)}; start its server with them")
    for name, value in plain.items():
        session.conf.set(name, value)
    return session, None


def _start(settings: Settings, spark: SparkSettings, files: list[Path], plain: Mapping[str, str]) -> _Session:
    from pyspark.sql import SparkSession

    if SparkSession.getActiveSession() is not None:
        raise SparkRefusedError("this process has a Spark session that qpipe did not open; stop it first")
    _end_jvm()  # of a session that somebody else has stopped: its memory and class path are not ours
    builder = SparkSession.builder.master(spark.master).appName("qpipe")
    for name, value in (options.driver_options(spark, files) | object_store_options(settings) | dict(plain)).items():
        builder = builder.config(name, value)
    try:
        with _environment(spark):
            session = builder.getOrCreate()
    except Exception as error:
        _end_jvm()
        raise SparkUnavailableError(
            f"Spark does not start on {spark.master} ({_first_line(error)}); its own output says more. Mend "
            "QPIPE_SPARK_MASTER, QPIPE_SPARK_DRIVER_MEMORY or the options"
        ) from error
    session.sparkContext.setLogLevel("WARN")
    return session, _gateway().proc


def _open_catalog(driver: SparkDriver, catalog: CatalogOptions, namespace: str) -> None:
    """Let Spark open the catalog, and take the secrets away again: it needs them only then."""
    session = driver.session
    try:
        for name, value in catalog.options.items():
            session.conf.set(name, value)
        with driver.unlocked():
            session.sql(f"show tables in {CATALOG}.{namespace}").collect()
    except Exception as error:
        raise SparkUnavailableError(
            f"Spark cannot open the catalog ({_first_line(error)}); mend what qpipe doctor shows, then try again"
        ) from None
    session.sql(f"use {CATALOG}.{namespace}").collect()


@contextmanager
def _environment(spark: SparkSettings) -> Iterator[None]:
    """What Spark reads from the environment alone, while it starts."""
    ours = {"PYSPARK_PYTHON": spark.python or sys.executable}
    if options.is_on_loopback(spark):
        ours["SPARK_LOCAL_IP"] = "127.0.0.1"
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _stop(session: SparkSession) -> None:
    """Stop the session, also when its JVM has ended before."""
    from py4j.protocol import Py4JError
    from pyspark import SparkContext

    try:
        session.stop()
    except (Py4JError, OSError):
        # Nobody is left to answer; pyspark must forget the context, else the next session would be built on it.
        SparkContext._active_spark_context = None


def _gateway() -> Any:
    from pyspark import SparkContext

    return SparkContext._gateway


def _end_jvm() -> None:
    """End the JVM that pyspark would keep for the next session."""
    from py4j.protocol import Py4JError
    from pyspark import SparkContext

    gateway = _gateway()
    if gateway is None:
        return
    SparkContext._gateway = SparkContext._jvm = None
    with suppress(Py4JError, OSError):  # of a JVM that is gone there is nothing to shut down
        gateway.shutdown()
    process = gateway.proc
    if process is None:
        return
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
