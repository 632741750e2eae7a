"""Ingest killed by SIGKILL at random moments, alone and several at once: the tables equal the undisturbed run's."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from qpipe_assets.tables.installation import open_installation
from qpipe_resources.object_store import FolderObjectStore
from qpipe_resources.settings import Settings
from tests import crash_worker
from tests.crash_worker import Worker
from tests.tables.protocol import assert_at_rest, content, h2, land, record_bytes, run_trials, settings_in, undisturbed

# Forty moments take minutes where four processes share two cores.
pytestmark = pytest.mark.timeout(900)

MOLECULES = ("H2", "HeH+", "LiH", "N2")


def varied_settings(folder: Path, chance: random.Random) -> Settings:
    """Batches of one object or of all, tags that live long or hardly at all."""
    retained, every, days = chance.choice([(20, 32, 90), (1, 1, 0), (2, 1, 1)])
    return settings_in(
        folder,
        batch_bytes=chance.choice([1, 16 * 1024 * 1024, 16 * 1024 * 1024]),
        retained_batches=retained,
        expire_every=every,
        retained_days=days,
    )


def work_and_kill(workers: Sequence[Worker], moments: Sequence[float | None]) -> int:
    """Start all workers at once and kill each at its moment (None: never); returns how many kills hit work."""
    for worker in workers:
        worker.go()
    started = time.perf_counter()
    hits = 0
    doomed = [(moment, worker) for worker, moment in zip(workers, moments, strict=True) if moment is not None]
    try:
        for moment, worker in sorted(doomed, key=lambda pair: pair[0]):
            time.sleep(max(0.0, moment - (time.perf_counter() - started)))
            hits += worker.kill()
        for worker, moment in zip(workers, moments, strict=True):
            if moment is None:
                worker.finish()
    finally:
        for worker in workers:
            if not worker.ended:
                worker.kill()
    return hits


class Kills:
    """Kills one worker after the other at random moments of its work.

    Who had ended before its moment shows that the work takes less than was measured: later moments are within that.

    Args:
        seconds: How long the work takes.
    """

    def __init__(self, seconds: float) -> None:
        self._span = seconds
        self._outcomes: list[bool] = []

    def strike(self, worker: Worker, chance: random.Random, stretch: float = 1.0) -> None:
        """Let a worker work, for which it needs `stretch` times as long, and kill it."""
        part = chance.uniform(0, self._span)
        hit = bool(work_and_kill([worker], [part * stretch]))
        self._outcomes.append(hit)
        if not hit:
            self._span = min(self._span, part)

    @property
    def hits(self) -> int:
        """How many were at work."""
        return sum(self._outcomes)

    def __str__(self) -> str:
        return f"{self.hits} of {len(self._outcomes)} kills hit a process at work"


@pytest.fixture(scope="module")
def seconds(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long an undisturbed ingest of four objects takes here."""
    settings = settings_in(tmp_path_factory.mktemp("measure"))
    land(FolderObjectStore(settings.raw_results), range(3))
    return crash_worker.run(settings, ("ingest", "H2"))


@pytest.mark.parametrize("quarter", range(4))
def test_an_ingest_killed_at_forty_moments_ends_as_the_undisturbed_one(seconds: float, quarter: int) -> None:
    kills = Kills(seconds)

    def trial(folder: Path, chance: random.Random) -> None:
        settings = varied_settings(folder, chance)
        store = FolderObjectStore(settings.raw_results)
        land(store, range(3))
        kills.strike(Worker(settings, [("ingest", "H2")]), chance, 2.5 if settings.batch_bytes == 1 else 1.0)
        land(store, [chance.randrange(3)], name="redelivered")
        land(store, [3])
        crash_worker.run(settings, ("ingest", "H2"))
        installation = open_installation(settings)
        assert content(installation) == undisturbed(h2(*range(4)))
        assert_at_rest(installation)

    run_trials(trial, 10, first_seed=1000 + 100 * quarter, enough=lambda: kills.hits >= 5)
    assert kills.hits >= 5, f"only {kills}"


