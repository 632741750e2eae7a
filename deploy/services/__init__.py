"""Kafka, a schema registry, Garage and PostgreSQL on loopback, for development and the integration tests."""
