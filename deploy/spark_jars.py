"""Fills the folder of Spark's jars from Maven Central, once: `make jars`."""

from __future__ import annotations

import sys

from deploy.services.errors import ServiceError
from deploy.services.programs import filled_at_once, java, maven, tell
from deploy.services.versions import MAVEN_DEPENDENCY_PLUGIN
from qpipe_resources.spark.jars import ARTIFACTS, default_folder, file_name


def fetch() -> None:
    """Fetch what is missing.

    Raises:
        ServiceError: Java or Maven is missing, or an artifact cannot be fetched.
    """
    java()
    folder = default_folder()
    if all((folder / file_name(artifact)).is_file() for artifact in ARTIFACTS):
        tell(f"Spark's jars are in {folder}")
        return
    if folder.exists():
        raise ServiceError(f"{folder} is incomplete; delete it and run again")
    tell(f"fetching Spark's jars from Maven Central into {folder} (128 MB, once)")
    with filled_at_once(folder) as part:
        (part / "pom.xml").write_text(_pom(), encoding="utf-8")
        plugin = f"org.apache.maven.plugins:maven-dependency-plugin:{MAVEN_DEPENDENCY_PLUGIN}"
        maven(f"{plugin}:copy-dependencies", [f"-DoutputDirectory={part}"], part)


def _pom() -> str:
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>qpipe</groupId><artifactId>spark-jars</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{''.join(map(_alone, ARTIFACTS))}</dependencies></project>"
    )


def _alone(artifact: str) -> str:
    group, name, version = artifact.split(":")
    nothing = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>{nothing}"
        "</dependency>"
    )


if __name__ == "__main__":
    try:
        fetch()
    except ServiceError as error:
        sys.exit(f"error: {error}")
