"""The one place that says which versions of the services are installed."""

KAFKA = "4.3.1"
KAFKA_SCALA = "2.13"
LOG4J = "2.25.3"
# The last one on Maven Central that runs on Java 17, Debian 12's.
REGISTRY = "3.0.9"
GARAGE = "2.5.0"
# Later ones want the parent of each artifact they copy; Apicurio's is not published.
MAVEN_DEPENDENCY_PLUGIN = "2.8"
JAVA = 17
# Garage declares none; this one builds it.
RUST = "1.95"
