"""Kafka Connect's runtime as Maven Central carries it, with a converter for Confluent's wire format.

Confluent's own converter and S3 sink, which deploy/kafka-connect.json names, come in Confluent's image alone: here
Apicurio's converter decodes, and the tests bring a sink of their own.
"""

from __future__ import annotations

from pathlib import Path

from deploy.services.programs import cache, filled_at_once, java, maven, tell
from deploy.services.versions import KAFKA, LOG4J, MAVEN_DEPENDENCY_PLUGIN

CONFIGURATION = Path(__file__).resolve().parents[1] / "kafka-connect.json"
CONVERTER = "2.6.13.Final"
JACKSON = "2.21.2"
"""The converter brings older parts of it than the runtime, and they do not mix."""

AVRO = "1.12.2"
"""Not 1.12.0, which the converter would bring: it rounds arrays of doubles to 32 bits as it reads them (AVRO-4108)."""

_ARTIFACTS = {
    "org.apache.kafka:connect-runtime": KAFKA,
    "io.apicurio:apicurio-registry-utils-converter": CONVERTER,
    "org.apache.avro:avro": AVRO,
    "org.apache.logging.log4j:log4j-slf4j-impl": LOG4J,
}


def libraries() -> Path:
    """Folder of the runtime's jars; they are fetched where they are missing.

    Raises:
        ServiceError: Java or Maven is missing, or an artifact cannot be fetched.
    """
    java()
    folder = cache() / f"kafka-connect-{KAFKA}-{CONVERTER}-avro-{AVRO}"
    if not folder.is_dir():
        tell(f"fetching Kafka Connect {KAFKA} from Maven Central (41 MB, once)")
        with filled_at_once(folder) as part:
            (part / "pom.xml").write_text(_pom())
            plugin = f"org.apache.maven.plugins:maven-dependency-plugin:{MAVEN_DEPENDENCY_PLUGIN}"
            maven(f"{plugin}:copy-dependencies", ["-DincludeScope=runtime", f"-DoutputDirectory={part}"], part)
    return folder


def _pom() -> str:
    jackson = _dependency("com.fasterxml.jackson:jackson-bom", JACKSON, "<type>pom</type><scope>import</scope>")
    wanted = "".join(_dependency(artifact, version) for artifact, version in _ARTIFACTS.items())
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>qpipe</groupId><artifactId>kafka-connect</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencyManagement><dependencies>{jackson}</dependencies></dependencyManagement>"
        f"<dependencies>{wanted}</dependencies></project>"
    )


def _dependency(artifact: str, version: str, rest: str = "") -> str:
    group, name = artifact.split(":")
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>{rest}"
        "</dependency>"
    )
