"""Kafka and its Schema Registry: settings, clients, the record's wire format, delivery."""