def test_a_run_killed_again_and_again_gets_done(seconds: float) -> None:
    def trial(folder: Path, chance: random.Random) -> None:
        settings = varied_settings(folder, chance)
        land(FolderObjectStore(settings.raw_results), range(3))
        for _ in range(4):
            work_and_kill([Worker(settings, [("ingest", "H2")])], [chance.uniform(0, seconds)])
        crash_worker.run(settings, ("ingest", "H2"))
        installation = open_installation(settings)
        assert content(installation) == undisturbed(h2(*range(3)))
        assert_at_rest(installation)

    run_trials(trial, 5, first_seed=2000)


@pytest.mark.parametrize("killed", [False, True], ids=["undisturbed", "killed"])
def test_two_ingesters_of_one_molecule_write_every_row_once(seconds: float, killed: bool) -> None:
    def trial(folder: Path, chance: random.Random) -> None:
        settings = varied_settings(folder, chance)
        store = FolderObjectStore(settings.raw_results)
        land(store, range(3))
        if chance.random() < 0.5:
            # One batch is left half done by a third process, so that both resume it.
            open_installation(settings).ingest().run("H2", ["molecules", "vqe_results"])
            land(store, [3])
        else:
            land(store, [3])
        workers = [Worker(settings, [("ingest", "H2")]) for _ in range(2)]
        moments = [chance.uniform(0, 3 * seconds) if killed else None for _ in workers]
        if killed and chance.random() < 0.5:
            moments[0] = None
        work_and_kill(workers, moments)
        if killed:
            land(store, [chance.randrange(3)], name="redelivered")
            crash_worker.run(settings, ("ingest", "H2"))
        installation = open_installation(settings)
        assert content(installation) == undisturbed(h2(*range(4)))
        assert_at_rest(installation)

    run_trials(trial, 20, first_seed=3000 + 100 * killed)


@pytest.mark.parametrize("killed", [False, True], ids=["undisturbed", "killed"])
def test_four_ingesters_of_different_molecules_do_not_disturb_each_other(seconds: float, killed: bool) -> None:
    def trial(folder: Path, chance: random.Random) -> None:
        settings = varied_settings(folder, chance)
        store = FolderObjectStore(settings.raw_results)
        for molecule in MOLECULES:
            land(store, range(2), molecule)
        workers = [Worker(settings, [("ingest", molecule)]) for molecule in MOLECULES]
        work_and_kill(workers, [chance.uniform(0, 4 * seconds) if killed else None for _ in workers])
        crash_worker.run(settings, *(("ingest", molecule) for molecule in MOLECULES))
        installation = open_installation(settings)
        assert content(installation) == undisturbed(frozenset((m, n) for m in MOLECULES for n in range(2)))
        assert_at_rest(installation, MOLECULES)

    run_trials(trial, 4, first_seed=4000 + 100 * killed)


def test_four_processes_can_make_the_first_start_together() -> None:
    def trial(folder: Path, chance: random.Random) -> None:
        settings = settings_in(folder)
        land(FolderObjectStore(settings.raw_results), range(2))
        workers = [Worker(settings, [("open", "H2")]) for _ in range(3)]
        workers.append(Worker(settings, [("ingest", "H2")]))
        work_and_kill(workers, [None, None, None, None])
        installation = open_installation(settings)
        assert content(installation) == undisturbed(h2(*range(2)))
        assert_at_rest(installation)

    run_trials(trial, 8, first_seed=5000)


def test_a_first_start_killed_anywhere_is_completed_by_the_next() -> None:
    def trial(folder: Path, chance: random.Random) -> None:
        settings = settings_in(folder)
        land(FolderObjectStore(settings.raw_results), range(2))
        workers = [Worker(settings, [("open", "H2")]) for _ in range(2)]
        work_and_kill(workers, [chance.uniform(0, 0.2) for _ in workers])
        crash_worker.run(settings, ("ingest", "H2"))
        assert content(open_installation(settings)) == undisturbed(h2(*range(2)))

    run_trials(trial, 8, first_seed=6000)


