"""Apache Kafka: one node in KRaft mode with a plain, a TLS and a SASL_SSL listener."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.services.certificates import Certificates, make_certificates
from deploy.services.process import base_environment
from deploy.services.programs import cache, filled_at_once, java, maven, run, tell
from deploy.services.service import Service
from deploy.services.state import answers, write_private
from deploy.services.versions import KAFKA, KAFKA_SCALA, LOG4J, MAVEN_DEPENDENCY_PLUGIN

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
TOPIC = "experiment.vqe"
_LOGIN = "org.apache.kafka.common.security"

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>qpipe</groupId><artifactId>kafka-runtime</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_{KAFKA_SCALA}</artifactId><version>{KAFKA}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>{LOG4J}</version></dependency>
  </dependencies>
</project>
"""

_LOGGING = """status = warn
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.kafka.name = kafka.server
logger.kafka.level = info
logger.config.name = org.apache.kafka.common.config
logger.config.level = error
"""


@dataclass(frozen=True)
class KafkaUser:
    """Somebody who may log in at the SASL_SSL listener."""

    mechanism: str
    name: str
    password: str

    def __repr__(self) -> str:
        return f"KafkaUser({self.mechanism!r}, {self.name!r})"


class Kafka(Service):
    """Listeners: `kafka` (PLAINTEXT), `kafka-ssl` (asks for a client certificate), `kafka-sasl` (SASL_SSL)."""

    name = "kafka"
    title = f"Apache Kafka {KAFKA}"
    ports = {"kafka": 9092, "kafka-controller": 9093, "kafka-ssl": 9094, "kafka-sasl": 9095}  # noqa: RUF012

    @property
    def listeners(self) -> dict[str, str]:
        """Address of the listener for each security protocol."""
        names = {"PLAINTEXT": "kafka", "SSL": "kafka-ssl", "SASL_SSL": "kafka-sasl"}
        return {protocol: self.state.address(name) for protocol, name in names.items()}

    @property
    def tls(self) -> Certificates:
        """Certificates of the TLS listeners and of a client."""
        return Certificates(self.folder / "tls", self.state.secret("kafka-key"))

    @property
    def users(self) -> dict[str, KafkaUser]:
        """One user for each SASL mechanism."""
        names = {mechanism: f"qpipe-{mechanism.lower()}" for mechanism in MECHANISMS}
        return {mechanism: KafkaUser(mechanism, name, self.state.secret(name)) for mechanism, name in names.items()}

    @property
    def libraries(self) -> Path:
        """Folder of the broker's jars."""
        return cache() / f"kafka-{KAFKA}"

    def install(self) -> None:
        """Let Maven resolve the broker and what it depends on."""
        java()
        if self.libraries.is_dir():
            return
        tell(f"fetching {self.title} from Maven Central (45 MB, once)")
        with filled_at_once(self.libraries) as folder:
            (folder / "pom.xml").write_text(_POM)
            maven(
                f"org.apache.maven.plugins:maven-dependency-plugin:{MAVEN_DEPENDENCY_PLUGIN}:copy-dependencies",
                ["-DincludeScope=runtime", f"-DoutputDirectory={folder}"],
                folder,
            )

    def _java(self, *options: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        return [java(), *options, logging, "-cp", f"{self.libraries}/*"]

    def configure(self) -> None:
        """Write certificates and server.properties; format the storage once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        make_certificates(self.tls)
        (self.folder / "log4j2.properties").write_text(_LOGGING)
        properties = self.folder / "server.properties"
        write_private(properties, "".join(f"{name}={value}\n" for name, value in self._properties().items()))
        if not (self.folder / "data" / "meta.properties").exists():
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            command = [
                *self._java(),
                "kafka.tools.StorageTool",
                "format",
                "--ignore-formatted",
                "-t",
                cluster,
                "-c",
                str(properties),
            ]
            run(command, "Kafka's storage cannot be formatted", environment=base_environment())

    def _properties(self) -> dict[str, object]:
        at = self.state.address
        plain = self.users["PLAIN"]
        sasl = "listener.name.sasl_ssl"
        advertised = ",".join(f"{name}://{address}" for name, address in self.listeners.items())
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{at('kafka-controller')}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL",
            "listeners": f"{advertised},CONTROLLER://{at('kafka-controller')}",
            "advertised.listeners": advertised,
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": self.folder / "data",
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.num.partitions": 4,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.tls.server,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.tls.ca,
            "listener.name.ssl.ssl.client.auth": "required",
            f"{sasl}.sasl.enabled.mechanisms": ",".join(MECHANISMS),
            f"{sasl}.plain.sasl.jaas.config": f"{_LOGIN}.plain.PlainLoginModule required "
            f'user_{plain.name}="{plain.password}";',
            **{
                f"{sasl}.{mechanism.lower()}.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;"
                for mechanism in MECHANISMS
                if mechanism != "PLAIN"
            },
        }

    def command(self) -> list[str]:
        """Messages of 64 MiB need contiguous room: collectors that compact, not regions."""
        options = ("-Xms256m", "-Xmx512m", "-XX:+UseParallelGC", "-XX:+ExitOnOutOfMemoryError")
        return [*self._java(*options), "kafka.Kafka", str(self.folder / "server.properties")]

    def _admin(self) -> Any:
        from confluent_kafka.admin import AdminClient

        # The client's own log would tell of each attempt while the broker starts.
        return AdminClient({"bootstrap.servers": self.state.address("kafka"), "log_level": 0})

    def ready(self) -> bool:
        """Whether it tells a client about its topics, and listens wherever it should."""
        from confluent_kafka import KafkaException

        if not all(answers(self.state.ports[port]) for port in self.ports):
            return False
        try:
            return bool(self._admin().list_topics(timeout=5).brokers)
        except KafkaException:
            return False

    def prepare(self) -> None:
        """Create the SCRAM users and the topic of the results."""
        from confluent_kafka.admin import NewTopic, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

        admin = self._admin()
        known = admin.describe_user_scram_credentials().result(30)
        wanted = []
        for mechanism, kind in (
            ("SCRAM-SHA-256", ScramMechanism.SCRAM_SHA_256),
            ("SCRAM-SHA-512", ScramMechanism.SCRAM_SHA_512),
        ):
            user = self.users[mechanism]
            if user.name not in known:
                wanted.append(
                    UserScramCredentialUpsertion(user.name, ScramCredentialInfo(kind, 8192), user.password.encode())
                )
        if wanted:
            for future in admin.alter_user_scram_credentials(wanted).values():
                future.result(30)
        if TOPIC not in admin.list_topics(timeout=30).topics:
            for future in admin.create_topics([NewTopic(TOPIC, num_partitions=3, replication_factor=1)]).values():
                future.result(30)
