"""The dashboard of the platform: Dagster, the metrics themselves, and the services."""

from __future__ import annotations

from deploy.monitoring.dashboards.selections import by
from deploy.monitoring.panels import Dashboard, Panel, Query, Row, Variable

PLATFORM = Dashboard(
    "qpipe-platform",
    "Platform",
    "Dagster and the services behind it.",
    (Variable("dagster_job", "qp_dagster_runs"),),
    (
        Row(
            "Health",
            (
                Panel("Services", [Query("up", "{{job}} {{instance}}")], kind="stat", width=12),
                Panel(
                    "Firing alerts",
                    [Query('ALERTS{alertstate="firing"}', "{{alertname}} {{job}}")],
                    kind="table",
                    width=12,
                ),
            ),
        ),
        Row(
            "Dagster",
            (
                Panel("Runs by status", by("qp_dagster_runs", "status", where='{dagster_job=~"$dagster_job"}')),
                Panel("Runs by job", by("qp_dagster_runs", "dagster_job", where='{dagster_job=~"$dagster_job"}')),
                Panel("Queue", [Query("qp_dagster_queue_depth", "runs")]),
                Panel("Oldest in the queue", [Query("qp_dagster_queue_oldest_seconds", "waits")], "s", limit=3600),
                Panel("Last run took", by("qp_dagster_last_run_duration_seconds", "dagster_job", how="max"), "s"),
                Panel(
                    "Steps of the last run",
                    [
                        Query(
                            'qp_dagster_step_duration_seconds{dagster_job=~"$dagster_job"}', "{{dagster_job}} {{step}}"
                        )
                    ],
                    "s",
                ),
                Panel("Daemons", [Query("qp_dagster_daemon_healthy", "{{daemon}}")], kind="stat"),
                Panel(
                    "Since the last heartbeat",
                    [Query("time() - qp_dagster_daemon_heartbeat_timestamp_seconds", "{{daemon}}")],
                    "s",
                ),
                Panel(
                    "Since the last tick",
                    [
                        Query(
                            "time() - qp_dagster_tick_timestamp_seconds "
                            "and on (kind, name) qp_dagster_automation_running == 1",
                            "{{kind}} {{name}}",
                        )
                    ],
                    "s",
                ),
                Panel("Failing ticks", [Query("qp_dagster_tick_failed == 1", "{{kind}} {{name}}")], kind="table"),
                Panel("Partitions missing", by("qp_dagster_partitions_missing", "asset", how="max"), kind="bargauge"),
                Panel("Partitions", by("qp_dagster_partitions", "asset", how="max"), kind="bargauge"),
                Panel("Age of the assets", [Query("time() - qp_dagster_asset_timestamp_seconds", "{{asset}}")], "s"),
                Panel("Open backfills", [Query("qp_dagster_backfills_open", "backfills")], kind="stat"),
                Panel(
                    "Last end of each job",
                    [Query("time() - max by (dagster_job) (qp_dagster_last_run_timestamp_seconds)", "{{dagster_job}}")],
                    "s",
                ),
                Panel(
                    "Last run failed",
                    [
                        Query(
                            'time() - qp_dagster_last_run_timestamp_seconds{status="FAILURE"}',
                            "{{dagster_job}} {{partition}}",
                        )
                    ],
                    "s",
                    kind="table",
                ),
            ),
        ),
        Row(
            "Metrics themselves",
            (
                Panel("Groups on the PushGateway", [Query("count(push_time_seconds)", "groups")]),
                Panel("Stale groups deleted", [Query("increase(qp_exporter_groups_deleted_total[1h])", "an hour")]),
                Panel("The exporter's look", [Query("qp_exporter_look_duration_seconds", "took")], "s"),
                Panel("Parts looked at", [Query("qp_exporter_part_up", "{{part}}")], kind="stat"),
                Panel("Series of Prometheus", [Query("prometheus_tsdb_head_series", "series")]),
                Panel("Age of the last look", [Query("time() - qp_exporter_look_timestamp_seconds", "exporter")], "s"),
            ),
        ),
        Row(
            "Kafka and its sink",
            (
                Panel("Behind", [Query("qpipe:kafka_lag:sum", "{{consumergroup}} {{topic}}")]),
                Panel(
                    "Messages a second",
                    [
                        Query(
                            "sum by (topic) (rate(kafka_topic_partition_current_offset[$__rate_interval]))", "{{topic}}"
                        )
                    ],
                ),
                Panel("Brokers", [Query("kafka_brokers", "{{instance}}")], kind="stat"),
                Panel(
                    "Redpanda Connect: in and out a second",
                    [
                        Query("sum(rate(input_received[$__rate_interval]))", "in"),
                        Query("sum(rate(output_sent[$__rate_interval]))", "out"),
                    ],
                ),
                Panel(
                    "Redpanda Connect: errors a second",
                    [Query("qpipe:redpanda_errors:rate5m", "{{instance}}")],
                    limit=0.01,
                ),
                Panel("Redpanda Connect: connected", [Query("input_connection_up", "{{instance}}")], kind="stat"),
            ),
        ),
        Row(
            "Garage",
            (
                Panel("Healthy", [Query("cluster_healthy", "{{instance}}")], kind="stat", width=4),
                Panel("Nodes connected", [Query("cluster_connected_nodes", "{{instance}}")], kind="stat", width=4),
                Panel("Requests a second", by("rate(api_s3_request_counter[$__rate_interval])", "api_endpoint")),
                Panel("Errors a second", by("rate(api_s3_error_counter[$__rate_interval])", "status_code")),
                Panel(
                    "A request takes",
                    [
                        Query(
                            "sum by (api_endpoint) (rate(api_s3_request_duration_sum[$__rate_interval])) / "
                            "sum by (api_endpoint) (rate(api_s3_request_duration_count[$__rate_interval]))",
                            "{{api_endpoint}}",
                        )
                    ],
                    "s",
                ),
                Panel(
                    "Bytes a second",
                    [
                        Query("sum(rate(block_bytes_read[$__rate_interval]))", "read"),
                        Query("sum(rate(block_bytes_written[$__rate_interval]))", "written"),
                    ],
                    "Bps",
                ),
                Panel(
                    "Free disk",
                    [Query("garage_local_disk_avail / garage_local_disk_total", "{{instance}} {{volume}}")],
                    "percentunit",
                ),
                Panel("Blocks to repair", [Query("block_resync_queue_length", "{{instance}}")]),
                Panel("Blocks in error", [Query("block_resync_errored_blocks", "{{instance}}")], limit=1),
            ),
        ),
        Row(
            "PostgreSQL",
            (
                Panel("Answers", [Query("pg_up", "{{instance}}")], kind="stat", width=4),
                Panel(
                    "Connections in use",
                    [Query("qpipe:postgres_connections:ratio", "{{instance}}")],
                    "percentunit",
                    width=10,
                    limit=0.8,
                ),
                Panel("Connections by state", by("pg_stat_activity_count", "datname", "state"), width=10),
                Panel(
                    "Transactions a second",
                    [
                        Query("sum by (datname) (rate(pg_stat_database_xact_commit[$__rate_interval]))", "{{datname}}"),
                        Query(
                            "sum by (datname) (rate(pg_stat_database_xact_rollback[$__rate_interval]))",
                            "{{datname}} rolled back",
                        ),
                    ],
                ),
                Panel(
                    "Read from memory",
                    [
                        Query(
                            "sum by (datname) (rate(pg_stat_database_blks_hit[$__rate_interval])) / "
                            "sum by (datname) (rate(pg_stat_database_blks_hit[$__rate_interval]) "
                            "+ rate(pg_stat_database_blks_read[$__rate_interval]))",
                            "{{datname}}",
                        )
                    ],
                    "percentunit",
                ),
                Panel("Size", [Query("pg_database_size_bytes", "{{datname}}")], "bytes"),
                Panel("Locks", by("pg_locks_count", "mode")),
                Panel("Deadlocks", by("rate(pg_stat_database_deadlocks[$__rate_interval])", "datname")),
                Panel(
                    "Longest transaction", by("pg_stat_activity_max_tx_duration", "datname", how="max"), "s", limit=120
                ),
            ),
        ),
        Row(
            "Spark",
            (
                Panel("Workers alive", [Query("metrics_master_aliveWorkers_Value", "{{instance}}")], kind="stat"),
                Panel(
                    "Applications",
                    [Query("metrics_master_apps_Value", "all"), Query("metrics_master_waitingApps_Value", "waiting")],
                ),
                Panel(
                    "Cores",
                    [
                        Query("sum(metrics_worker_coresUsed_Value)", "used"),
                        Query("sum(metrics_worker_coresFree_Value)", "free"),
                    ],
                ),
                Panel(
                    "Memory (MB)",
                    [
                        Query("sum(metrics_worker_memUsed_MB_Value)", "used"),
                        Query("sum(metrics_worker_memFree_MB_Value)", "free"),
                    ],
                ),
                Panel("Executors", [Query("metrics_worker_executors_Value", "{{instance}}")]),
            ),
        ),
        Row(
            "GPU",
            (
                Panel("In use", [Query("nvidia_smi_utilization_gpu_ratio", "{{instance}} {{uuid}}")], "percentunit"),
                Panel("Memory", [Query("nvidia_smi_memory_used_bytes", "{{instance}} {{uuid}}")], "bytes"),
                Panel("Memory in all", [Query("nvidia_smi_memory_total_bytes", "{{instance}} {{uuid}}")], "bytes"),
                Panel(
                    "Temperature",
                    [Query("qpipe:gpu_temperature_celsius:max", "{{instance}} {{gpu}}")],
                    "celsius",
                    limit=85,
                ),
                Panel("Power", [Query("nvidia_smi_power_draw_watts", "{{instance}} {{uuid}}")], "watt"),
                Panel("Last look worked", [Query("nvidia_smi_last_collect_success", "{{instance}}")], kind="stat"),
            ),
        ),
    ),
)