def test_a_rebuild_killed_anywhere_is_finished_by_the_next_run(seconds: float) -> None:
    def trial(folder: Path, chance: random.Random) -> None:
        settings = varied_settings(folder, chance)
        store = FolderObjectStore(settings.raw_results)
        land(store, range(2))
        land(store, [0], "LiH")
        crash_worker.run(settings, ("ingest", "H2"), ("ingest", "LiH"), ("ml", "H2"), ("ml", "LiH"))
        work_and_kill([Worker(settings, [("rebuild", "H2"), ("ml", "H2")])], [chance.uniform(0, 3 * seconds)])
        crash_worker.run(settings, ("ingest", "H2"), ("ml", "H2"))
        installation = open_installation(settings)
        expected = undisturbed(h2(*range(2)) | {("LiH", 0)}, ml=True)
        assert content(installation, expected) == expected
        assert_at_rest(installation, ("H2", "LiH"))

    run_trials(trial, 8, first_seed=7000)


def test_the_ml_build_killed_anywhere_is_finished_by_the_next(seconds: float) -> None:
    def trial(folder: Path, chance: random.Random) -> None:
        settings = varied_settings(folder, chance)
        land(FolderObjectStore(settings.raw_results), range(3))
        crash_worker.run(settings, ("ingest", "H2"))
        workers = [Worker(settings, [("ml", "H2")]) for _ in range(2)]
        work_and_kill(workers, [chance.uniform(0, seconds), chance.choice([None, chance.uniform(0, seconds)])])
        crash_worker.run(settings, ("ml", "H2"))
        installation = open_installation(settings)
        expected = undisturbed(h2(*range(3)), ml=True)
        assert content(installation, expected) == expected
        assert_at_rest(installation)

    run_trials(trial, 10, first_seed=8000)


def test_rebuilds_ingests_and_ml_builds_at_once_end_as_the_undisturbed_run(seconds: float) -> None:
    def trial(folder: Path, chance: random.Random) -> None:
        settings = varied_settings(folder, chance)
        store = FolderObjectStore(settings.raw_results)
        land(store, range(2))
        if chance.random() < 0.7:
            crash_worker.run(settings, ("ingest", "H2"))
        land(store, [2])
        plans = [
            [("ingest", "H2"), ("ml", "H2")],
            [("rebuild", "H2")],
            [chance.choice([("ml", "H2"), ("rebuild", "H2"), ("ingest", "H2")]), ("ml", "H2")],
        ]
        workers = [Worker(settings, plan) for plan in plans]
        moments = [chance.choice([None, chance.uniform(0, 4 * seconds)]) for _ in workers]
        work_and_kill(workers, moments)
        crash_worker.run(settings, ("ingest", "H2"), ("ml", "H2"))
        installation = open_installation(settings)
        expected = undisturbed(h2(*range(3)), ml=True)
        assert content(installation, expected) == expected
        assert_at_rest(installation)

    run_trials(trial, 12, first_seed=9000)


def test_an_object_overwritten_between_kill_and_resume_does_not_mix_two_records(seconds: float) -> None:
    def trial(folder: Path, chance: random.Random) -> None:
        settings = settings_in(folder)
        store = FolderObjectStore(settings.raw_results)
        land(store, [0])
        work_and_kill([Worker(settings, [("ingest", "H2")])], [chance.uniform(0, seconds)])
        key = next(store.list_objects("experiments/")).key
        store.put(key, record_bytes(1))
        crash_worker.run(settings, ("ingest", "H2"))
        installation = open_installation(settings)
        # The first record counts when it was claimed before the kill, the second in any case.
        assert content(installation) in (undisturbed(h2(0, 1)), undisturbed(h2(1)))
        assert_at_rest(installation)

    run_trials(trial, 8, first_seed=10_000)
