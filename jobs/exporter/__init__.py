"""The exporter: Dagster's own state as metrics for Prometheus, and the PushGateway swept of stale groups."""
