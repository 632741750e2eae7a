"""CPU seconds of a call, medians over repeats, warm-up apart: one stopwatch for all sides of a comparison."""

import statistics
import time

ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "RAYON_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    )
}
"""Environment of every measured process: nothing computes on a second thread."""

_SHORTEST_SAMPLE = 0.02


def cpu_seconds(call, seconds=4.0, most=25, least=3):
    """(median CPU seconds of one call, number of samples); a sample repeats a short call until it can be timed.

    Args:
        call: Called without arguments, once before anything is timed.
        seconds: Samples are taken until they add up to this.
        most: Samples at most.
        least: Samples at least.
    """
    call()
    began = time.process_time()
    call()
    once = time.process_time() - began
    repeats = max(1, round(_SHORTEST_SAMPLE / max(once, 1e-9)))
    samples = []
    while len(samples) < least or (len(samples) < most and sum(samples) * repeats < seconds):
        began = time.process_time()
        for _ in range(repeats):
            call()
        samples.append((time.process_time() - began) / repeats)
    return statistics.median(samples), len(samples)
