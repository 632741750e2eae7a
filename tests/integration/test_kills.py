"""300 results while every part of the system is killed at random: no row lost, none doubled.

Producer, sink, ingest, broker, registry, Garage and PostgreSQL get SIGKILL, stay away for a random time and are started
again. QPIPE_KILL_SEED repeats a schedule (the moments of the kills, not the machine's own course).
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.services.stack import Stack
from qpipe_assets.tables import schemas
from qpipe_assets.tables.installation import Installation, open_installation
from qpipe_resources.object_layout import DEAD_LETTERS, QUARANTINE
from qpipe_resources.settings import load_settings
from tests.daemon import BIN
from tests.integration import fault_campaign, fault_ingest
from tests.integration.conftest import Sandbox
from tests.integration.fault_comparison import OF_THE_BATCH, assert_same_rows
from tests.integration.fault_records import MOLECULES, full_record, identity_of, molecule_of
from tests.integration.fault_schedule import ROOT, ProcessVictim, ServiceVictim, Torment
from tests.tables.protocol import assert_at_rest, settings_in

RECORDS = 300
RELEASED = "released"
"""File with the number of results that may be computed by now."""
VICTIMS = {
    "producer": (12, (0.0, 10.0)),
    "sink": (10, (6.0, 24.0)),
    "ingest": (12, (0.0, 10.0)),
    "kafka": (10, (4.0, 24.0)),
    "garage": (10, (1.0, 24.0)),
    "registry": (3, (10.0, 60.0)),
    "postgres": (3, (10.0, 60.0)),
}
"""How often each is killed at least, and the seconds that it lives at least and at most.

