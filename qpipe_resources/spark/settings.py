"""How Spark is started: the reading of the QPIPE_SPARK_* variables; all other options are spark-defaults.conf's."""

from __future__ import annotations

import os
import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from qpipe_resources.settings import MEBIBYTE, SettingsError

PACKAGES = "packages"
_MASTERS = re.compile(r"local(\[(\*|[1-9]\d*)(,\d+)?\])?|spark://[^/\s]+:\d+(,[^/\s]+:\d+)*|sc://[^\s]+")

Memory = Annotated[str, Field(pattern=r"^[1-9]\d*[mg]$")]


class SparkSettings(BaseModel):
    """Where Spark computes and with how much."""

    model_config = ConfigDict(frozen=True)

    master: str = Field(
        "local[*]",
        description="QPIPE_SPARK_MASTER: local[N] is N threads of this machine; spark://HOST:PORT a standalone master; "
        "sc://HOST:PORT a Spark Connect server.",
    )
    driver_memory: Memory = Field(
        "2g", description="QPIPE_SPARK_DRIVER_MEMORY: heap of the driver, which under local[N] computes as well."
    )
    executor_memory: Memory = Field("2g", description="QPIPE_SPARK_EXECUTOR_MEMORY: heap of each executor.")
    executor_cores: Annotated[int, Field(ge=1)] | None = Field(
        None, description="QPIPE_SPARK_EXECUTOR_CORES: tasks at once of each executor; all its cores when unset."
    )
    shuffle_partitions: Annotated[int, Field(ge=1)] = Field(
        16, description="QPIPE_SPARK_SHUFFLE_PARTITIONS: tasks after a shuffle, before adaptive execution joins them."
    )
    adaptive: bool = Field(True, description="QPIPE_SPARK_ADAPTIVE: adaptive query execution.")
    batch_bytes: Annotated[int, Field(ge=1)] = Field(
        1024 * MEBIBYTE,
        description="QPIPE_SPARK_BATCH_BYTES: raw bytes of one batch, which is one commit a table; a task reads "
        "QPIPE_BATCH_BYTES of them.",
    )
    jars: str = Field(
        "",
        description="QPIPE_SPARK_JARS: folder that `make jars` filled, the user's cache when unset; or `packages`: "
        "Spark fetches them itself from Maven Central.",
    )
    python: str = Field(
        "",
        description="QPIPE_SPARK_PYTHON: Python of the executors, with qpipe's dependencies; this one when unset, "
        "./environment/bin/python with QPIPE_SPARK_ARCHIVES.",
    )
    archives: str = Field(
        "",
        description="QPIPE_SPARK_ARCHIVES: packed environment for executors without one, as FILE.tar.gz#environment.",
    )
    ui: bool = Field(False, description="QPIPE_SPARK_UI: Spark's own page while a session is open.")
    event_log: str = Field(
        "", description="QPIPE_SPARK_EVENT_LOG: folder (or URI) for the history server's logs; none when unset."
    )

    @field_validator("master")
    @classmethod
    def _a_known_master(cls, master: str) -> str:
        if not _MASTERS.fullmatch(master):
            raise ValueError("expected local[N], local[*], spark://HOST:PORT or sc://HOST:PORT")
        return master

    @property
    def is_local(self) -> bool:
        """Whether the driver computes itself."""
        return self.master.startswith("local")

    @property
    def is_connect(self) -> bool:
        """Whether the driver is a server elsewhere."""
        return self.master.startswith("sc://")


VARIABLES = {name: f"QPIPE_SPARK_{name.upper()}" for name in SparkSettings.model_fields}


def load_spark_settings() -> SparkSettings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a variable's value is out of range; names the variable, the value and the expectation.
    """
    values = {name: text for name, variable in VARIABLES.items() if (text := os.environ.get(variable))}
    try:
        return SparkSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        # A Spark Connect URL may hold a token.
        value = "" if name == "master" else f"={first['input']!r}"
        raise SettingsError(f"{VARIABLES[name]}{value}: {first['msg']}") from None
