"""A schema registry that speaks Confluent's API: Apicurio Registry, its schemas in PostgreSQL."""

from __future__ import annotations

import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from deploy.services.postgres import REGISTRY_DATABASE, REGISTRY_ROLE
from deploy.services.programs import cache, filled_at_once, java, maven, tell
from deploy.services.service import Service
from deploy.services.state import LOOPBACK
from deploy.services.versions import MAVEN_DEPENDENCY_PLUGIN, REGISTRY

API = "/apis/ccompat/v7"


class Registry(Service):
    """Runs on the JVM; needs PostgreSQL."""

    name = "registry"
    title = f"Apicurio Registry {REGISTRY}"
    ports = {"registry": 8081}  # noqa: RUF012

    @property
    def url(self) -> str:
        """Where its Confluent API answers."""
        return f"http://{self.state.address('registry')}{API}"

    @property
    def program(self) -> Path:
        """The jar that runs."""
        return self._folder / f"apicurio-registry-app-{REGISTRY}-runner.jar"

    @property
    def _folder(self) -> Path:
        return cache() / f"apicurio-registry-{REGISTRY}"

    def install(self) -> None:
        """Let Maven fetch the archive, and unpack it."""
        java()
        if self._folder.is_dir():
            return
        tell(f"fetching {self.title} from Maven Central (110 MB, once)")
        with filled_at_once(self._folder) as folder:
            download = folder / "download"
            maven(
                f"org.apache.maven.plugins:maven-dependency-plugin:{MAVEN_DEPENDENCY_PLUGIN}:copy",
                [
                    f"-Dartifact=io.apicurio:apicurio-registry-app:{REGISTRY}:tar.gz:all",
                    f"-DoutputDirectory={download}",
                ],
                folder,
            )
            (archive,) = download.iterdir()
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            shutil.rmtree(download)

    def configure(self) -> None:
        """All settings are on the command line."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        """Configured to answer as Confluent's: one id for a schema whatever its spaces and key order, deletion allowed.

        Of database connections two are enough here; the default takes twenty at once.
        """
        settings = {
            "quarkus.http.host": LOOPBACK,
            "quarkus.http.port": self.state.ports["registry"],
            "quarkus.http.access-log.enabled": "false",
            "apicurio.ccompat.use-canonical-hash": "true",
            "apicurio.storage.sql.kind": "postgresql",
            "apicurio.datasource.url": f"jdbc:postgresql://{self.state.address('postgres')}/{REGISTRY_DATABASE}",
            "apicurio.datasource.username": REGISTRY_ROLE,
            "apicurio.datasource.jdbc.initial-size": 2,
            "apicurio.datasource.jdbc.min-size": 2,
            "apicurio.datasource.jdbc.max-size": 10,
            "apicurio.rest.deletion.artifact.enabled": "true",
            "apicurio.rest.deletion.artifact-version.enabled": "true",
        }
        options = [f"-D{name}={value}" for name, value in settings.items()]
        heap = ("-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError")
        return [java(), *heap, *options, "-jar", str(self.program)]

    def environment(self) -> dict[str, str]:
        """The password is not for the command line, which everybody may read."""
        return super().environment() | {"APICURIO_DATASOURCE_PASSWORD": self.state.secret("postgres-registry")}

    def ready(self) -> bool:
        """Whether it lists its subjects."""
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def prepare(self) -> None:
        """Set the compatibility of subjects that have none of their own to BACKWARD, as Confluent's registry does."""
        from confluent_kafka.schema_registry import SchemaRegistryClient

        registry = SchemaRegistryClient({"url": self.url})
        if registry.get_compatibility() != "BACKWARD":
            registry.set_compatibility(level="BACKWARD")
