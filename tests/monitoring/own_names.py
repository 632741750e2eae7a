"""Names of the metrics that qpipe itself exposes, as its code makes them."""

from __future__ import annotations

import json

import dagster as dg

from jobs.definitions import build_defs
from jobs.exporter.assembly import build_exporter
from jobs.exporter.exporter import Sweeper
from qpipe_resources.batch_metrics import LaneCounts, batch_samples
from qpipe_resources.metrics_push import _system_samples
from simulation.gpu_readings import Gpu
from simulation.metrics import run_metrics
from simulation.record import VQEDecoratedResult
from simulation.system_snapshot import Container, system_snapshot
from tests.synthetic import plain_record

DONE = LaneCounts("cpu", done=3, failed=1, pending=4, in_progress=2, infeasible=1, last_completion=1.0e9)


def record(number: int = 1, molecule: str = "H2") -> VQEDecoratedResult:
    """A finished run with an exact reference."""
    plain = VQEDecoratedResult.model_validate_json(json.dumps(plain_record(number, molecule)))
    energy = (plain.total_energy or plain.vqe_result.minimum) - 0.001
    return plain.model_copy(
        update={"total_energy": energy + 0.001, "fci_energy": energy, "hf_energy": energy, "reference_method": "FCI"}
    )


def pushed_names() -> set[str]:
    """What runs and campaigns push."""
    snapshot = system_snapshot()
    gpu = Gpu.model_construct(index=0, percent=1.0, memory_used_bytes=1, temperature_celsius=1.0)
    container = Container(type="cpu", memory_used_bytes=1, memory_limit_bytes=2)
    system = _system_samples(snapshot.model_copy(update={"gpu": [gpu], "container": container}))
    batch = batch_samples([DONE])
    return set(run_metrics(record())) | {name for samples in (system, batch) for name, *_ in samples}


def exporter_names() -> set[str]:
    """What `qpipe exporter` serves."""
    with dg.instance_for_test() as instance:
        exporter = build_exporter(instance, build_defs())
        exporter.look()
        metrics = [*exporter.collect(), *Sweeper(lambda: 0)()]
    suffix = {"counter": "_total"}
    return {metric.name + suffix.get(metric.type, "") for metric in metrics}