A killed sink keeps its partitions until the broker takes it for dead, ten seconds later: shorter lives do nothing.
"""
LONGEST_ABSENCE = 1.5
"""Seconds that a victim stays away at most, beside the time it takes to start."""
REQUIRED = 10
"""Kills that must hit, of each of producer, sink, broker, Garage and ingest."""

pytestmark = pytest.mark.timeout(900)


def test_300_results_under_random_kills_have_every_row_once(sandbox: Sandbox, stack: Stack, tmp_path: Path) -> None:
    seed = os.environ.get("QPIPE_KILL_SEED") or str(random.SystemRandom().randrange(10**6))
    _say(f"seed {seed}: QPIPE_KILL_SEED={seed} repeats the schedule")
    salt = f"kills-{seed}"
    began = time.monotonic()
    expected = _in_a_folder(tmp_path / "folder", salt)
    _say(f"{time.monotonic() - began:.0f} s: the same {RECORDS} results are in a folder installation")
    processes = _processes(sandbox, salt, tmp_path)
    try:
        _kill_at_random(processes, stack, seed, tmp_path)
        meanwhile = _done_so_far()
        _finish(processes, sandbox)
    finally:
        for process in processes.values():
            process.kill()
    installation = open_installation()
    for molecule in MOLECULES:
        installation.ingest().run(molecule)
    _say(f"{time.monotonic() - began:.0f} s: all ingested")
    _assert_nothing_is_left_on_the_way(installation)
    identities = {identity_of(number, salt) for number in range(RECORDS)}
    assert set(installation.lakehouse.arrow("vqe_results")["experiment_id"].to_pylist()) == identities
    counts = assert_same_rows(installation, expected, schemas.NORMALIZED_NAMES, OF_THE_BATCH)
    assert_at_rest(installation, MOLECULES)
    assert all(meanwhile.values()), f"kills of processes that get nothing done prove nothing: {meanwhile}"
    _say(f"{time.monotonic() - began:.0f} s: equal row for row, none twice, none missing: {counts}")


def _in_a_folder(folder: Path, salt: str) -> Installation:
    """The tables as they must be: the same records, undisturbed, in a folder."""
    installation = open_installation(settings_in(folder))
    for number in range(RECORDS):
        record = full_record(number, salt)
        installation.store.put(
            f"experiments/experiment.vqe/molecule={molecule_of(number)}/{record.experiment_id}.json", record.to_json()
        )
    for molecule in MOLECULES:
        installation.ingest().run(molecule)
    return installation


def _processes(sandbox: Sandbox, salt: str, folder: Path) -> dict[str, ProcessVictim]:
    environment = os.environ | sandbox.environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    python = sys.executable
    made = (
        ProcessVictim("sink", [str(BIN / "qpipe"), "sink"], environment, folder / "sink.log", begins=sandbox.topic),
        ProcessVictim(
            "ingest",
            [python, "-m", "tests.integration.fault_ingest"],
            environment,
            folder / "ingest.log",
            begins=fault_ingest.BEGINS,
        ),
        ProcessVictim(
            "producer",
            [python, "-m", "tests.integration.fault_campaign", salt, str(RECORDS), str(folder / RELEASED)],
            environment,
            folder / "producer.log",
            begins=fault_campaign.BEGINS,
            done=(fault_campaign.DONE, fault_campaign.DONE_BUT_NOT_DELIVERED),
        ),
    )
    return {process.name: process for process in made}


def _kill_at_random(processes: dict[str, ProcessVictim], stack: Stack, seed: str, folder: Path) -> None:
    victims = {name: processes.get(name) or ServiceVictim(stack, name) for name in VICTIMS}
    torments = [
        Torment(victims[name], kills, life, LONGEST_ABSENCE, f"{seed}/{name}")
        for name, (kills, life) in VICTIMS.items()
    ]
    _release(folder, 0)
    for process in processes.values():
        process.start()
    for torment in torments:
        torment.begin()
    try:
        _watch(processes, torments, folder)
    finally:
        for torment in torments:
            torment.stop()
    _say(f"kills that hit: {_counts(torments)}; ended by itself: { ({n: p.deaths for n, p in processes.items()}) }")
    hits = {torment.victim.name: torment.hits for torment in torments}
    required = ("producer", "sink", "kafka", "garage", "ingest")
    assert all(hits[name] >= REQUIRED for name in required), hits
    assert processes["sink"].deaths == [], f"the sink ended by itself\n{processes['sink'].tail()}"


def _done_so_far() -> dict[str, int]:
    """How many results have landed, and how many are in the tables."""
    installation = open_installation()
    objects = sum(1 for _ in installation.store.list_objects("experiments/"))
    done = {"landed": objects, "ingested": installation.lakehouse.arrow("vqe_results").num_rows}
    _say(f"done under the kills: {done}; {_progress()}")
    return done


def _watch(processes: dict[str, ProcessVictim], torments: list[Torment], folder: Path) -> None:
    """Until all were killed enough: start what ended by itself, release results as kills are made, tell how it goes."""
    for second in itertools.count(1):
        time.sleep(1.0)
        for process in processes.values():
            process.revive()
        for torment in torments:
            torment.check()
        parts = [torment.enough for torment in torments]
        _release(folder, round(RECORDS * sum(parts) / len(parts)))
        if second % 15 == 0:
            _say(f"  {second} s: kills {_counts(torments)}; {_progress()}")
        if min(parts) == 1.0:
            return


def _release(folder: Path, count: int) -> None:
    """Let the producer compute so many results: there is work until the last kill, however slow the machine is."""
    part = folder / f"{RELEASED}.part"
    part.write_text(str(count))
    part.replace(folder / RELEASED)


def _counts(torments: list[Torment]) -> str:
    return ", ".join(f"{torment.victim.name} {torment.hits}" for torment in torments)


def _progress() -> str:
    outbox = load_settings().outbox
    return ", ".join(f"{len(list(outbox.glob(f'kafka/{part}/*/*.json')))} {part}" for part in ("undelivered", "sent"))


def _finish(processes: dict[str, ProcessVictim], sandbox: Sandbox) -> None:
    """The remaining results, undisturbed; then what was not delivered, and the sink until it has caught up."""
    processes["producer"].finish(120.0)
    _say(f"the producer is done; {_progress()}")
    _qpipe(sandbox, "replay")
    processes["ingest"].kill()
    assert processes["sink"].end() == 0, processes["sink"].tail()
    _qpipe(sandbox, "sink", "--once")


def _qpipe(sandbox: Sandbox, *arguments: str) -> None:
    done = subprocess.run(
        [str(BIN / "qpipe"), *arguments],
        cwd=ROOT,
        env=os.environ | sandbox.environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    _say(f"qpipe {' '.join(arguments)}: {(done.stdout + done.stderr).strip()[-300:]}")
    assert done.returncode == 0, done.stderr


def _assert_nothing_is_left_on_the_way(installation: Installation) -> None:
    outbox = installation.settings.outbox
    assert list(outbox.glob("kafka/undelivered/*/*.json")) == []
    for folder in (DEAD_LETTERS, QUARANTINE):
        assert list(installation.store.list_objects(folder)) == []
    assert installation.discovery.quarantined() == []


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
